"""Trials on other machines: what a worker does, and how the driver watches over it.

A worker runs a trial as this machine would, in a process of its own under the local executor, so
that files, limits and failures are the same everywhere. All machines see the working directory.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from kitsbench.devices.choose import choose_devices
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.executors.events import Event, Notify, ending, mark_killed
from kitsbench.experiments.executors.local import LocalExecutor
from kitsbench.experiments.machines.environment import device_class
from kitsbench.experiments.records import TrialProgress
from kitsbench.experiments.trial.lease import STALE_AFTER
from kitsbench.experiments.trial.task import TrialTask

PROGRESS_EVERY = 2.0  # seconds between two reports of a worker
LOOK_EVERY = 0.3  # seconds between two looks at the trials


@dataclass(frozen=True)
class Work:
    """A trial as a worker gets it.

    Parameters
    ----------
    task : TrialTask
        Its paths are absolute.
    kind : {"cpu", "cuda"}
    world_size : int
        Processes that train.
    timeout : float or None
        Seconds of wall time.
    again : bool
        Whether a worker before this one vanished, whose lease may take a while to expire.
    path : tuple of str
        Folders that Python imports from besides the worker's own.
    """

    task: TrialTask
    kind: str
    world_size: int = 1
    timeout: float | None = None
    again: bool = False
    path: tuple[str, ...] = ()

    def __call__(self) -> tuple[str, str]:
        """Run the trial; returns the kind of its last event and a message."""
        sys.path.extend(folder for folder in self.path if folder not in sys.path)
        host = socket.gethostname()
        if not (self.task.workdir / "experiments").is_dir():
            return "unshared", (
                f"The node {host} does not see {self.task.workdir}. Put --workdir and --dataset on "
                "a file system that all nodes share, under the same path."
            )
        devices = choose_devices(self.kind)[: self.world_size]
        if self.kind == "cpu":
            devices = ("cpu",) * self.world_size
        if len(devices) < self.world_size:
            return "unfit", f"The node {host} gave {len(devices)} GPUs; {self.world_size} are used."
        here = device_class(torch.device(devices[0]), self.task.threads)
        bound = self.task.trial.identity.device_class
        trained = bool(self.task.members) or self.task.folder.read_status().status == "finished"
        if bound not in (None, here) and not trained:
            return "unfit", (
                f"The node {host} is '{here}', and the time budget of the trial is bound to "
                f"'{bound}'. Choose equal nodes, or a budget in steps, voxels or FLOPs."
            )
        # Slurm starts a job again by itself when its node is gone.
        again = self.again or os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        patience = time.monotonic() + (1.5 * STALE_AFTER if again else 0.0)
        last = self._run(devices)
        while last.kind == "taken" and time.monotonic() < patience:
            time.sleep(2.0)
            last = self._run(devices)
        return last.kind, last.message

    def _run(self, devices: tuple[str, ...]) -> Event:
        last, told = Event(self.task, "failed", message="It never began."), 0.0
        file = progress_file(self.task)

        def notify(event: Event) -> None:
            nonlocal last, told
            if event.kind != "progress":
                last = event
            elif time.monotonic() - told > PROGRESS_EVERY:
                told = time.monotonic()
                TrialProgress(stage=event.stage, fraction=event.fraction).write(file)  # type: ignore[arg-type]

        executor = LocalExecutor([devices], self.task.threads, self.timeout)
        executor.execute([self.task], notify)
        if last.kind != "taken":
            file.unlink(missing_ok=True)
        return last


def progress_file(task: TrialTask) -> Path:
    """Where a worker leaves how far a trial is, for the driver's bars."""
    return task.folder.path / "progress.json"


@dataclass(frozen=True)
class Ended:
    """How a piece of work ended: what it returned, or None and why it did not."""

    result: Any
    why: str = ""


class Backend(Protocol):
    """A cluster: takes work and tells what became of it."""

    def submit(self, work: Sequence[Any]) -> list[Any]:
        """Queue callables without arguments; returns a handle each."""

    def poll(self, handle: Any) -> Ended | None:
        """How the work ended, or None while it waits or runs."""

    def cancel(self, handle: Any) -> None:
        """Stop work wherever it is."""


