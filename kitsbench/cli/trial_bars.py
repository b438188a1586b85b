"""What a user sees while trials run: a table on a terminal; elsewhere a line as one begins or ends.

The executor tells that a trial has begun and how it ended, wherever it runs. Its loss, its score
and what it takes of its device are read from what it writes into the working directory.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kitsbench.cli.output import stderr_console, tell
from kitsbench.cli.time_left import TimeLeft, in_words
from kitsbench.cli.trial_table import Row, counted, number, overview, trial_table
from kitsbench.errors import DataError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

    from kitsbench.experiments.executors.events import Event
    from kitsbench.experiments.records import TrialProgress
    from kitsbench.experiments.trial.task import TrialTask

SAY_EVERY = 180.0  # seconds between two lines where there is no terminal
LOOK_EVERY = 1.0  # seconds between two looks at what trials write
ENDED = 4  # rows of trials that have ended, the last ones


@dataclass
class _Shown:
    task: TrialTask
    state: str = "starting"
    share: float | None = None
    began: float = field(default_factory=time.monotonic)
    looked: float = 0.0
    progress: TrialProgress | None = None
    score: float | None = None

    def look(self) -> None:
        """Read what the trial has written, if that was not done just now."""
        if time.monotonic() - self.looked >= LOOK_EVERY:
            self.looked = time.monotonic()
            with contextlib.suppress(OSError):
                self.progress = self.task.folder.read_progress() or self.progress

    def row(self, endpoint: str) -> Row:
        trial, known = self.task.trial, self.progress
        going = known if self.state not in ("finished", "failed") else None
        place = trial.context.tuning
        score = self.score
        if score is None and known is not None:
            score = known.scores.get(endpoint)
        return Row(
            name=trial.name,
            fold=trial.fold,
            seed=str(trial.seed) if place is None else f"tuning {place.number}",
            state=self.state,
            share=self.share,
            left=None if going is None else going.left_s,
            score=score,
            loss=None if known is None else known.losses.get("loss"),
            device=None if going is None else going.device,
        )


class TrialBars:
    """A row for each trial that runs and a bar for all of them; use as a context manager.

    Where there is no terminal, a line tells when a trial begins and how it ended, and every few
    minutes one how far the run is.

    Parameters
    ----------
    total : int
        Trials to run.
    endpoint : str
        region:metric that is shown as score.
    protocol : str
        By which it is scored.
    after : float
        Seconds that profiles and the report are expected to take when all have ended.
    hidden : bool
        Whether scores are not shown, since they wait for a look.
    """

    def __init__(
        self,
        total: int,
        endpoint: str = "tumor:dice",
        protocol: str = "kits19",
        after: float = 0.0,
        hidden: bool = False,
    ):
        self.endpoint, self.protocol, self.hidden = endpoint, protocol, hidden
        self._left = TimeLeft(total, after=after)
        self._total, self._began = total, time.monotonic()
        self._said = self._began
        self._running: dict[str, _Shown] = {}
        self._ended: list[_Shown] = []
        self._counts = {"finished": 0, "failed": 0, "running": 0}
        self._lines: list[tuple[str, str, str]] = []
        self._lock = threading.Lock()  # a thread of rich's draws
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.live import Live

            self._live = Live(
                get_renderable=self.shown,
                console=stderr_console(),
                refresh_per_second=1,  # on a CPU the trials have need of the rest
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._running.clear()
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show what happened to a trial."""
        with self._lock:
            self._hear(event)
            lines, self._lines = self._lines, []
        for line in lines:  # not under the lock: printing waits for whoever draws, who waits for it
            tell(*line)

    def _tell(self, text: str, lead: str = "", style: str = "") -> None:
        self._lines.append((text, lead, style))

    def _hear(self, event: Event) -> None:
        key = event.task.id
        name = name_of(event.task)
        self._left.hear(event)
        if event.kind == "started":
            self._running[key] = _Shown(event.task)
            self._say("started", name)
        elif event.kind == "progress" and key in self._running:
            shown = self._running[key]
            shown.state = {"train": "training", "score": "scoring"}[event.stage]
            shown.share = event.fraction
            self._say_all(shown)
        elif event.kind == "retried":
            self._running.pop(key, None)
            self._tell(event.message, f"{name} lost its worker and starts again", "yellow")
        elif event.kind in ("cut", "told", "taken"):
            if event.kind != "told":
                self._running.pop(key, None)
            self._tell(event.message, name, "yellow" if event.kind == "cut" else "")
        elif event.kind in ("finished", "failed"):
            self._end(event, name)

    def _end(self, event: Event, name: str) -> None:
        shown = self._running.pop(event.task.id, None)
        self._counts[event.kind] += 1
        if shown is not None:
            shown.state, shown.share = event.kind, None
            if event.kind == "finished" and not self.hidden:
                shown.score = self._score(event.task)
            self._ended = [*self._ended, shown][-ENDED:]
        if event.kind == "failed":
            self._tell(event.message, f"{name} failed", "red")
        elif shown is not None:
            from kitsbench.reporting.words import duration

            took = duration(time.monotonic() - shown.began)
            score = "" if shown.score is None else f"; {self.endpoint} {number(shown.score)}"
            self._say(f"finished in {took}{score}", name)

    def _score(self, task: TrialTask) -> float | None:
        from kitsbench.experiments.workdir.watching import mean_score

        with contextlib.suppress(DataError, OSError):
            return mean_score(task.folder, self.protocol, self.endpoint)
        return None

    def _say(self, text: str, name: str) -> None:
        if self._live is None:
            self._tell(text, name)

    def _say_all(self, shown: _Shown) -> None:
        """Say how far the run is where there is no terminal, every few minutes."""
        if self._live is not None or time.monotonic() - self._said < SAY_EVERY:
            return
        self._said, seconds = time.monotonic(), self._left.seconds()
        left = "" if seconds is None else f"; about {in_words(seconds)} left"
        shown.look()
        row = shown.row("" if self.hidden else self.endpoint)
        loss = "" if row.loss is None else f", loss {number(row.loss)}"
        now = f"{name_of(shown.task)} is {row.state}, {row.share or 0.0:.0%}{loss}"
        self._tell(f"{self._left.ended} of {self._total} trials are done{left}; {now}.")

    def shown(self) -> Group:
        """The table and the bar, as they are now."""
        from rich.console import Group

        with self._lock:
            running = list(self._running.values())
            ended, counts = list(self._ended), dict(self._counts)
            seconds, share = self._left.seconds(), self._left.done / max(self._total, 1)
        console = stderr_console()
        for one in running:
            one.look()
        room = max(console.height - 5, 1)
        counts["running"] = len(running)
        counts["waiting"] = max(self._total - sum(counts.values()), 0)
        endpoint = "" if self.hidden else self.endpoint
        rows = [one.row(endpoint) for one in running][:room]
        rows += [one.row(endpoint) for one in ended][: max(room - len(rows), 0)]
        told = counted(counts)
        if any(row.score is not None for row in rows):
            told += f"; score: {self.endpoint} of the cases scored so far"
        elapsed = time.monotonic() - self._began
        below = overview(share, elapsed, seconds, told)
        return Group(trial_table(rows, console.width), below) if rows else below


def name_of(task: TrialTask) -> str:
    """What tells a trial from the others of its run."""
    trial = task.trial
    place = trial.context.tuning
    number = f"seed {trial.seed}" if place is None else f"tuning {place.number}"
    return f"{trial.name} fold {trial.fold} {number}"
