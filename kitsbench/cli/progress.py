"""What a user sees while things run: bars on a terminal; elsewhere a line a minute of a run."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from kitsbench.cli.output import stderr_console, tell
from kitsbench.cli.time_left import TimeLeft, in_words
from kitsbench.text.screen import words

if TYPE_CHECKING:
    from kitsbench.experiments.executors.events import Event


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


class _Left(ProgressColumn):
    """What is left of the whole run, beside the bar that stands for all of it."""

    def __init__(self, left: TimeLeft) -> None:
        super().__init__(Column(no_wrap=True, min_width=len("~9 h 59 min left")))
        self._left = left

    def render(self, task: Task) -> Text:
        seconds = self._left.seconds() if task.fields.get("whole") else None
        return Text("" if seconds is None else f"~{in_words(seconds)} left")


class TrialBars(Bars):
    """One bar for all trials and one for each that runs; use as a context manager.

    Where there is no terminal, a line a minute tells how far the run is.

    Parameters
    ----------
    total : int
        Trials to run.
    after : float
        Seconds that profiles and the report are expected to take when all have ended.
    """

    def __init__(self, total: int, after: float = 0.0):
        self._left = TimeLeft(total, after=after)
        super().__init__(
            TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(), _Left(self._left)
        )
        self._total, self._said = total, time.monotonic()

    def __enter__(self) -> Self:
        super().__enter__()
        # A single trial's bar tells everything that a bar of all trials would.
        self._all = self._bars.add_task(
            f"all {self._total} trials", total=self._total, visible=self._total > 1, whole=True
        )
        return self

    def __call__(self, event: Event) -> None:
        """Show what happened to a trial."""
        key, trial = event.task.id, event.task.trial
        place = trial.context.tuning
        number = f"seed {trial.seed}" if place is None else f"tuning {place.number}"
        name = f"{trial.name} fold {trial.fold} {number}"
        self._left.hear(event)
        if event.kind == "started":
            self._rows[key] = self._bars.add_task(
                f"  {name}: starting", total=1.0, whole=self._total == 1
            )
        elif event.kind == "progress" and key in self._rows:
            doing = {"train": "training", "score": "scoring"}[event.stage]
            self._bars.update(
                self._rows[key], description=f"  {name}: {doing}", completed=event.fraction
            )
            self._show_all()
        elif event.kind == "retried":
            self._remove(key)
            tell(event.message, f"{name} lost its worker and starts again", "yellow")
        elif event.kind == "cut":
            self._remove(key)
            tell(event.message, name, "yellow")
        elif event.kind == "told":
            tell(event.message, name)
        elif event.kind in ("finished", "failed", "taken"):
            self._remove(key)
            self._show_all()
            if event.kind == "failed":
                tell(event.message, f"{name} failed", "red")
            elif event.kind == "taken":
                tell(event.message, name)

    def _show_all(self) -> None:
        self._bars.update(self._all, completed=self._left.done)
        if self._bars.disable and time.monotonic() - self._said >= SAY_EVERY:
            self._said, seconds = time.monotonic(), self._left.seconds()
            left = "" if seconds is None else f"; about {in_words(seconds)} left"
            tell(f"{self._left.ended} of {self._total} trials are done{left}.")
