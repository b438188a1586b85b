"""How much memory a network needs at once, followed tensor by tensor without values.

Every operation runs on tensors that have shapes and no numbers; whatever memory a result would
take is counted from when it is made until nobody holds it any more, as torch's allocator would
have to. Libraries take workspace besides, and allocators round up: a device shows somewhat more.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kitsbench.architecture import Architecture
from kitsbench.registry.weightless import build_weightless
from kitsbench.spec import Spec
from kitsbench.training.networks.meta import fake_values


class Memory(NamedTuple):
    """Bytes in float32.

    Attributes
    ----------
    batch : int
        Patches at once: one, or two where a network cannot train on one.
    training : int
        Weights, gradients, the two averages of AdamW, and activations, at the worst moment of a
        step.
    inference : int
        Weights and activations at the worst moment of a forward pass.
    """

    batch: int
    training: int
    inference: int


class _Alive(TorchDispatchMode):
    """Counts the storages that live, each once, however many views it has."""

    def __init__(self, there: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in there}

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage until it is gone."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor):
                self.add(one)
        return result


def memory_of(architecture: Architecture, spec: Spec) -> Memory | None:
    """The memory of a network for one patch; None where it cannot be followed without values."""
    for batch in (1, 2):  # normalisation of one voxel at the bottom wants a second sample
        with contextlib.suppress(Exception):
            network = build_weightless(architecture, spec)
            with fake_values():
                network.to_empty(device="cpu")  # where tables that networks keep lie, too
                return follow(network, spec.input_shapes(batch), batch)
    return None


def follow(network: nn.Module, shapes: Mapping[str, tuple[int, ...]], batch: int) -> Memory:
    """Go through a training step and a forward pass, as far as tensors live.

    Parameters
    ----------
    network : nn.Module
    shapes : mapping of str to tuple of int
        Of its inputs.
    batch : int
    """
    weights = sum(one.untyped_storage().nbytes() for one in _kept(network))
    trained = sum(p.untyped_storage().nbytes() for p in network.parameters() if p.requires_grad)
    network.train()
    step = _most(network, shapes, backward=True)
    network.eval()
    forward = _most(network, shapes, backward=False)
    # When the optimiser steps, all gradients are there and no activation.
    return Memory(batch, weights + 2 * trained + max(step, trained), weights + forward)


def _kept(network: nn.Module) -> Iterator[Tensor]:
    seen: set[int] = set()
    for tensor in (*network.parameters(), *network.buffers()):
        key = tensor.untyped_storage()._cdata
        if key not in seen:
            seen.add(key)
            yield tensor


def _most(network: nn.Module, shapes: Mapping[str, tuple[int, ...]], backward: bool) -> int:
    """The most bytes beside the weights; of a step, with the gradients that are there then."""
    alive = _Alive(_kept(network))
    with torch.set_grad_enabled(backward), alive:
        outputs = network({name: torch.zeros(own) for name, own in shapes.items()})
        if backward:
            total = torch.stack([one.float().sum() for one in outputs.values()]).sum()
            del outputs
            total.backward()
            del total
    for parameter in network.parameters():
        parameter.grad = None
    return alive.most
