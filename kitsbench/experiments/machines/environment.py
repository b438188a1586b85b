"""What machine and software a trial ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from kitsbench import __version__
from kitsbench.devices.nvml import driver_version, power_cap
from kitsbench.devices.use import settings
from kitsbench.experiments.machines.commit import source_commit

PACKAGES = ("torch", "numpy", "pandas", "scipy", "torchio", "nibabel", "safetensors")


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
    """What a second of a time budget is bound to.

    Of a GPU its name, and what makes the same GPU faster or slower: torch, cuDNN, and the power
    that it may draw, where the driver tells. The processor that feeds it is not part of it, since
    what it does is not charged; it is in the record of each trial.
    """
    if device.type == "cuda":
        release = ".".join(torch.__version__.split(".")[:2])
        parts = [f"cuda: {device_name(device)}", f"torch {release}"]
        if (library := _cudnn()) is not None:
            parts.append(f"cuDNN {library.partition('.')[0]}")
        if (watts := power_cap(device)) is not None:
            parts.append(f"{watts} W")
        return ", ".join(parts)
    return f"cpu: {device_name(device)}, {threads} threads"


def _cudnn() -> str | None:
    """Version of cuDNN, such as 9.10.2."""
    # 91002 for 9.10.2, and 8902 for 8.9.2.
    number = torch.backends.cudnn.version()
    if number is None:
        return None
    unit = 10000 if number >= 90000 else 1000
    return f"{number // unit}.{number % unit // 100}.{number % 100}"


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def libraries(device: torch.device) -> tuple[str | None, str | None]:
    """Versions of torch and, of a GPU, of cuDNN; nothing runs on the device for it."""
    return _installed("torch"), _cudnn() if device.type == "cuda" else None


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe_environment(device: torch.device, threads: int) -> dict[str, Any]:
    """Machine and software, as plain data."""
    cuda = device.type == "cuda"
    return {
        "kitsbench": __version__,
        "commit": source_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _installed(name) for name in PACKAGES},
        "device": device.type,
        "device_name": device_name(device),
        "cpu_name": device_name(torch.device("cpu")),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": _cudnn() if cuda else None,
        "driver": driver_version(device),
        "power_cap_w": power_cap(device),
        "settings": settings(device),
        "cores": usable_cores(),
        "threads": threads,
    }
