"""Executor ``local``: a process a trial, one trial a slot, devices and threads shared out.

A process of its own means that a trial cannot take the others along when it runs out of memory,
and that its exit frees the device. Processes are forked from a server that has imported torch
already, so that starting one takes no time; where that is not possible they are spawned. What a
trial starts ends with it (:mod:`kitsbench.isolation.keeper` says on which systems), and this
process ends what says nothing any more, was suspended, or lingers when it has said its last word.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path

import psutil
import torch

from kitsbench.devices.use import use_device
from kitsbench.errors import Terminated
from kitsbench.experiments.executors.events import (
    Event,
    Notify,
    ending,
    mark_failed,
    mark_interrupted,
)
from kitsbench.experiments.machines.environment import device_class
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.lease import STALE_AFTER
from kitsbench.experiments.trial.log import keep_short
from kitsbench.experiments.trial.run import run_trial
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.telling import forget_progress
from kitsbench.experiments.trial.watchdog import stalled
from kitsbench.isolation import IsolatedFailure, call_isolated, exit_text
from kitsbench.isolation.keeper import Body, speak_plainly
from kitsbench.isolation.kept import Kept, start_kept
from kitsbench.isolation.messages import Outbox, from_json, to_json
from kitsbench.text.numbers import memory
from kitsbench.training.failures import Reason
from kitsbench.training.meters.device_speed import device_speed
from kitsbench.training.parting import ask_to_leave

REPORT_EVERY = 0.2  # seconds between two reports of a trial
LOOK_EVERY = 1.0  # seconds between two looks at what a trial is up to
STOPPED_FOR = 10.0  # seconds after which a suspended trial is ended
LINGER = 5.0  # seconds that a trial may take after its last word
TAKE_LEAVE = 5.0  # seconds in which a trial that is told to end may say so
FINISH_STEP = 15.0  # seconds of a longer leave in which it may finish its step
ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass
class _Running:
    task: TrialTask
    kept: Kept
    slot: int
    deadline: float | None
    fail: Callable[[Reason, str], None]
    stopped: tuple[Reason, str] | None = None
    outcome: str | None = None
    peak: int = 0
    # Seconds, by the looks of this process: one that was suspended itself has not looked.
    silent: float = 0.0
    suspended: float = 0.0
    lingering: float = 0.0
    looked: float = field(default_factory=time.monotonic)


@dataclass
class LocalExecutor:
    """Runs trials on this machine.

    Parameters
    ----------
    slots : sequence of sequence of str
        A trial runs in each at the same time, on the slot's devices.
    threads : int
        CPU threads of each process.
    timeout : float or None
        Seconds of wall time after which a trial is stopped.
    parting : float
        Seconds in which a trial that is told to end may say so; with more than the usual ones it
        ends after its step, with a checkpoint.
    look : callable
        Called several times a second; what it raises stops the trials.
    """

    slots: Sequence[Sequence[str]] = (("cpu",),)
    threads: int = 1
    timeout: float | None = None
    parting: float = TAKE_LEAVE
    look: Callable[[], None] = lambda: None
    _running: list[_Running] = field(default_factory=list)

    def execute(self, tasks: Sequence[TrialTask], notify: Notify) -> None:
        """Run all trials; a failing one does not stop the others.

        Raises
        ------
        KeyboardInterrupt
            The user stopped; the next run goes on with trials that were running.
        """
        waiting = list(tasks)
        self._calibrate(waiting)
        try:
            while waiting or self._running:
                self.look()
                while waiting and len(self._running) < len(self.slots):
                    self._start(waiting.pop(0), notify)
                self._listen(notify)
        except BaseException:
            self._stop_all()
            raise

    def _calibrate(self, tasks: Sequence[TrialTask]) -> None:
        """Measure the devices while nothing else runs on them; trials find what is kept."""
        if not tasks:
            return
        folder = tasks[0].workdir / "devices"
        for name in sorted({device for slot in self.slots for device in slot}):
            # A trial that finds nothing measures for itself, and says what is wrong.
            with contextlib.suppress(IsolatedFailure):
                call_isolated(calibrate, name, self.threads, folder)

    def _start(self, task: TrialTask, notify: Notify) -> None:
        used = {running.slot for running in self._running}
        slot = next(index for index in range(len(self.slots)) if index not in used)
        devices = tuple(self.slots[slot])
        task = replace(task, device=devices[0], devices=devices, threads=self.threads)
        fail = task.folder.failing()
        body: Body = _child
        if self.parting > TAKE_LEAVE:
            body = partial(_child, patience=FINISH_STEP)
        # No daemon: a trial on several devices starts processes of its own.
        kept = start_kept(body, task)
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        self._running.append(_Running(task, kept, slot, deadline, fail))
        notify(Event(task, "started"))

    def _listen(self, notify: Notify) -> None:
        """Pass on what the trials report, and stop those that spend too much."""
        # Not for ever: a trial that is silent may still use too much memory or time.
        wait([source for r in self._running for source in r.kept.sources()], timeout=0.25)
        for running in list(self._running):
            # Asked before the pipe is emptied: what a trial sent before it ended is then in there.
            # The other way round its last word might come in between and be lost.
            ended = running.kept.ended()
            for message in running.kept.inbox.take():
                running.silent = 0.0
                found = from_json(message)
                if "end" in found:
                    running.outcome = str(found["end"])
                elif found.get("stage") in ("train", "score"):
                    stage, fraction = str(found["stage"]), float(found.get("fraction", 0.0))
                    notify(Event(running.task, "progress", stage, fraction))
            if ended:
                self._running.remove(running)
                event = _ending(running)
                if event.kind not in ("taken", "lost"):  # else what is there is another's
                    forget_progress(running.task.folder)
                notify(event)
            else:
                self._guard(running)

    def _guard(self, running: _Running) -> None:
        """Stop a trial that exceeds its memory or its time, or from which nothing more comes."""
        if running.deadline is not None and time.monotonic() > running.deadline:
            running.stopped = ("timeout", f"It ran longer than {self.timeout:g} s of wall time.")
        limit = running.task.max_memory
        if limit is not None and running.task.device == "cpu":
            self._weigh(running, limit)
        passed = time.monotonic() - running.looked
        if passed >= LOOK_EVERY:
            running.looked += passed
            _look(running, min(passed, 2 * LOOK_EVERY))
        if running.stopped is not None:
            # No politer signal: Python would handle it after the call that hangs.
            running.kept.kill()

    def _weigh(self, running: _Running, limit: int) -> None:
        with contextlib.suppress(psutil.Error):
            own = psutil.Process(running.kept.pid or running.kept.process.pid)
            # The limit is for each process, since each has a device of its own; the largest
            # counts.
            team = own.children(recursive=True) if len(running.task.devices) > 1 else []
            running.peak = max(each.memory_info().rss for each in (own, *team))
        if running.peak > limit:
            running.stopped = (
                "out-of-memory",
                f"It used {memory(running.peak)}; --max-memory allows {memory(limit)}.",
            )

    def _stop_all(self) -> None:
        # All at once, so that they take their leave in the same seconds.
        for running in self._running:
            running.kept.terminate()
        end = time.monotonic() + self.parting
        while self._running:
            running = self._running[0]
            try:
                while not running.kept.ended() and time.monotonic() < end:
                    list(running.kept.inbox.take())  # a full pipe would make it wait
                    wait(running.kept.sources(), timeout=0.1)
                running.kept.close()
                forget_progress(running.task.folder)
                mark_interrupted(running.task)
            except (KeyboardInterrupt, Terminated):
                # Who asks twice shall not wait, nor have the trial taken for a failed one.
                end = 0.0
                continue
            del self._running[0]


def calibrate(device: str, threads: int, folder: Path) -> None:
    """Measure a device for the trials that will run on it."""
    speed_of(device, threads, folder)


def speed_of(device: str, threads: int, folder: Path) -> float:
    """GFLOP/s of a device, measured where that is not kept in a folder."""
    found = torch.device(device)
    use_device(found, threads)
    return device_speed(found, device_class(found, threads), threads, folder).speed_gflops


def _look(running: _Running, passed: float) -> None:
    """See whether a trial has anything to do still, and cut its log."""
    keep_short(running.task.folder.log)
    running.silent += passed
    running.suspended = running.suspended + passed if running.kept.is_stopped() else 0.0
    if running.outcome is not None:
        running.lingering += passed
    if running.suspended > STOPPED_FOR:
        running.stopped = (
            "killed",
            f"Its process was suspended (SIGSTOP) for {STOPPED_FOR:g} s, and was ended; the same "
            "command goes on from its last checkpoint.",
        )
    elif running.lingering > LINGER:
        running.kept.kill()  # it has said how it ended
    # The trial's own watchdog comes first, unless foreign code has switched it off. Before it
    # begins, a trial may have to wait for a lease to go stale.
    elif running.silent > 1.5 * running.task.stall + 2 * STALE_AFTER:
        running.stopped = ("timeout", stalled(running.task.stall))


def _ending(running: _Running) -> Event:
    """How a process ended, in words; a trial that died without a word is marked here."""
    running.kept.close()
    task, code = running.task, running.kept.code
    keep_short(task.folder.log)
    # One that was stopped while it took its leave has said how it ended.
    known = ending(task)
    said = running.outcome is not None or (known is not None and known.kind == "finished")
    if running.stopped is not None and not said:
        running.fail(*running.stopped)
        return Event(task, "failed", message=": ".join(running.stopped))
    if running.outcome in ("taken", "lost"):
        return Event(task, running.outcome, message=WORDS[running.outcome])
    message = f"Its process ended with {exit_text(code)}."
    reason: Reason = "killed"
    if running.outcome is None and code is not None and code >= 0 and code != Terminated.CODE:
        # Nobody ends a process from outside with an exit code; what ran in it has done that.
        reason = "plugin error"
        message = f"Its code ended the process with {exit_text(code)} in the middle of the trial."
    mark_failed(task, reason, message)
    # A full disk keeps even that from being written down.
    return ending(task) or Event(task, "failed", message=f"{reason}: {message} {_last_line(task)}")


WORDS = {
    "taken": "another process works on it",
    "lost": "its lease.json was removed or replaced while it ran, by no other run",
}


def _last_line(task: TrialTask) -> str:
    """Last line of a trial's log."""
    try:
        lines = task.folder.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _child(outbox: Outbox, task: TrialTask, patience: float = 0.0) -> None:
    """Body of a trial's process; told to end, it may finish its step within some seconds."""
    # Ctrl-C reaches the whole group; the parent decides what becomes of the trials.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in ENDINGS:
        signal.signal(number, partial(_terminate, patience=patience))
    folder: TrialFolder = task.folder
    # Without a log, on a full disk or in a folder that is not ours, the trial still says why.
    with contextlib.suppress(OSError):
        folder.path.mkdir(parents=True, exist_ok=True)
        with open(folder.log, "a", encoding="utf-8", errors="replace") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        speak_plainly()
    # Steps may take a millisecond. A pipe that is full would make the trial wait for its parent.
    last = 0.0

    def report(stage: str, fraction: float) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_EVERY:
            last = time.monotonic()
            outbox.drop(to_json(stage=stage, fraction=fraction))

    outbox.send(to_json(end=run_trial(task, report)))


def _terminate(number: int, frame: object, patience: float = 0.0) -> None:
    # A cluster tells all processes of a job, and the keeper passes on what it hears. The next one
    # would break off what the first has begun: a checkpoint, and a word on how the trial ended.
    for other in ENDINGS:
        signal.signal(other, signal.SIG_IGN)
    if not patience or not ask_to_leave(patience):
        # As an exception, so that the trial says how it ended and gives its lease up.
        raise Terminated
