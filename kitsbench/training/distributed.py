"""One training on several devices, by torch's distributed data parallel.

Every process draws its part of the same batch, and every process computes the loss of the whole
batch: outputs and labels are gathered before it. So a loss may couple the samples of a batch as it
likes, as a Dice over the batch does, and the gradient is that of one process. What the devices
spent is added up, and all processes see the same sum, so that they anneal and stop together.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kitsbench.errors import UsageError, telling
from kitsbench.training.clock import DeviceClock

PATIENCE = timedelta(hours=6)  # others wait while the first process scores whole volumes


def check_batch(batch: int, world_size: int, name: str) -> None:
    """A batch must be shared out among the processes without a rest.

    Raises
    ------
    UsageError
        It cannot.
    """
    if batch % world_size:
        raise UsageError(
            f"{name} trains with batches of {batch}, which {world_size} processes cannot share "
            f"evenly. Choose a --world-size that divides {batch}, or another --batch."
        )


# What Gloo and NCCL say where the other end is gone, in small letters.
LOST = (
    "closed by peer",
    "connection reset",
    "broken pipe",
    "remote process",
    "socket",
    "timed out",
)


def is_lost_connection(error: BaseException | None) -> bool:
    """Whether an error means that another process of the team is gone.

    It may have come up inside a hook of a plugin, and be the cause of the failure that names it.
    """
    while error is not None:
        if isinstance(error, RuntimeError) and any(word in telling(error).lower() for word in LOST):
            return True
        error = error.__cause__
    return False


@dataclass(frozen=True)
class Team:
    """The processes that train one network; by default there is one.

    Parameters
    ----------
    rank : int
        Of this process; the first (0) evaluates, reports and writes checkpoints.
    size : int
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def samples(self, batch: int) -> range:
        """Samples of a batch that this process draws."""
        share = batch // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as training calls it: its gradients are averaged over the processes."""
        if self.size == 1 or not any(p.requires_grad for p in network.parameters()):
            return network
        gc.collect()  # an older wrapper would take part in the next backward pass
        wrapper = nn.parallel.DistributedDataParallel
        # Buffers are alike in all processes already; torch has renamed what says so.
        known = inspect.signature(wrapper).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {name: False}
        # A branch that a step leaves out gets no gradient, for which torch would wait otherwise.
        return wrapper(network, find_unused_parameters=True, **options)

    def synchronise(self, network: nn.Module) -> nn.Module:
        """Let batch normalisation see the whole batch."""
        if self.size == 1:
            return network
        device = next(network.parameters()).device
        if device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(network)
        for name, module in list(network.named_modules()):
            # Exchanged in place, so that optimisers, averages and checkpoints see the same names.
            if isinstance(module, _BatchNorm) and not isinstance(module, WholeBatchNorm):
                parent = network.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], WholeBatchNorm.of(module))
        return network

    def gather(self, values: Mapping[str, Tensor], keep_graph: bool = True) -> dict[str, Tensor]:
        """Put the parts of all processes together along the first axis.

        Parameters
        ----------
        values : mapping of str to Tensor
            (B / size, ...), of equal shape in all processes.
        keep_graph : bool
            Whether this process's own part keeps its gradient; those of others have none.
        """
        if self.size == 1:
            return dict(values)
        found = {}
        for name, value in values.items():
            sent = value.detach().contiguous()
            parts = [torch.empty_like(sent) for _ in range(self.size)]
            dist.all_gather(parts, sent)
            # What was sent has lost its graph. Put back, this process's own part has it, and with
            # it the gradient of its own samples.
            if keep_graph:
                parts[self.rank] = value
            found[name] = torch.cat(parts)
        return found

    def whole_loss(self, loss: Tensor, outputs: Mapping[str, Tensor]) -> Tensor:
        """The loss that each process goes backward from.

        It has the gradient of this process's samples alone, and the mean over the processes is
        taken. Every output takes part, with a gradient of zero where the loss leaves it out, since
        the others wait for it.
        """
        if self.size == 1:
            return loss
        rest = sum((value * 0).nan_to_num().sum() for value in outputs.values())
        # Torch takes the mean over the processes, each of which has only its share of the gradient
        # of one loss: without the factor it would be too small by their number. An output that is
        # not finite times 0 is NaN, hence the clearing above.
        return loss * self.size + rest

    def total(self, *values: float) -> list[float]:
        """Sums over the processes."""
        if self.size == 1:
            return list(values)
        # Over the host: a sum on the devices would wait for every step that is queued there.
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, group=_control_group())
        return numbers.tolist()

    def largest(self, value: float) -> float:
        """The maximum over the processes."""
        if self.size == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(number, dist.ReduceOp.MAX, group=_control_group())
        return float(number)

    def energy(self, joules: float | None) -> float | None:
        """Joules of all devices, or None where one of them does not tell."""
        if self.size == 1:
            return joules
        # Both sums in one go. Half a sum would look like a saving.
        known, total = self.total(float(joules is not None), joules or 0.0)
        return total if known == self.size else None

    def share(self, joules: float | None) -> float | None:
        """What one process goes on from where all together had spent so much."""
        return None if joules is None else joules / self.size

    def same(self, numbers: dict[str, float]) -> dict[str, float]:
        """The first process's numbers, so that a rounding error makes nobody leave early."""
        if self.size == 1:
            return numbers
        # By place, so the names must be in one order everywhere; they come from the same code.
        values = torch.tensor(list(numbers.values()), dtype=torch.float64)
        dist.broadcast(values, 0, group=_control_group())
        return dict(zip(numbers, values.tolist(), strict=True))

    def decide(self, value: bool) -> bool:
        """What the first process decides."""
        if self.size == 1:
            return value
        number = torch.tensor([float(value)])
        dist.broadcast(number, 0, group=_control_group())
        return bool(number)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier(group=_control_group())


