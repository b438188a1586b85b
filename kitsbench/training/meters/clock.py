"""The device clock: how long the device worked for the method, and nothing else.

On the CPU it is the wall time between ``start`` and ``stop``. On CUDA a pair of events brackets
each step; the host never waits for them unless the exact figure is asked for, so reading the
clock does not slow the training down.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import torch


class DeviceClock:
    """Accumulates device time over steps.

    Parameters
    ----------
    device : torch.device
    seconds : float
        Where a resumed run starts.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0):
        self.cuda = device.type == "cuda"
        self._device = device
        self._known = seconds
        self._pending: deque[tuple[Any, Any]] = deque()
        self._begin: Any = None
        self._last_step = 0.0

    def start(self) -> None:
        """Let the clock run."""
        # Launching a kernel returns at once, so the host's time says nothing about the device's.
        # Events are queued like kernels and get their time when the device comes by.
        if self.cuda:
            self._begin = self._event()
        else:
            self._begin = time.perf_counter()

    def stop(self) -> None:
        """Let the clock stand still."""
        if self.cuda:
            self._pending.append((self._begin, self._event()))
        else:
            self._last_step = time.perf_counter() - self._begin
            self._known += self._last_step

    def estimate(self) -> float:
        """Seconds so far; steps that the device has not finished yet count as the last known."""
        # Events of one stream are reached in order: behind the first unfinished one all others are.
        # The last step settles only when a later call finds it finished. Until then it counts as
        # long as the one before, because waiting for it would leave the device idle between steps.
        while self._pending and self._pending[0][1].query():
            self._harvest()
        return self._known + len(self._pending) * self._last_step

    def exact(self) -> float:
        """Seconds so far, after waiting for the device."""
        while self._pending:
            self._pending[0][1].synchronize()
            self._harvest()
        return self._known

    def alone(self) -> float:
        """Seconds so far as well as they are known, of a device that may have failed."""
        try:
            return self.estimate()
        except RuntimeError:  # after an error on a CUDA device every question to it raises
            return self._known

    @property
    def last_step(self) -> float:
        """Seconds of the last step that is known."""
        return self._last_step

    def _event(self) -> torch.cuda.Event:
        """An event behind what the device was given to do so far."""
        event = torch.cuda.Event(enable_timing=True)
        # On this device's own stream: without one it would be that of the process's current device,
        # which waits for nothing here, and the time between two events would be the host's.
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _harvest(self) -> None:
        begin, end = self._pending.popleft()
        # Only between start and stop: what the device did, or did not, between two steps is not the
        # method's.
        self._last_step = begin.elapsed_time(end) / 1000
        self._known += self._last_step
