"""Work that is done before the clock starts, and leaves nothing behind but a device that is ready.

The first step on a GPU loads kernels, makes handles of libraries and searches for convolutions. It
takes many times as long as any other, so a short budget would be spent on what no method has to do
with.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench.devices.peaks import reset_peaks
from kitsbench.spec import Spec
from kitsbench.training.meters.energy import EnergyMeter
from kitsbench.training.optimisation.accumulation import Buffers

STEPS = 2  # the second finds whatever the first one has set up


def is_rehearsed(device: torch.device) -> bool:
    """Whether steps on a device are rehearsed.

    Not on a CPU, whose first step takes about as long as the others.
    """
    return device.type == "cuda"


def rehearse(
    take: Callable[[], object],
    network: nn.Module,
    device: torch.device,
    energy: EnergyMeter,
    undo: Buffers | None = None,
) -> float:
    """Take some steps that move no weight, put back what else they have moved; seconds it took.

    Parameters
    ----------
    take : callable
        Goes forward and backward.
    network : nn.Module
        Its gradients are cleared, its buffers (running statistics) put back bit for bit.
    device : torch.device
        Has nothing left to do afterwards.
    energy : EnergyMeter
        Runs, and stands still meanwhile.
    undo : Buffers, optional
        What is put back where that is more than the network's buffers.
    """
    energy.stop()
    began = time.perf_counter()
    buffers = undo or Buffers(network)
    buffers.keep()
    with same_randomness(device):
        try:
            for number in range(STEPS if device.type == "cuda" else 1):
                take()
                if number == 0 and device.type == "cuda":
                    # The search for convolutions took memory that no step takes. What steps take
                    # is asked for again by the next, so that the first that counts finds it ready.
                    torch.cuda.empty_cache()
        finally:
            network.zero_grad(set_to_none=True)
            buffers.put_back()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        reset_peaks(device)
    energy.start()
    return time.perf_counter() - began


@contextlib.contextmanager
def same_randomness(device: torch.device) -> Iterator[None]:
    """Put the generators of Python, NumPy and torch back where they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def drawn_batch(
    spec: Spec, batch: int, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random inputs and labels of the right shape, on the device.

    Returns
    -------
    inputs : dict of str to Tensor
        {grid: (B, C, z, y, x)} and {input: (B, size)}, float32, normally distributed.
    labels : dict of str to Tensor
        {grid: (B, z, y, x)}, int64, any of the labels anywhere.
    """
    source = torch.Generator().manual_seed(0)
    values = [0, *(value for _, value in spec.labels)]
    inputs, labels, wanted = {}, {}, spec.input_shapes(batch)
    for grid in spec.grids:
        shape = (batch, *grid.shape)
        inputs[grid.name] = torch.randn(wanted[grid.name], generator=source).to(device)
        drawn = torch.randint(len(values), shape, generator=source)
        labels[grid.name] = torch.tensor(values)[drawn].to(device)
    for entry in spec.inputs:
        inputs[entry.name] = torch.randn(wanted[entry.name], generator=source).to(device)
    return inputs, labels
