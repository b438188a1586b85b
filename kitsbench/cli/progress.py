"""What a user sees while things are counted: bars on a terminal; elsewhere a line a minute.

The trials of a run have :mod:`kitsbench.cli.trial_bars`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from kitsbench.cli.output import stderr_console, tell
from kitsbench.text.screen import words

SAY_EVERY = 60.0  # seconds between two lines where there is no terminal
SAY_AFTER = 2.0  # seconds after which what is still going on is said there for the first time
BAR = 16  # columns; with name, share and time a line of 80 holds everything


class _Name(ProgressColumn):
    """What a bar is about: a name may hold brackets or controls, which are text.

    It takes the room that the other columns leave; a long one is cut, so that no line wraps.
    """

    def __init__(self) -> None:
        super().__init__(Column(ratio=1, no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        return words(task.description)


class Bars:
    """One bar for each thing that is counted; they are shown while the context lasts.

    Parameters
    ----------
    *columns : rich.progress.ProgressColumn
        What stands right of a bar's name.
    """

    def __init__(self, *columns: ProgressColumn):
        self._bars = Progress(
            _Name(),
            BarColumn(BAR),
            *columns,
            console=stderr_console(),
            expand=True,
            disable=not sys.stderr.isatty(),
        )
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def _remove(self, key: str) -> None:
        if key in self._rows:
            self._bars.remove_task(self._rows.pop(key))


class CountBar(Bars):
    """Bars for things that are counted, such as cases; use as a context manager."""

    def __init__(self) -> None:
        super().__init__(MofNCompleteColumn(), TimeElapsedColumn())
        self._says: dict[str, float] = {}  # when the next line about each is due

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        if what not in self._rows:
            self._rows[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._rows[what], completed=done, total=total)
        if self._bars.disable:
            self._say(what, done, total)

    def _say(self, what: str, done: int, total: int) -> None:
        """Say how far it is where there is no bar: after some seconds, then once a minute."""
        now = time.monotonic()
        due = self._says.setdefault(what, now + SAY_AFTER)
        if now >= due and done < total:
            self._says[what] = now + SAY_EVERY
            tell(f"{done} of {total} done; this may take a while.", what)


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show one bar for cases or other pieces while a block runs; call it with (done, total)."""
    with CountBar() as bar:
        yield lambda done, total: bar(what, done, total)


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show that something goes on that cannot be counted; call it to say what goes on now."""
    with stderr_console().status(words(what)) as status, calmly(what):
        yield lambda now: status.update(words(now))


@contextlib.contextmanager
def calmly(what: str) -> Iterator[None]:
    """Say what goes on in a line, if a block takes seconds and there is no terminal to show it."""
    if sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(SAY_AFTER, tell, (what,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Amount(ProgressColumn):
    """Cases for the bar of all of them, bytes and speed for a file's."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._speed = DownloadColumn(), TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        if task.fields.get("counts"):
            return Text(f"{task.completed:g}/{task.total:g} cases")
        return Text.assemble(self._bytes.render(task), "  ", self._speed.render(task))


class TransferBars(Bars):
    """One bar for the cases of a download and one for each file under way; a context manager."""

    def __init__(self) -> None:
        super().__init__(_Amount(), TimeRemainingColumn())

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Show the bytes of a file (below 0: it is finished), or the cases if there is no name."""
        if done < 0:
            self._remove(name)
            return
        if name not in self._rows:
            self._rows[name] = self._bars.add_task(
                f"  {name}" if name else "fetching", total=total, counts=not name
            )
        self._bars.update(self._rows[name], completed=done, total=total)
