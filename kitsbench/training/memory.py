"""How much memory a process has taken."""

from __future__ import annotations

import psutil
import torch


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: the allocator's on CUDA, resident on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
