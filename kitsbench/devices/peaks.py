"""The most memory that a process has taken, without what was asked for in vain.

Torch keeps one peak for each device. A try for which memory ran out leaves it at the size of the
card, which says nothing of what the work needs; so after such a try the peak goes back to what it
was before.
"""

from __future__ import annotations

import sys

import psutil
import torch

_before: dict[int, int] = {}  # bytes by number of the GPU; peaks that torch was told to forget


def peak_memory(device: torch.device) -> int:
    """Largest memory since :func:`reset_peaks` in bytes: the allocator's on CUDA.

    On a CPU it is the resident memory of the process. Its peak is that of the whole life of the
    process, and no system lets it be reset.
    """
    if device.type == "cuda":
        if not torch.cuda.is_initialized():
            return 0  # nothing has been asked of it
        return max(int(torch.cuda.max_memory_allocated(device)), _before.get(_number(device), 0))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_reserved(device: torch.device) -> int:
    """The same with what the allocator holds for later; on a CPU there is no such thing.

    A device must have this much free: fragments and caches count in it.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return peak_memory(device)


def reset_peaks(device: torch.device) -> None:
    """Let the peaks of a CUDA device begin anew, from what is held now."""
    if device.type == "cuda":
        if torch.cuda.is_initialized():
            _before.pop(_number(device), None)
        torch.cuda.reset_peak_memory_stats(device)


def forget_since(device: torch.device, peak: int) -> None:
    """Take back what a failed try has done to the peak of allocated memory.

    Parameters
    ----------
    device : torch.device
    peak : int
        As of :func:`peak_memory` before it.
    """
    if device.type == "cuda" and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats(device)
        _before[_number(device)] = peak


def _number(device: torch.device) -> int:
    """Of a GPU; "cuda" means the one that is current."""
    return torch.cuda.current_device() if device.index is None else device.index
