"""A trial as a worker on another machine gets it.

It runs as it would on this machine, in a process of its own under the local executor, so that
files, limits and failures are the same everywhere. All machines see the working directory.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from kitsbench.devices.choose import choose_devices
from kitsbench.errors import DataError
from kitsbench.experiments.executors.events import Event
from kitsbench.experiments.executors.job_signals import Told, heeding_cluster
from kitsbench.experiments.executors.local import TAKE_LEAVE, LocalExecutor
from kitsbench.experiments.executors.requeue import job_name, requeue, restarts
from kitsbench.experiments.machines.environment import device_class
from kitsbench.experiments.records import PartialScoresRecord, Stop, StopsRecord
from kitsbench.experiments.trial.lease import STALE_AFTER
from kitsbench.experiments.trial.task import TrialTask

KILL_WAIT = 25.0  # seconds between SIGTERM and SIGKILL; a Slurm that nobody configured waits 30
EARLY = 90.0  # seconds by which the warning may come too early: 60 says Slurm, and it looks late
AFTERWARDS = 15.0  # seconds of the warning that are kept for the end of the job itself

Mark = tuple[int, int]  # steps of the newest checkpoint, cases that were scored


@dataclass(frozen=True)
class Terms:
    """What a job of a cluster may count on.

    Parameters
    ----------
    limit : float or None
        Seconds of wall time.
    warning : float
        Seconds before the limit at which the cluster tells the job.
    requeue : bool
        Whether the job may ask the cluster to start it again.
    """

    limit: float | None = None
    warning: float = 0.0
    requeue: bool = False


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
    terms : Terms or None
        Of its job; None where no signals tell that it is about to end.
    """

    task: TrialTask
    kind: str
    world_size: int = 1
    timeout: float | None = None
    again: bool = False
    path: tuple[str, ...] = ()
    terms: Terms | None = None

    def __call__(self) -> tuple[str, str]:
        """Run the trial; returns the kind of its last event and a message.

        Raises
        ------
        SystemExit
            The job was cut short, and the cluster knows what becomes of it: it leaves no result.
        """
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
        if self.terms is None:
            return self._until_ended(devices, LocalExecutor())
        if restarts() > 0:
            self._note_restart()
        before = how_far(self.task)
        with heeding_cluster() as check:
            parting = max(TAKE_LEAVE, KILL_WAIT, self.terms.warning - AFTERWARDS)
            try:
                return self._until_ended(devices, LocalExecutor(parting=parting, look=check))
            except Told as told:
                return self._cut_short(told, before)

    def _until_ended(self, devices: tuple[str, ...], executor: LocalExecutor) -> tuple[str, str]:
        executor.slots, executor.threads = [devices], self.task.threads
        executor.timeout = self.timeout
        # Slurm starts a job again by itself when its node is gone.
        again = self.again or restarts() > 0
        patience = time.monotonic() + (1.5 * STALE_AFTER if again else 0.0)
        last = self._run(executor)
        while last.kind == "taken" and time.monotonic() < patience:
            time.sleep(2.0)
            last = self._run(executor)
        return last.kind, last.message

    def _run(self, executor: LocalExecutor) -> Event:
        last = Event(self.task, "failed", message="It never began.")

        def notify(event: Event) -> None:
            nonlocal last
            if event.kind != "progress":  # which the trial itself writes down
                last = event

        executor.execute([self.task], notify)
        if last.kind != "finished":
            executor.look()  # a trial that was told to end may have ended before this one heard it
        return last

    def _cut_short(self, told: Told, before: Mark) -> tuple[str, str]:
        """Leave it to the cluster what becomes of the job, or return why it was cut short."""
        assert self.terms is not None
        now, ran = how_far(self.task), time.time() - psutil.Process().create_time()
        limit = self.terms.limit
        if not told.warned:
            # Preempted, cancelled, out of time without a warning: the queue says what it was, and
            # may start the job again itself.
            raise SystemExit(told.code)
        if limit is not None and ran >= limit - self.terms.warning - EARLY:
            why = f"hit the time limit of its job ({in_words(limit)})"
        else:
            why = f"was told to make room after {in_words(ran)}"
        if now > before and self.terms.requeue and requeue():
            self._note(why, restarts() + 1, now)
            with contextlib.suppress(OSError):
                if self.task.folder.read_status().status != "finished":
                    self.task.folder.set_status("pending", message=f"It {why}; it goes on.")
            raise SystemExit(told.code)
        return "cut", why

    def _note_restart(self) -> None:
        """Write down that the cluster has started the job again, unless the job has asked it."""
        known = read_stops(self.task)
        if not any(s.job == job_name() and s.restart == restarts() for s in known):
            why = "was preempted or lost its node, and the cluster has started it again"
            self._note(why, restarts(), how_far(self.task))

    def _note(self, why: str, restart: int, mark: Mark) -> None:
        stop = Stop(job=job_name(), restart=restart, why=why, step=mark[0], scored=mark[1])
        stops = (*read_stops(self.task), stop)
        with contextlib.suppress(OSError):  # a full disk; nothing depends on it
            StopsRecord(trial=self.task.id, stops=stops).write(stops_file(self.task))


def stops_file(task: TrialTask) -> Path:
    """Where a job leaves why it was cut short, if it goes on by itself."""
    return task.folder.path / "stops.json"


def read_stops(task: TrialTask) -> tuple[Stop, ...]:
    """Every time that the job of a trial was cut short and went on by itself."""
    if not os.path.lexists(stops_file(task)):
        return ()
    try:
        return StopsRecord.read(stops_file(task)).stops
    except DataError:  # damaged; nothing depends on it
        return ()


def how_far(task: TrialTask) -> Mark:
    """How much of a trial outlives its worker; it grows with every step and case that is kept."""
    folder, steps, scored = task.folder, [0], 0
    for one in folder.checkpoints.glob("step-*"):
        with contextlib.suppress(ValueError, IndexError):
            steps.append(int(one.name.split("-")[1]))
    with contextlib.suppress(DataError):
        if folder.partial_scores.is_file():
            scored = len(PartialScoresRecord.read(folder.partial_scores).scored)
    return max(steps), scored


def kept_text(mark: Mark) -> str:
    """Where a trial goes on, in words."""
    step, scored = mark
    if scored:
        return f"goes on where {scored} cases are scored"
    return f"goes on from its checkpoint at step {step}" if step else "begins again"


def in_words(seconds: float) -> str:
    """A time as people say it, such as ``4 h``, ``1 h 30 min`` or ``45 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    parts = (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "")
    return " ".join(filter(None, parts))
