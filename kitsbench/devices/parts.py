"""Where the time of a step or of a scan goes: named parts, timed only while somebody watches.

Training and inference name what they do by :class:`timed`. While nobody watches, that costs next
to nothing; whoever profiles watches the very code that trains and predicts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch

OTHER = "other"
"""What lies in no named part."""

_watching: ContextVar[PartClock | None] = ContextVar("watching", default=None)


class timed:
    """What is done inside belongs to a part; in a part that lies inside another, to the inner one.

    Parameters
    ----------
    name : str
    """

    __slots__ = ("_clock", "_name")

    def __init__(self, name: str):
        self._name = name
        self._clock: PartClock | None = None

    def __enter__(self) -> None:
        self._clock = clock = _watching.get()
        if clock is not None:
            clock.enter(self._name)

    def __exit__(self, *_: object) -> None:
        if self._clock is not None:
            self._clock.leave()


class PartClock:
    """Seconds of each part of repetitions that follow one another without a gap.

    Times are marks between two parts, and each stretch between two marks belongs to one part, so
    the parts of a repetition add up to it. On a CPU a mark is the wall's time. On CUDA it is an
    event, reached when the device comes by: nothing waits for the device within a repetition, and
    a part that leaves it idle is charged for that.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device):
        self._device, self._cuda = device, device.type == "cuda"
        self._open: list[str] = [OTHER]
        self._marks: list[tuple[str, Any]] = []
        self._ends: list[int] = []  # of the repetitions, among the marks

    def enter(self, name: str) -> None:
        """Begin a part."""
        self._mark()
        self._open.append(name)

    def leave(self) -> None:
        """End the part that was begun last."""
        self._mark()
        self._open.pop()

    def lap(self) -> None:
        """End a repetition and begin the next; the first time, begin alone.

        The host is one repetition ahead of the device at most, as in training.
        """
        self._mark()
        self._ends.append(len(self._marks) - 1)
        if self._cuda and len(self._ends) > 1:
            self._marks[self._ends[-2]][1].synchronize()

    def laps(self) -> list[dict[str, float]]:
        """Seconds of the parts of each repetition, in the order of their first beginning."""
        if self._cuda and self._marks:
            self._marks[-1][1].synchronize()
        found = []
        for first, last in zip(self._ends, self._ends[1:], strict=False):
            own: dict[str, float] = {}
            for index in range(first + 1, last + 1):
                name, mark = self._marks[index]
                passed = self._between(self._marks[index - 1][1], mark)
                own[name] = own.get(name, 0.0) + passed
            found.append(own)
        return found

    def _mark(self) -> None:
        self._marks.append((self._open[-1], self._now()))

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _between(self, begin: Any, end: Any) -> float:
        return begin.elapsed_time(end) / 1000 if self._cuda else end - begin


@contextlib.contextmanager
def watched(device: torch.device) -> Iterator[PartClock]:
    """Time the parts of what is done inside, in this thread.

    Parameters
    ----------
    device : torch.device
    """
    clock = PartClock(device)
    before = _watching.set(clock)
    try:
        yield clock
    finally:
        _watching.reset(before)
