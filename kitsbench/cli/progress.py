"""What a user sees while things run: bars on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
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
from rich.text import Text

if TYPE_CHECKING:
    from kitsbench.experiments.executors.events import Event

# Lines are left to the terminal to wrap: a path that is broken in two cannot be copied.
console = Console(stderr=True, soft_wrap=True)

LOG_WIDTH = 120  # columns of a table that is written to a file or a pipe


def output_console() -> Console:
    """Console on stdout, wide enough for tables where there is no terminal to ask."""
    return Console(width=None if sys.stdout.isatty() else LOG_WIDTH)


class _Bars:
    """What all bars share: they run while the context lasts."""

    _bars: Progress

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


class CountBar(_Bars):
    """A bar for something that is counted, such as cases; use as a context manager."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=False,
            disable=not sys.stderr.isatty(),
        )
        self._rows: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        if what not in self._rows:
            self._rows[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._rows[what], completed=done, total=total)


class _Amount(ProgressColumn):
    """Cases for the bar of all of them, bytes and speed for a file's."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._speed = DownloadColumn(), TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        if task.fields.get("counts"):
            return Text(f"{task.completed:g}/{task.total:g} cases")
        return Text.assemble(self._bytes.render(task), "  ", self._speed.render(task))


class TransferBars(_Bars):
    """One bar for the cases of a download and one for each file under way; a context manager."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            TimeRemainingColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._rows: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Show the bytes of a file (below 0: it is finished), or the cases if there is no name."""
        if done < 0:
            if name in self._rows:
                self._bars.remove_task(self._rows.pop(name))
            return
        if name not in self._rows:
            self._rows[name] = self._bars.add_task(
                f"  {name}" if name else "fetching", total=total, counts=not name
            )
        self._bars.update(self._rows[name], completed=done, total=total)


class TrialBars(_Bars):
    """One bar for all trials and one for each that runs; use as a context manager.

    Parameters
    ----------
    total : int
        Trials to run.
    """

    def __init__(self, total: int):
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._total, self._done = total, 0
        self._rows: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}  # of each running trial, how much is done

    def __enter__(self) -> Self:
        super().__enter__()
        # A single trial's bar tells everything that a bar of all trials would.
        self._all = self._bars.add_task(
            f"all {self._total} trials", total=self._total, visible=self._total > 1
        )
        return self

    def __call__(self, event: Event) -> None:
        """Show what happened to a trial."""
        trial = event.task.trial
        name = f"{trial['label']} fold {trial['fold']} seed {trial['seed']}"
        if "tuning" in trial:
            name = f"{trial['label']} fold {trial['fold']} tuning {trial['tuning']['number']}"
        row = self._rows.get(event.task.id)
        if event.kind == "started":
            self._rows[event.task.id] = self._bars.add_task(f"  {name}: starting", total=1.0)
        elif event.kind == "progress" and row is not None:
            doing = {"train": "training", "score": "scoring held-out cases"}[event.stage]
            self._bars.update(row, description=f"  {name}: {doing}", completed=event.fraction)
            share = 0.9 * event.fraction if event.stage == "train" else 0.9 + 0.1 * event.fraction
            self._shares[event.task.id] = share
            self._show_all()
        elif event.kind == "retried":
            self._shares.pop(event.task.id, None)
            if row is not None:
                self._bars.remove_task(self._rows.pop(event.task.id))
            console.print(
                f"[yellow]{name} lost its worker and starts again[/yellow]: {event.message}",
                highlight=False,
            )
        elif event.kind in ("finished", "failed", "taken"):
            self._done += 1
            self._shares.pop(event.task.id, None)
            if row is not None:
                self._bars.remove_task(self._rows.pop(event.task.id))
            self._show_all()
            if event.kind == "failed":
                console.print(f"[red]{name} failed[/red]: {event.message}", highlight=False)
            elif event.kind == "taken":
                console.print(f"{name}: {event.message}", highlight=False)

    def _show_all(self) -> None:
        self._bars.update(self._all, completed=self._done + sum(self._shares.values()))


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show one bar for cases or other pieces while a block runs; call it with (done, total)."""
    with CountBar() as bar:
        yield lambda done, total: bar(what, done, total)
