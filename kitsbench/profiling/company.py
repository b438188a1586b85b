"""Who else uses the machine while something is measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil
import torch

from kitsbench.devices.nvml import gpu_load, gpu_load_of_others

# Share of the processor, or of a GPU, that others may take before a row says that it was busy.
# Beside a measurement a tenth is felt; what is seen in the moments before and after is coarse.
WHILE, AROUND = 0.1, 0.25


@dataclass(frozen=True)
class Times:
    """Processor time until a moment, in seconds.

    Attributes
    ----------
    at : float
        When it was read.
    all, own : float
        Of every process on the cores that this one may use, and of this one.
    """

    at: float
    all: float
    own: float


def cores() -> list[int]:
    """Cores that this process may use."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return list(range(psutil.cpu_count() or 1))


def read_times() -> Times:
    """Read the times of now."""
    every = psutil.cpu_times(percpu=True)
    allowed = [every[k] for k in cores() if k < len(every)] or every
    # What guests of a hypervisor take is among what users take already.
    busy = sum(
        one.user + one.system + sum(getattr(one, name, 0.0) for name in ("nice", "irq", "softirq"))
        for one in allowed
    )
    own = psutil.Process().cpu_times()
    return Times(
        time.perf_counter(),
        busy,
        own.user + own.system + own.children_user + own.children_system,
    )


def others(begin: Times, end: Times) -> float:
    """Share of the cores that other processes took between two moments, from 0 to 1."""
    passed = (end.at - begin.at) * len(cores())
    if passed <= 0:
        return 0.0
    return min(max((end.all - begin.all - (end.own - begin.own)) / passed, 0.0), 1.0)


class Company:
    """Watches the others before, while and after something is measured.

    Parameters
    ----------
    device : torch.device
    looks : float
        Seconds that are watched before and after. The system counts in hundredths of a second.
    """

    def __init__(self, device: torch.device, looks: float):
        self.device, self.looks = device, looks
        self.before = self._look()
        self.gpu_before = self._gpu_load()
        self._begun, self._since = read_times(), int(time.time() * 1e6)

    def _gpu_load(self) -> float | None:
        """Load of the GPU before anything is asked of it here."""
        found = gpu_load(self.device)
        if found is not None and found > WHILE:
            # The driver means the last second, in which another measurement may have ended.
            time.sleep(1.0)
            found = gpu_load(self.device)
        return found

    def _look(self) -> float:
        begin = read_times()
        time.sleep(self.looks)
        return others(begin, read_times())

    def leave(self) -> dict[str, float | None]:
        """Shares of the others: ``before``, ``during`` and ``after``; of a GPU ``gpu_`` and so on.

        None where nobody tells.
        """
        during = others(self._begun, read_times())
        gpu = gpu_load_of_others(self.device, self._since)
        return {
            "before": self.before,
            "during": during,
            "after": self._look(),
            "gpu_before": self.gpu_before,
            "gpu_during": gpu,
        }


def is_busy(shares: dict[str, float | None], beside: float = 0.0) -> bool:
    """Whether others took so much that what was measured is in doubt.

    Parameters
    ----------
    shares : dict
        As of :meth:`Company.leave`.
    beside : float
        Share of the processor that was given to others on purpose.
    """
    most = {
        "before": AROUND + beside,
        "during": WHILE + beside,
        "after": AROUND + beside,
        "gpu_before": WHILE,
        "gpu_during": WHILE,
    }
    return any((shares.get(name) or 0.0) > limit for name, limit in most.items())
