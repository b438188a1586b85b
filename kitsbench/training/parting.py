"""How a process that trains takes its leave: after its step and with a checkpoint, if it may.

To end at any place is to end in the middle of a step, whose weights are half moved: then what was
trained since the last checkpoint is lost. A loop that looks between its steps loses nothing.
"""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Iterator

from kitsbench.errors import Terminated

_looks = False
_asked = False


@contextlib.contextmanager
def leaving_between_steps() -> Iterator[None]:
    """Say that a loop runs in this process that calls :func:`leave` after each of its steps."""
    global _looks
    _looks = True
    try:
        yield
    finally:
        _looks = False


def ask_to_leave(patience: float) -> bool:
    """Ask the loop of this process to end after its step; False where none runs.

    Parameters
    ----------
    patience : float
        Seconds after which it ends where it is; what comes between two steps may take long.
    """
    global _asked
    alarm = getattr(signal, "SIGALRM", None)
    if not _looks or alarm is None:
        return False
    _asked = True
    signal.signal(alarm, _end_here)
    signal.alarm(math.ceil(patience))
    return True


def _end_here(number: int, frame: object) -> None:
    raise Terminated


def is_asked() -> bool:
    """Whether the loop should write a checkpoint and end; from now on nothing disturbs it."""
    if _asked:
        signal.alarm(0)
    return _asked


def leave() -> None:
    """End the training if that was asked for.

    Raises
    ------
    Terminated
        It was.
    """
    if _asked:
        raise Terminated
