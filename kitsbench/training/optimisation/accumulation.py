"""Gradient accumulation: a batch in as few parts as the memory holds."""

from __future__ import annotations

import gc
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor, nn

from kitsbench.devices.peaks import reset_peaks
from kitsbench.spec import Spec
from kitsbench.training.failures import can_be_smaller
from kitsbench.training.optimisation.foreach import Pair, by_type

Result = TypeVar("Result")

# What a step takes beside the tensors that wait for the backward pass: gradients of the features
# and the workspace of convolutions.
WORKSPACE = 2.0
ROUNDED = 2**28  # bytes to which the size of the process is rounded up, so that noise decides less


def more_parts(batch: int, parts: int) -> int | None:
    """The next number of parts that divides a batch; None beyond single samples."""
    return next((n for n in range(parts + 1, batch + 1) if batch % n == 0), None)


def saved_bytes(network: nn.Module, spec: Spec, device: torch.device) -> int:
    """Bytes that one sample keeps between the forward and the backward pass.

    Parameters
    ----------
    network : nn.Module
        Left in the mode it was in.
    spec : Spec
    device : torch.device
    """
    # Weights are saved for the backward pass as well, but are in memory with or without it.
    known = {tensor.untyped_storage().data_ptr() for tensor in network.parameters()}
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []  # a storage that is freed could give its address to the next

    def note(tensor: Tensor) -> Tensor:
        # By its storage, since many of the tensors are views of one that is counted once.
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    # In evaluation mode no statistics move and no dropout draws. A mode for each module, because
    # frozen layers differ from the rest.
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        inputs = {n: torch.zeros(own, device=device) for n, own in spec.input_shapes().items()}
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.enable_grad(),
        ):
            network(inputs)
    finally:
        for module, mode in modes:
            module.training = mode
    return sum(sizes.values())


def parts_within(limit: int, batch: int, sample: int, weights: int) -> int:
    """Fewest parts of a batch that should stay below a limit; single samples if none does.

    Parameters
    ----------
    limit : int
        Bytes that the process may take.
    batch : int
    sample : int
        As of :func:`saved_bytes`.
    weights : int
        Bytes of the weights; their gradients and the optimiser's averages come to three times that.
    """
    # What has been imported and read so far is in memory whatever the batch is.
    held = -(-psutil.Process().memory_info().rss // ROUNDED) * ROUNDED + 3 * weights
    fitting = (
        parts
        for parts in range(1, batch + 1)
        if batch % parts == 0 and held + WORKSPACE * sample * batch / parts <= limit
    )
    # Beyond single samples there is nothing to divide: they are tried, and may fail.
    return next(fitting, batch)


class Buffers:
    """The buffers of networks as they were before a step, which may have to be taken again.

    Parameters
    ----------
    *networks : nn.Module
        Their buffers may be written into, exchanged and moved between steps.
    weights : bool
        Of the weights, too.
    """

    def __init__(self, *networks: nn.Module, weights: bool = False):
        places: list[dict[str, Any]] = []
        for network in networks:
            for module in network.modules():
                places += [module._buffers, module._parameters] if weights else [module._buffers]
        self._places = [
            (place, name) for place in places for name, own in place.items() if own is not None
        ]
        # What stood in which place, and the copies beside it, by type.
        self._before: list[Tensor | None] = []
        self._pairs: list[Pair] = []
        self._held = False

    @torch.no_grad()
    def keep(self) -> None:
        """Copy them; the memory for it is asked for once."""
        # By their places and not by reference: a module may put a new tensor into an old one's.
        before = [place[name] for place, name in self._places]
        if len(before) != len(self._before) or not all(map(operator.is_, before, self._before)):
            # What is spread over one place of memory, as by expand(), nobody can write into.
            there = [t for t in before if t is not None and not _is_spread(t)]
            self._pairs = list(by_type([torch.empty_like(tensor) for tensor in there], there))
            self._before = before
        for copies, originals in self._pairs:
            torch._foreach_copy_(copies, originals)
        self._held = True

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo what has become of them since, if they are kept."""
        if not self._held:
            return
        for (place, name), tensor in zip(self._places, self._before, strict=True):
            place[name] = tensor
        for copies, originals in self._pairs:
            torch._foreach_copy_(originals, copies)

    def drop(self) -> None:
        """Take them as they are: the step is done."""
        self._held = False


def _is_spread(tensor: Tensor) -> bool:
    return any(n > 1 and step == 0 for n, step in zip(tensor.shape, tensor.stride(), strict=True))


def take_in_parts(
    take: Callable[[int], Result], network: nn.Module, buffers: Buffers, batch: int, parts: int
) -> tuple[Result, int]:
    """Take a step, in more parts when memory runs out before the weights have moved.

    Parameters
    ----------
    take : callable
        Takes the step in a number of parts; it seeds what it draws, and raises
        :class:`~kitsbench.training.failures.TrialFailure` where it cannot be taken again.
    network : nn.Module
    buffers : Buffers
        Those of the network, which are put back before another try.
    batch, parts : int

    Returns
    -------
    result
        What ``take`` returned.
    int
        The number of parts it took.
    """
    # The forward pass of a failed try has moved running statistics; without a copy the step would
    # count twice in them.
    buffers.keep()
    while True:
        try:
            return take(parts), parts
        except Exception as error:
            larger = more_parts(batch, parts)
            if larger is None or not can_be_smaller(error):
                raise
        # Only here has the failed try let go of its tensors.
        parts = larger
        network.zero_grad(set_to_none=True)
        buffers.put_back()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        # The peak shall be the most that a step took, not the most that one could not get.
        for device in {parameter.device for parameter in network.parameters()}:
            reset_peaks(device)
