"""What machine and software a trial ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from kitsbench import __version__
from kitsbench.errors import UsageError

PACKAGES = ("torch", "numpy", "pandas", "scipy", "torchio", "nibabel", "safetensors")


def choose_device(wish: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises
    ------
    UsageError
        CUDA was asked for and there is none.
    """
    found = torch.cuda.is_available()
    if wish == "cuda" and not found:
        raise UsageError(
            "There is no CUDA device that torch can use; leave --device out to use the CPU, or "
            "see `kitsbench doctor`."
        )
    return torch.device("cuda" if found and wish != "cpu" else "cpu")


def device_name(device: torch.device) -> str:
    """Name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_class(device: torch.device, threads: int) -> str:
    """What a second of a time budget is bound to."""
    if device.type == "cuda":
        return f"cuda: {device_name(device)}"
    return f"cpu: {device_name(device)}, {threads} threads"


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def describe_environment(device: torch.device, threads: int) -> dict[str, Any]:
    """Machine and software, as plain data."""
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "kitsbench": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "device": device.type,
        "device_name": device_name(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "cores": usable_cores(),
        "threads": threads,
    }
