"""How much memory a process has taken, and how much it may."""

from __future__ import annotations

import math
import sys

import psutil
import torch


def memory_left() -> float:
    """Bytes that can still be had of the current CUDA device, or of the machine without one."""
    if not torch.cuda.is_initialized():
        return float(psutil.virtual_memory().available)
    device = torch.cuda.current_device()
    try:
        free, total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device)
        share = _share(device)
    except RuntimeError:  # a device that has failed answers nothing
        return math.inf
    # What the allocator keeps but nobody uses can be had as well, though in fragments.
    return min(free, share * total - held) + held - torch.cuda.memory_allocated(device)


def _share(device: int) -> float:
    """Share of a CUDA device's memory that the allocator may take."""
    ask = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # newer than torch 2.6
    return 1.0 if ask is None else float(ask(device))


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
        # torch wants a number here, and "cuda" has none.
        index = torch.cuda.current_device() if device.index is None else device.index
        total = torch.cuda.get_device_properties(index).total_memory
        torch.cuda.set_per_process_memory_fraction(min(limit / total, 1.0), index)
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
