"""Trials that another run has begun, or that lost their lease, come to an end too."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from kitsbench.experiments.executors.events import Event, Executor, Notify, ending
from kitsbench.experiments.trial.task import TrialTask

ASK_AGAIN = 5.0  # seconds between two looks at a trial that another process works on
PATIENCE = 120  # looks at a lease that nobody renews
ATTEMPTS = 2  # for a trial that loses its lease to nobody


def carry_out(tasks: Sequence[TrialTask], executor: Executor, notify: Notify) -> None:
    """Run trials, and wait for those that another run on this working directory has begun.

    A trial whose lease goes away while it runs, without another run that has it, is begun once
    more and then recorded as failed. So is one whose lease somebody holds who never renews it.
    """
    left = _Left(notify)
    executor.execute(tasks, left.listen)
    while again := left.sort_out():
        executor.execute(again, left.listen)  # takes over where the other process is gone


@dataclass
class _Left:
    notify: Notify
    taken: list[TrialTask] = field(default_factory=list)
    lost: list[TrialTask] = field(default_factory=list)
    losses: Counter[str] = field(default_factory=Counter)
    looks: Counter[tuple[str, bytes]] = field(default_factory=Counter)

    def listen(self, event: Event) -> None:
        """Keep what is not over; tell the rest."""
        if event.kind == "taken":
            self.taken.append(event.task)
        elif event.kind == "lost":
            self.lost.append(event.task)
        else:
            self.notify(event)

    def sort_out(self) -> list[TrialTask]:
        """Tell which trials have ended, and return those that are to be begun again."""
        again = self._begin_lost_again()
        for task in self.taken:
            self.notify(Event(task, "taken", message="another process works on it; waiting for it"))
        if self.taken:
            time.sleep(ASK_AGAIN)
        for task in self.taken:
            lease = _lease(task)
            known = ending(task)
            self.looks[task.id, lease] += 1
            if known is not None and not lease:
                self.notify(known)
            elif self.looks[task.id, lease] > PATIENCE:
                self._fail(
                    task,
                    "somebody holds its lease.json and does not renew it. If no other run works "
                    "on it, delete that file and run the same command again.",
                )
            else:
                again.append(task)
        self.taken.clear()
        return again

    def _begin_lost_again(self) -> list[TrialTask]:
        again = []
        for task in self.lost:
            self.losses[task.id] += 1
            what = "its lease.json was removed or replaced while it ran, by no other run"
            if self.losses[task.id] < ATTEMPTS:
                self.notify(Event(task, "retried", message=f"{what}."))
                again.append(task)
            else:
                self._fail(task, f"{what}, {ATTEMPTS} times. Whatever does that must stop.")
        self.lost.clear()
        return again

    def _fail(self, task: TrialTask, message: str) -> None:
        with contextlib.suppress(OSError):
            task.trial.write(task.folder.trial)
        task.folder.failing()("disk error", message)
        self.notify(Event(task, "failed", message=f"disk error: {message}"))


def _lease(task: TrialTask) -> bytes:
    try:
        return (task.folder.path / "lease.json").read_bytes()
    except OSError:
        return b""
