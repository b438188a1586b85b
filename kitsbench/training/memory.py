"""How much memory a process has taken, and how much it may."""

from __future__ import annotations

import sys

import psutil
import torch


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: the allocator's on CUDA, resident on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def cap_memory(device: torch.device, limit: int) -> None:
    """Let allocations of this process beyond a limit fail, so that it can say what happened.

    Parameters
    ----------
    device : torch.device
        On CUDA the device's memory is capped, on the CPU what the process allocates from now on.
    limit : int
        Bytes.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(limit / total, 1.0), device)
        return
    if sys.platform == "win32":  # who started the process has to watch it
        return
    import resource

    info = psutil.Process().memory_info()
    held = getattr(info, "data", info.rss)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + limit
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)  # a cluster may have set a lower one, which nobody can raise
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