@dataclass
class _Submitted:
    task: TrialTask
    handle: Any
    attempt: int
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
        How often a trial is started again whose worker vanished.
    timeout : float or None
        Seconds of wall time of a trial.
    """

    backend: Backend
    kind: str
    threads: int = 1
    world_size: int = 1
    jobs: int | None = None
    retries: int = 2
    timeout: float | None = None
    _running: list[_Submitted] = field(default_factory=list)

    def execute(self, tasks: Sequence[TrialTask], notify: Notify) -> None:
        """Run all trials; a failing one does not stop the others.

        Raises
        ------
        UsageError
            A node does not see the working directory.
        KeyboardInterrupt
            The user stopped; what was queued or ran is cancelled and can be resumed.
        """
        waiting = [(replace(task, threads=self.threads).absolute(), 1) for task in tasks]
        try:
            while waiting or self._running:
                free = len(waiting) if self.jobs is None else self.jobs - len(self._running)
                self._submit(waiting[: max(free, 0)])
                del waiting[: max(free, 0)]
                for one in list(self._running):
                    waiting += self._look(one, notify)
                time.sleep(LOOK_EVERY)
        except BaseException:
            self._cancel_all()
            raise

    def _submit(self, chosen: Sequence[tuple[TrialTask, int]]) -> None:
        if not chosen:
            return
        path = tuple(folder for folder in sys.path if folder)
        work = [
            Work(task, self.kind, self.world_size, self.timeout, attempt > 1, path)
            for task, attempt in chosen
        ]
        for (task, attempt), handle in zip(chosen, self.backend.submit(work), strict=True):
            self._running.append(_Submitted(task, handle, attempt))

    def _look(self, one: _Submitted, notify: Notify) -> list[tuple[TrialTask, int]]:
        """Tell what is new about a trial; returns it if it has to be started again."""
        ended = self.backend.poll(one.handle)
        if ended is None:
            self._tell_progress(one, notify)
            return []
        self._running.remove(one)
        if ended.result is None:
            return self._after_loss(one, ended.why, notify)
        kind, message = ended.result
        if kind == "unshared":
            raise UsageError(message)
        if kind == "unfit":
            one.task.trial.write(one.task.folder.trial)
            one.task.folder.failing()("wrong device", message)
            kind, message = "failed", f"wrong device: {message}"
        if kind == "failed" and one.task.folder.read_status().reason == "killed":
            # Time limits, preemption and drained nodes tell a trial to end before they take it.
            return self._after_loss(one, message, notify)
        notify(Event(one.task, kind, message=message))
        return []

    def _tell_progress(self, one: _Submitted, notify: Notify) -> None:
        try:
            found = TrialProgress.read(progress_file(one.task))
        except DataError:  # none yet, or half of one on a file system that is slow to tell
            return
        if not one.started:
            one.started = True
            notify(Event(one.task, "started"))
        notify(Event(one.task, "progress", found.stage, found.fraction))

    def _after_loss(self, one: _Submitted, why: str, notify: Notify) -> list[tuple[TrialTask, int]]:
        """What to do when a worker is gone: the trial may have ended, else it goes on elsewhere."""
        known = ending(one.task)
        if known is not None and known.kind == "finished":
            notify(known)
            return []
        if one.attempt <= self.retries:
            notify(Event(one.task, "retried", message=why))
            return [(one.task, one.attempt + 1)]
        if one.task.folder.read_status().status == "finished":  # trained; not to be spoilt
            notify(known or Event(one.task, "failed", message=f"scores are missing: {why}"))
            return []
        times = "once" if one.attempt == 1 else f"{one.attempt} times"
        one.task.trial.write(one.task.folder.trial)
        one.task.folder.set_status("failed", "killed", f"Its worker vanished {times}: {why}")
        notify(ending(one.task) or Event(one.task, "failed"))
        return []

    def _cancel_all(self) -> None:
        for one in self._running:
            self.backend.cancel(one.handle)
        for one in self._running:
            if one.task.folder.read_status().status == "running":
                mark_killed(one.task, "It was interrupted; the same command goes on from there.")
        self._running.clear()
