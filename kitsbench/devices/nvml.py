"""What NVIDIA's management library tells of a device, where its package is installed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import torch


def open_device(device: torch.device) -> tuple[Any, Any] | None:
    """The library and its handle of a device, or None where it cannot be asked.

    The package is ``nvidia-ml-py``.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        # Not by index: NVML knows nothing of CUDA_VISIBLE_DEVICES.
        name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(name)
    except Exception:  # no package, no driver, or a part of a GPU
        return None


def power_cap(device: torch.device) -> int | None:
    """Watts that a GPU may draw, below which the same GPU is slower; None where nobody tells."""
    found = open_device(device)
    if found is None:
        return None
    library, handle = found
    try:
        return round(library.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000)
    except Exception:  # a device that has none
        return None


def driver_version(device: torch.device) -> str | None:
    """Version of the GPU's driver; None where nobody tells."""
    found = open_device(device)
    if found is None:
        return None
    try:
        return str(found[0].nvmlSystemGetDriverVersion())
    except Exception:
        return None


def gpu_state(device: torch.device) -> dict[str, int]:
    """What a GPU tells of itself now; empty where nobody tells.

    Returns
    -------
    dict
        ``clock_mhz`` and ``memory_clock_mhz`` at this moment, ``clock_most_mhz``,
        ``temperature_c``, ``power_cap_w``, and ``throttled`` (1 where heat or power slows it),
        each where the device tells.
    """
    found = open_device(device)
    if found is None:
        return {}
    library, handle = found

    def throttled() -> int:
        reasons = int(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        # Software's power cap, hardware's slowdown, software's and hardware's heat, power brake.
        return int(bool(reasons & (0x4 | 0x8 | 0x20 | 0x40 | 0x80)))

    asked: dict[str, Callable[[], int]] = {
        "clock_mhz": lambda: library.nvmlDeviceGetClockInfo(handle, 1),  # of its multiprocessors
        "memory_clock_mhz": lambda: library.nvmlDeviceGetClockInfo(handle, 2),
        "clock_most_mhz": lambda: library.nvmlDeviceGetMaxClockInfo(handle, 1),
        "temperature_c": lambda: library.nvmlDeviceGetTemperature(handle, 0),
        "power_cap_w": lambda: round(library.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
        "throttled": throttled,
    }
    told: dict[str, int] = {}
    for name, ask in asked.items():
        with contextlib.suppress(Exception):  # a device that has none
            told[name] = int(ask())
    return told


def gpu_load(device: torch.device) -> float | None:
    """Share of the last moments in which a GPU computed, whoever asked for it; None: unknown."""
    found = open_device(device)
    if found is None:
        return None
    library, handle = found
    try:
        return float(library.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    except Exception:
        return None


def gpu_load_of_others(device: torch.device, since_us: int) -> float | None:
    """Largest share that other processes had of a GPU since a time; None where nobody tells.

    Parameters
    ----------
    device : torch.device
    since_us : int
        Microseconds since 1970.
    """
    found = open_device(device)
    if found is None:
        return None
    library, handle = found
    try:
        samples = library.nvmlDeviceGetProcessUtilization(handle, since_us)
    except Exception:  # not supported, or nobody has computed since then
        return None
    mine = os.getpid()
    # In a container the driver's numbers of processes are others: then nobody can be told apart.
    if all(sample.pid != mine for sample in samples):
        return None
    return max((float(s.smUtil) / 100 for s in samples if s.pid != mine), default=0.0)
