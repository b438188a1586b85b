"""What NVIDIA's management library tells of a device, where its package is installed."""

from __future__ import annotations

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
