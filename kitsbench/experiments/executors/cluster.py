"""Trials on other machines, as the process sees them that watches over them.

It may end at any time: on Slurm the jobs go on without it, and the next one adopts them.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from kitsbench.errors import UsageError
from kitsbench.experiments.executors.events import Event, Notify, ending, mark_interrupted
from kitsbench.experiments.executors.work import (
    Mark,
    Terms,
    Work,
    how_far,
    in_words,
    kept_text,
    read_stops,
)
from kitsbench.experiments.records import Stop
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.isolation import Stopped

LOOK_EVERY = 0.3  # seconds between two looks at the trials
TRY_AGAIN = 15.0  # seconds until a cluster that does not answer is asked again


@dataclass(frozen=True)
class Ended:
    """How a piece of work ended.

    Parameters
    ----------
    result : object
        What it returned, or None.
    why : str
        Why it returned nothing.
    state : str
        By which the cluster names its end, such as ``TIMEOUT``; empty where it has no name.
    """

    result: Any
    why: str = ""
    state: str = ""


class Unanswered(Exception):
    """The cluster does not answer, so nobody knows what it has got; nothing was submitted."""


class Backend(Protocol):
    """A cluster: takes work and tells what became of it.

    Attributes
    ----------
    lasting : bool
        Whether work goes on when this process ends, and can be found again by its trial.
    """

    lasting: bool

    def submit(self, work: Sequence[Any], trials: Sequence[str]) -> list[Any]:
        """Queue callables without arguments; returns a handle each.

        What works on a trial already is not submitted once more: its handle is returned.

        Raises
        ------
        Unanswered
            The cluster does not answer.
        UsageError
            It does not take the work.
        """

    def poll(self, handle: Any) -> Ended | None:
        """How the work ended, or None while it waits or runs."""

    def cancel(self, handle: Any) -> None:
        """Stop work wherever it is."""

    def forget(self, handle: Any) -> None:
        """Work whose end has been told needs not be found again."""


@dataclass
class _Waiting:
    task: TrialTask
    losses: int = 0  # in a row, without getting any further in between
    again: bool = False


@dataclass
class _Submitted:
    task: TrialTask
    handle: Any
    losses: int
    before: Mark
    told: tuple[Stop, ...]
    left: tuple[str, int] | None = None  # what a worker before this one may have left
    started: bool = False


@dataclass
class ClusterExecutor:
    """Runs trials through a backend; those whose worker vanishes are started again.

    Parameters
    ----------
    backend : Backend
    kind : {"cpu", "cuda"}
    threads : int
        CPU threads of each process.
    world_size : int
    jobs : int or None
        Trials in the cluster's hands at the same time; None for all.
    retries : int
        How often in a row a trial is started again that has got no further in between.
    timeout : float or None
        Seconds of wall time after which a worker stops its trial.
    terms : Terms or None
        Of the cluster's jobs.
    """

    backend: Backend
    kind: str = "cpu"
    threads: int = 1
    world_size: int = 1
    jobs: int | None = None
    retries: int = 2
    timeout: float | None = None
    terms: Terms | None = None
    _running: list[_Submitted] = field(default_factory=list)
    _not_before: float = 0.0

    def execute(self, tasks: Sequence[TrialTask], notify: Notify) -> None:
        """Run all trials; a failing one does not stop the others.

        Raises
        ------
        UsageError
            A node does not see the working directory.
        KeyboardInterrupt
            The user stopped; what was queued or ran is cancelled and can be resumed. Where work
            goes on without this process, that holds for Ctrl-C alone, and not for other signals.
        """
        waiting = [_Waiting(replace(task, threads=self.threads).absolute()) for task in tasks]
        try:
            while waiting or self._running:
                free = len(waiting) if self.jobs is None else self.jobs - len(self._running)
                if self._submit(waiting[: max(free, 0)], notify):
                    del waiting[: max(free, 0)]
                for one in list(self._running):
                    waiting += self._look(one, notify)
                time.sleep(LOOK_EVERY)
        except BaseException as error:
            if not (self.backend.lasting and isinstance(error, Stopped)):
                self._cancel_all()
            self._running.clear()
            raise

    def _submit(self, chosen: Sequence[_Waiting], notify: Notify) -> bool:
        """Submit trials; False where the cluster has to be asked again later."""
        if not chosen or time.monotonic() < self._not_before:
            return False
        path = tuple(folder for folder in sys.path if folder)
        work = [
            Work(one.task, self.kind, self.world_size, self.timeout, one.again, path, self.terms)
            for one in chosen
        ]
        try:
            handles = self.backend.submit(work, [one.task.id for one in chosen])
        except Unanswered as error:
            if not self._not_before:  # said once, and again after it has answered
                message = f"{error}; nothing is submitted until it answers."
                notify(Event(chosen[0].task, "told", message=message))
            self._not_before = time.monotonic() + TRY_AGAIN
            return False
        self._not_before = 0.0
        for one, handle in zip(chosen, handles, strict=True):
            known = (how_far(one.task), read_stops(one.task))
            left = _said(one.task)
            self._running.append(_Submitted(one.task, handle, one.losses, *known, left))
        return True

    def _look(self, one: _Submitted, notify: Notify) -> list[_Waiting]:
        """Tell what is new about a trial; returns it if it has to be started again."""
        ended = self.backend.poll(one.handle)
        if ended is None:
            self._tell_progress(one, notify)
            return []
        self._running.remove(one)
        self.backend.forget(one.handle)
        return self._after(one, ended, notify)

    def _after(self, one: _Submitted, ended: Ended, notify: Notify) -> list[_Waiting]:
        if ended.result is None:
            return self._after_loss(one, *_reason(ended, self.terms), notify)
        kind, message = ended.result
        if kind == "unshared":
            raise UsageError(message)
        if kind == "unfit":
            one.task.trial.write(one.task.folder.trial)
            one.task.folder.failing()("wrong device", message)
            kind, message = "failed", f"wrong device: {message}"
        if kind == "cut":
            return self._after_loss(one, "cut", message, notify)
        if kind == "failed" and one.task.folder.read_status().reason == "killed":
            # Drained nodes tell a trial to end before they take it.
            return self._after_loss(one, "retried", message, notify)
        notify(Event(one.task, kind, message=message))
        return []

    def _tell_progress(self, one: _Submitted, notify: Notify) -> None:
        # What a job tells when it goes on by itself; who asks may have slept meanwhile.
        if (stops := read_stops(one.task)) != one.told:
            new = [stop for stop in stops if stop not in one.told]
            one.told, one.losses, one.started = stops, 0, False
            for stop in new:
                goes_on = kept_text((stop.step, stop.scored))
                notify(Event(one.task, "cut", message=f"{stop.why}; {goes_on}"))
        found = one.task.folder.read_progress()
        # Of a worker that was lost it stays; one that lives has soon written another.
        if found is None or (not one.started and (found.sitting, found.count) == one.left):
            return
        if not one.started:
            one.started = True
            notify(Event(one.task, "started"))
        if found.stage != "start":
            notify(Event(one.task, "progress", found.stage, found.fraction))

    def _after_loss(self, one: _Submitted, kind: str, why: str, notify: Notify) -> list[_Waiting]:
        """What to do when a worker is gone: the trial may have ended, else it goes on elsewhere."""
        known = ending(one.task)
        if known is not None and known.kind == "finished":
            notify(known)
            return []
        now = how_far(one.task)
        # What gets further each time comes to an end; only what does not is given up.
        losses = 0 if now > one.before else one.losses + 1
        if losses <= self.retries and kind != "cancelled":
            message = f"{why}; {kept_text(now)}" if kind == "cut" else why
            notify(Event(one.task, kind, message=message))
            return [_Waiting(one.task, losses, again=True)]
        if one.task.folder.read_status().status == "finished":  # trained; not to be spoilt
            notify(known or Event(one.task, "failed", message=f"scores are missing: {why}"))
            return []
        times = "once" if losses == 1 else f"{losses} times"
        text = f"Its worker vanished {times}: {why}"
        if kind == "cancelled":
            text = f"{why}; the same command goes on from there."
        elif kind == "cut":
            text = (
                f"It {why}, {times} in a row without getting any further. Give a job more time, or "
                "let --checkpoint-every be less."
            )
        one.task.trial.write(one.task.folder.trial)
        one.task.folder.set_status("failed", "killed", text)
        notify(ending(one.task) or Event(one.task, "failed"))
        return []

    def _cancel_all(self) -> None:
        for one in self._running:
            self.backend.cancel(one.handle)
        for one in self._running:
            mark_interrupted(one.task)
            with contextlib.suppress(OSError):
                self.backend.forget(one.handle)


def _said(task: TrialTask) -> tuple[str, int] | None:
    """By which sitting, and as which of its words, a trial's progress was written last."""
    found = task.folder.read_progress()
    return None if found is None else (found.sitting, found.count)


def _reason(ended: Ended, terms: Terms | None) -> tuple[str, str]:
    """Which event tells of work that returned nothing, and why it did not, in words."""
    limit = terms.limit if terms is not None else None
    if ended.state == "TIMEOUT":
        length = "" if limit is None else f" ({in_words(limit)})"
        return "cut", f"hit the time limit of its job{length}"
    if ended.state == "PREEMPTED":
        return "cut", "was preempted"
    if ended.state == "CANCELLED":
        return "cancelled", f"{ended.why}: somebody has cancelled it"
    if ended.state == "OUT_OF_MEMORY":
        return "retried", f"{ended.why}: the job needs more memory than it asked for"
    return "retried", ended.why
