"""Batch normalisation over the parts of a batch that several processes have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronised(network: nn.Module) -> nn.Module:
    """Let batch normalisation see the whole batch."""
    device = next(network.parameters()).device
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, module in list(network.named_modules()):
        # Exchanged in place, so that optimisers, averages and checkpoints see the same names.
        if isinstance(module, _BatchNorm) and not isinstance(module, WholeBatchNorm):
            parent = network.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], WholeBatchNorm.of(module))
    return network


def exchanges(network: nn.Module) -> bool:
    """Whether the network asks other processes for something in the middle of a pass."""
    return any(True for _ in _exchanging(network))


@contextlib.contextmanager
def apart(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation see the part of this process alone, and track nothing."""
    layers = [(layer, layer.running_mean, layer.running_var) for layer in _exchanging(network)]
    try:
        for layer, _, _ in layers:
            # Torch normalises by the batch where there are no statistics, and asks the others in
            # training mode only.
            layer.training, layer.running_mean, layer.running_var = False, None, None
        yield
    finally:
        for layer, mean, variance in layers:
            layer.training, layer.running_mean, layer.running_var = True, mean, variance


def _exchanging(network: nn.Module) -> Iterator[_BatchNorm]:
    for module in network.modules():
        if isinstance(module, (WholeBatchNorm, nn.SyncBatchNorm)) and module.training:
            yield module


class _Sum(torch.autograd.Function):
    """A sum over the processes whose gradient is summed over them too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class WholeBatchNorm(_BatchNorm):
    """Batch normalisation over the parts of all processes, on the CPU.

    Torch's own ``SyncBatchNorm`` does the same on GPUs only.
    """

    @classmethod
    def of(cls, other: _BatchNorm) -> WholeBatchNorm:
        """With the parameters and buffers of another, which are shared with it."""
        made = cls(
            other.num_features, other.eps, other.momentum, other.affine, other.track_running_stats
        )
        made._parameters, made._buffers = other._parameters, other._buffers
        return made.train(other.training)

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, ...) by the mean and variance of the whole batch."""
        if not self.training:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        # In float32 whatever autocast has made of the input: long sums of bfloat16 lose everything.
        count = input.new_tensor(input.numel() / input.shape[1], dtype=torch.float32)
        total = input.float().sum(axes)
        sums = _Sum.apply(torch.cat([total, count[None]]))
        # The mean first, then the squares of what is left. In one round, as mean of squares minus
        # square of the mean, float32 would cancel where the mean is large.
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        shape = (1, -1, *[1] * (input.dim() - 2))
        centred = input.float() - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        if self.track_running_stats:
            # The batch is normalised by the variance over n, the running one is over n - 1; so has
            # torch.
            self._track(mean.detach(), variance.detach() * count / (count - 1))
        found = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            found = found * self.weight.view(shape) + self.bias.view(shape)
        return found.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)
