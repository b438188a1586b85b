"""Follow the trials of a run and write down what they tell, in a thread that nobody waits for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from kitsbench.errors import DataError, telling
from kitsbench.experiments.executors.events import Event, Notify
from kitsbench.experiments.logs import to_mlflow
from kitsbench.experiments.logs.scalars import Run, Sink, scalars_of, stamp_of
from kitsbench.experiments.logs.to_tensorboard import TensorBoard
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.optional import require

LOOK_EVERY = 5.0  # seconds between two looks at what trials have written
TRY_AGAIN = 60.0  # seconds until a logger that failed is tried again
PATIENCE = 60.0  # seconds that the end of a run waits for its loggers
SHORT = 5.0  # the same where the run was stopped

LOGGERS: dict[str, Callable[[Path], Sink]] = {
    "tensorboard": TensorBoard,
    "mlflow": to_mlflow.MLflow,
}


def check_loggers(names: Sequence[str]) -> None:
    """See that the packages of loggers are there, before anything is trained.

    Raises
    ------
    UsageError
        One is missing; the message names the extra that brings it.
    """
    if "tensorboard" in names:
        require("tensorboard", "tensorboard")
        require("torch.utils.tensorboard", "tensorboard")
    if "mlflow" in names:
        to_mlflow.settle()
        require("mlflow", "mlflow")
        if to_mlflow.is_local():  # whose database needs more than a client of a server does
            require("sqlalchemy", "mlflow")
            require("alembic", "mlflow")


@dataclass
class _Followed:
    """A trial, and how far a logger has it."""

    task: TrialTask
    run: Run | None = None
    known: dict[str, int] = field(default_factory=dict)
    stamp: object = None
    ended: bool = False


@dataclass
class _Logger:
    name: str
    workdir: Path
    tell: Callable[[str], None]
    sink: Sink | None = None
    warned: bool = False
    failed: bool = False
    not_before: float = 0.0
    trials: dict[str, _Followed] = field(default_factory=dict)
    sick: dict[str, float] = field(default_factory=dict)
    """Trials that failed alone, and when each is tried again."""

    def look(self, tasks: Sequence[TrialTask], ends: dict[str, str], last: bool) -> None:
        """Write what is new of all trials; where that fails, say it once and try again later.

        One whose folder is damaged, here or where the logger writes, holds up no other: the logger
        itself is given up only where nothing else can be written either.
        """
        now = time.monotonic()
        if now < self.not_before and not last:
            return
        faults: list[tuple[TrialTask, Exception]] = []
        works = False
        try:
            if self.sink is None:
                self.sink = LOGGERS[self.name](self.workdir)
            # Those that failed before come last, when it is known whether others can be written.
            for task in sorted(tasks, key=lambda task: task.id in self.sick):
                if self.sick.get(task.id, 0.0) > now and not last:
                    continue
                try:
                    works |= self._bring_up(self.sink, task, ends.get(task.id))
                    self.sick.pop(task.id, None)
                except Exception as error:  # packages of others raise what they like
                    faults.append((task, error))
                    # A server that is away lets each wait for long.
                    if not works and len(faults) > 1:
                        break
        except Exception as error:  # no trial ends by it
            self._give_up(error)
            return
        if faults and not works:
            self.sick.update((task.id, 0.0) for task, _ in faults)  # the logger itself has to wait
            self._give_up(faults[0][1])
            return
        for task, fault in faults:
            self._leave_alone(task, fault)
        self.failed = bool(self.sick)

    def _leave_alone(self, task: TrialTask, error: Exception) -> None:
        if not self.sick.get(task.id):
            self.tell(
                f"--log {self.name} fails for trial {task.id}: {telling(error)}. The others are "
                "written, and it is tried again now and then."
            )
        self.sick[task.id] = time.monotonic() + TRY_AGAIN
        self.trials.pop(task.id, None)  # what the store has of it is asked for again

    def _bring_up(self, sink: Sink, task: TrialTask, end: str | None) -> bool:
        """Write what is new of a trial; whether the sink was needed for it."""
        one = self.trials.setdefault(task.id, _Followed(task))
        if end is None and one.ended:  # it was tried again
            one.ended, one.stamp = False, None
        stamp = stamp_of(task)
        if stamp == one.stamp and (end is None or one.ended):
            return False
        try:
            found = scalars_of(task)
        except (DataError, OSError):  # damaged, as whoever reads it for the report says
            found = []
        if one.run is None:
            one.run, one.known = (run := Run.of(task)), sink.known(run)
        newest = max(one.known.values(), default=-1)
        # Steps that are taken again after an interruption are there already.
        new = [
            scalar
            for scalar in found
            if scalar.step >= newest and scalar.step > one.known.get(scalar.tag, -1)
        ]
        if new:
            sink.write(one.run, new)
            for scalar in new:
                one.known[scalar.tag] = max(one.known.get(scalar.tag, -1), scalar.step)
        if end is not None and one.known:
            sink.end(one.run, end)
        one.stamp, one.ended = stamp, end is not None
        return True

    def _give_up(self, error: Exception) -> None:
        self.failed, self.not_before = True, time.monotonic() + TRY_AGAIN
        sink, self.sink = self.sink, None
        self.trials.clear()  # what the store has is asked for again
        if sink is not None:
            with contextlib.suppress(Exception):
                sink.close()
        if not self.warned:
            self.warned = True
            self.tell(
                f"--log {self.name} fails: {telling(error)}. Training goes on, and it is tried "
                "again now and then."
            )

    def close(self) -> None:
        """Let the sink go, and say what was left out."""
        if self.sink is not None:
            with contextlib.suppress(Exception):
                self.sink.close()
        if self.failed:
            self.tell(
                f"--log {self.name} has not got everything: the same command writes what is "
                "missing, and trains nothing again."
            )


class Logs:
    """Loggers that follow the trials of a run; use as a context manager.

    Parameters
    ----------
    names : sequence of str
        Of :data:`LOGGERS`; without any nothing is done.
    workdir : Path
    tell : callable
        Gets a line for the user, also from a thread.
    """

    def __init__(self, names: Sequence[str], workdir: Path, tell: Callable[[str], None]):
        known = dict.fromkeys(name for name in names if name in LOGGERS)  # "none" is no logger
        self._loggers = [_Logger(name, workdir, tell) for name in known]
        self._tasks: dict[str, TrialTask] = {}
        self._ends: dict[str, str] = {}
        self._tell, self._stop = tell, threading.Event()
        self._thread = threading.Thread(target=self._run, name="kitsbench-logs", daemon=True)

    def __enter__(self) -> Self:
        if self._loggers:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._loggers:
            return
        self._stop.set()
        patience = PATIENCE if error is None else SHORT
        self._thread.join(patience)
        if self._thread.is_alive():  # it goes with this process
            self._tell(
                f"The loggers did not end within {patience:g} s; the same command writes what they "
                "lack, and trains nothing again."
            )

    def follow(self, tasks: Iterable[TrialTask]) -> None:
        """Also write trials that have finished before, as far as the loggers lack them."""
        for task in tasks if self._loggers else ():
            with contextlib.suppress(DataError):
                if task.folder.read_status().status == "finished":
                    self._ends[task.id] = "finished"
                    self._tasks[task.id] = task

    def beside(self, notify: Notify) -> Notify:
        """The same listener, of whose events the loggers hear, too."""

        def hear(event: Event) -> None:
            self._hear(event)
            notify(event)

        return hear if self._loggers else notify

    def _hear(self, event: Event) -> None:
        if event.kind in ("finished", "failed"):
            killed = event.kind == "failed" and event.message.startswith("killed")
            self._ends[event.task.id] = "killed" if killed else event.kind
        elif event.kind in ("started", "retried"):
            self._ends.pop(event.task.id, None)
        self._tasks[event.task.id] = event.task

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(LOOK_EVERY)
            if last:
                self._note_ends()
            for logger in self._loggers:
                logger.look(list(self._tasks.values()), dict(self._ends), last)
        for logger in self._loggers:
            logger.close()

    def _note_ends(self) -> None:
        """How trials have ended of which no event has told, since the run was stopped."""
        # A copy: a stopped run may still tell of trials, from other threads.
        for name, task in list(self._tasks.items()):
            with contextlib.suppress(DataError):
                status = task.folder.read_status()
                interrupted = status.status == "running" and status.message is not None
                if name not in self._ends and (status.ended or interrupted):
                    killed = interrupted or status.reason == "killed"
                    self._ends[name] = "killed" if killed else status.status
