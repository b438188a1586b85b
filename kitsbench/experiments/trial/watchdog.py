"""Stops a trial that makes no progress."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

EXIT_CODE = 75  # of a process that its watchdog ended
LOOKS = 8  # in the time that is allowed


class Watchdog:
    """Ends this process when nothing has called :meth:`beat` for too long.

    A thread looks at the time. Should it not come to run, because other code holds the
    interpreter's lock, a timer of :mod:`faulthandler` ends the process. Both leave where every
    thread stood in ``file``.

    Parameters
    ----------
    limit : float
        Seconds without progress.
    file : Path
        For the stacks; removed when the block ends.
    tell : callable
        Gets a sentence before the process ends.
    """

    def __init__(self, limit: float, file: Path, tell: Callable[[str], None]):
        self.limit, self.file, self.tell = limit, file, tell
        self._last, self._stop = time.monotonic(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kitsbench-watchdog", daemon=True)

    def beat(self) -> None:
        """Note that there was progress."""
        self._last = time.monotonic()

    def __enter__(self) -> Watchdog:
        self._stacks = open(self.file, "w", encoding="utf-8")
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        # First the thread, which would set the timer again; then the timer, which would write into
        # a file that is closed.
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        with contextlib.suppress(OSError):  # foreign code may have closed it
            self._stacks.close()
        self.file.unlink(missing_ok=True)

    def _watch(self) -> None:
        while True:
            # Wound up anew at every look. To do that this thread needs the interpreter's lock;
            # while other code keeps it, the timer, which needs none, runs out. It allows a little
            # more than the thread, so that whoever can still speak does so.
            faulthandler.dump_traceback_later(
                self.limit * (1 + 2 / LOOKS), file=self._stacks, exit=True
            )
            if self._stop.wait(self.limit / LOOKS):
                return
            if time.monotonic() - self._last > self.limit:
                break
        faulthandler.dump_traceback(file=self._stacks, all_threads=True)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        # Not sys.exit, which ends this thread only, nor anything that cleans up: the main thread is
        # stuck and would be waited for.
        try:
            self.tell(stalled(self.limit))
        finally:
            os._exit(EXIT_CODE)


def stalled(limit: float) -> str:
    """What is said about a trial that was stopped."""
    return (
        f"It made no progress for {limit:g} s and was stopped; where it stood is in its log.txt "
        "or hang.txt. Raise --stall if a step or a tile may take that long."
    )


def hung(file: Path) -> bool:
    """Whether a watchdog's timer has left stacks in its file."""
    try:
        return file.stat().st_size > 0
    except OSError:
        return False