SOLO = Team()
_groups: dict[str, Any] = {}


def _control_group() -> Any:
    """A group over the host, which no device has to wait for."""
    return _groups.get("control")


@contextlib.contextmanager
def join_team(rank: int, size: int, device: torch.device, meeting: Path) -> Iterator[Team]:
    """Meet the other processes of a training, on this machine.

    Parameters
    ----------
    rank, size : int
    device : torch.device
    meeting : Path
        A file that does not exist yet, the same for all.
    """
    # Processes of one machine need no network, and its name need not resolve.
    if os.path.exists("/sys/class/net/lo") or os.name == "posix":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "nccl"
    # They meet by a file, not by a port that something else may have taken.
    dist.init_process_group(
        backend,
        store=dist.FileStore(str(meeting), size),  # type: ignore[attr-defined] # torch lists no exports
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    # NCCL sends nothing that lies on the host.
    _groups["control"] = None if backend == "gloo" else dist.new_group(backend="gloo")
    try:
        yield Team(rank, size)
    finally:
        _groups.clear()
        dist.destroy_process_group()


class TeamClock:
    """Device seconds of all processes together; in every process the same sum.

    Parameters
    ----------
    clock : DeviceClock
        Of this process.
    team : Team
    """

    def __init__(self, clock: DeviceClock, team: Team):
        self._clock, self._team = clock, team
        self._last_step = self._known = 0.0

    def start(self) -> None:
        """Let this process's clock run."""
        self._clock.start()

    def stop(self) -> None:
        """Let this process's clock stand still."""
        self._clock.stop()

    def estimate(self) -> float:
        """Seconds so far, without waiting for a device."""
        return self._sum(self._clock.estimate())

    def exact(self) -> float:
        """Seconds so far, after waiting for the devices."""
        return self._sum(self._clock.exact())

    def alone(self) -> float:
        """Seconds at the last time that all were asked: one that failed may never answer again."""
        return self._known

    @property
    def last_step(self) -> float:
        """Seconds of the last step that is known, of all devices together."""
        return self._last_step

    def _sum(self, own: float) -> float:
        self._known, self._last_step = self._team.total(own, self._clock.last_step)
        return self._known


def team_clock(device: torch.device, seconds: float, team: Team) -> DeviceClock | TeamClock:
    """A clock that starts where a training left off.

    Parameters
    ----------
    device : torch.device
    seconds : float
        Of all processes together.
    team : Team
    """
    # Each goes on from an equal share; only the sum means anything.
    clock = DeviceClock(device, seconds / team.size)
    return clock if team.size == 1 else TeamClock(clock, team)


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
