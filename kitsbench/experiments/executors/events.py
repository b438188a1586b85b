"""What executors share: the events they tell, and how a trial ended by its files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kitsbench.errors import DataError
from kitsbench.experiments.records import PENDING, Status
from kitsbench.experiments.trial.kept_scores import unscored
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.watchdog import hung, stalled
from kitsbench.training.failures import Reason


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial.

    Parameters
    ----------
    task : TrialTask
    kind : {"started", "progress", "retried", "cut", "told", "finished", "failed", "taken", "lost"}
        ``retried`` after a loss that counts; ``cut`` when its job was cut short and it goes on;
        ``told`` is no more than a message.
    stage : str
        ``train`` or ``score``, for progress.
    fraction : float
        Progress of the stage.
    message : str
        Why it failed or is tried again.
    """

    task: TrialTask
    kind: str
    stage: str = ""
    fraction: float = 0.0
    message: str = ""


INTERRUPTED = "It was interrupted; the same command goes on from there."
Notify = Callable[[Event], None]


class Executor(Protocol):
    """Anything that runs trials."""

    def execute(self, tasks: Sequence[TrialTask], notify: Notify) -> None:
        """Run all trials and tell what happens to them; a failing one does not stop the others."""


def mark_interrupted(task: TrialTask) -> None:
    """Record a trial that the user stopped: it has not failed, and the next run goes on with it."""
    status = _status(task)
    # A trial says itself that it was ended from outside, and cannot know by whom.
    if status.status == "running" or status.reason == "killed":
        with contextlib.suppress(OSError):
            task.folder.set_status("running", message=INTERRUPTED)


def mark_failed(task: TrialTask, reason: Reason, message: str) -> None:
    """Record a trial that ended without a word, unless it has recorded how it ended."""
    folder = task.folder
    if _status(task).ended:
        return
    if hung(folder.hang):
        folder.try_status("failed", "timeout", stalled(task.stall))
    else:
        folder.try_status("failed", reason, message)


def ending(task: TrialTask) -> Event | None:
    """The event that a trial's files tell, or None while they say nothing final.

    A trial that is trained and lacks scores is not over until an attempt to score it has failed.
    """
    status = _status(task)
    if status.status == "finished":
        lost = unscored(task.folder, task.trial, task.protocols)
        if lost is None:
            return Event(task, "finished")
        if not os.path.lexists(task.folder.unscored):
            return None
        return Event(task, "failed", message=f"{lost.reason}: {lost.message}")
    if status.status == "failed":
        return Event(task, "failed", message=f"{status.reason}: {status.message}")
    return None


def _status(task: TrialTask) -> Status:
    """What ``status.json`` says; nothing where foreign code has spoilt it while it ran."""
    try:
        return task.folder.read_status()
    except DataError:
        return PENDING
