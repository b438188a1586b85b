"""How fast a device is, by a small workload that is the same everywhere."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from kitsbench.devices.precision import autocast, best_precision
from kitsbench.errors import DataError
from kitsbench.files import digest
from kitsbench.files.documents import Document

# A CPU's turn is short: it is measured before every first run in a working directory, and a
# laptop's speed changes with its temperature more than with longer looking.
SECONDS = {"cpu": 5.0, "cuda": 20.0}
WORKLOAD = "3 convolutions with instance norm, forward, backward and SGD, version 1"
WORKLOADS = {
    "cpu": WORKLOAD,
    "cuda": "3 convolutions with instance norm, forward, backward and SGD, in the GPU's own "
    "precision, channels last, after a search for convolutions and 10 steps, version 2",
}
WARM = 10  # steps of a GPU that do not count: it finds its clock rate, and cuDNN its convolutions
VARIABLE = "KITSBENCH_CALIBRATION_SECONDS"


class DeviceSpeed(Document):
    """How fast a device is: one file a machine and class of device.

    Attributes
    ----------
    device_class : str
        What a time budget is bound to.
    speed_gflops, low, high : float
        Median over the steps of the workload, and quartiles.
    steps, seconds : int, float
        How long was measured.
    """

    schema_version: Literal[1] = 1
    device_class: str
    host: str
    threads: int
    speed_gflops: float
    low: float
    high: float
    steps: int
    seconds: float
    workload: str


def device_speed(
    device: torch.device, device_class: str, threads: int, folder: Path
) -> DeviceSpeed:
    """The speed of a device, measured once for each machine and kept in a folder.

    Parameters
    ----------
    device : torch.device
    device_class : str
        What a time budget is bound to.
    threads : int
        CPU threads of the measurement.
    folder : Path
        For what was measured.

    Returns
    -------
    DeviceSpeed
    """
    host = socket.gethostname()
    file = folder / f"{digest([device_class, host, WORKLOADS[device.type]])}.json"
    # What cannot be read is measured again: nothing but time is lost.
    with contextlib.suppress(DataError):
        return DeviceSpeed.read(file)
    seconds = float(os.environ.get(VARIABLE, SECONDS.get(device.type, 5.0)))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        measured = measure(device, seconds)
    finally:
        torch.set_num_threads(before)
    found = DeviceSpeed(device_class=device_class, host=host, threads=threads, **measured)
    found.write(file)
    return found


def measure(device: torch.device, seconds: float) -> dict[str, Any]:
    """Train a small network for some seconds, and tell how many operations a second that made."""
    # Not above: it brings triton, which who only reads the figure does without.
    from torch.utils.flop_counter import FlopCounterMode

    cuda, precision = device.type == "cuda", best_precision(device)
    width, edge = (64, 96) if cuda else (16, 32)
    with torch.random.fork_rng([device] if cuda else []):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv3d(1, width, 3, padding=1),
            nn.InstanceNorm3d(width),
            nn.LeakyReLU(),
            nn.Conv3d(width, width, 3, padding=1),
            nn.InstanceNorm3d(width),
            nn.LeakyReLU(),
            nn.Conv3d(width, 4, 3, padding=1),
        )
        network.to(device).to(memory_format=torch.channels_last_3d)
        images = torch.randn(2, 1, edge, edge, edge, device=device)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)

    def step() -> None:
        with autocast(device, precision):
            loss = network(images).float().square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if cuda:
            torch.cuda.synchronize(device)

    with FlopCounterMode(display=False) as counter:
        step()
    flops = counter.get_total_flops()
    for _ in range(WARM if cuda else 0):
        step()
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    if cuda:
        # Memory of the trial that comes after is counted from nothing.
        del network, optimiser, images
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    low, median, high = np.percentile(flops / np.array(times) / 1e9, (25, 50, 75))
    return {
        "speed_gflops": float(median),
        "low": float(low),
        "high": float(high),
        "steps": len(times),
        "seconds": time.perf_counter() - began,
        "workload": WORKLOADS[device.type],
    }
