"""What a user sees while things run: bars on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
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
from rich.text import Text

from kitsbench.cli.output import stderr_console, tell
from kitsbench.text.screen import words

if TYPE_CHECKING:
    from kitsbench.experiments.executors.events import Event


class _Name(ProgressColumn):
    """What a bar is about: a name may hold brackets or controls, which are text."""

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
            BarColumn(),
            *columns,
            console=stderr_console(),
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

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        if what not in self._rows:
            self._rows[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._rows[what], completed=done, total=total)


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show one bar for cases or other pieces while a block runs; call it with (done, total)."""
    with CountBar() as bar:
        yield lambda done, total: bar(what, done, total)


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show that something goes on that cannot be counted; call it to say what goes on now."""
    with stderr_console().status(words(what)) as status:
        yield lambda now: status.update(words(now))


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


class TrialBars(Bars):
    """One bar for all trials and one for each that runs; use as a context manager.

    Parameters
    ----------
    total : int
        Trials to run.
    """

    def __init__(self, total: int):
        super().__init__(
            TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(), TimeRemainingColumn()
        )
        self._total, self._done = total, 0
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
        key, trial = event.task.id, event.task.trial
        place = trial.context.tuning
        number = f"seed {trial.seed}" if place is None else f"tuning {place.number}"
        name = f"{trial.name} fold {trial.fold} {number}"
        if event.kind == "started":
            self._rows[key] = self._bars.add_task(f"  {name}: starting", total=1.0)
        elif event.kind == "progress" and key in self._rows:
            doing = {"train": "training", "score": "scoring held-out cases"}[event.stage]
            self._bars.update(
                self._rows[key], description=f"  {name}: {doing}", completed=event.fraction
            )
            share = 0.9 * event.fraction if event.stage == "train" else 0.9 + 0.1 * event.fraction
            self._shares[key] = share
            self._show_all()
        elif event.kind == "retried":
            self._shares.pop(key, None)
            self._remove(key)
            tell(event.message, f"{name} lost its worker and starts again", "yellow")
        elif event.kind in ("finished", "failed", "taken"):
            self._done += 1
            self._shares.pop(key, None)
            self._remove(key)
            self._show_all()
            if event.kind == "failed":
                tell(event.message, f"{name} failed", "red")
            elif event.kind == "taken":
                tell(event.message, name)

    def _show_all(self) -> None:
        self._bars.update(self._all, completed=self._done + sum(self._shares.values()))
