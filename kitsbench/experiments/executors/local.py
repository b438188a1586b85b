"""Executor ``local``: a process a trial, one trial a slot, devices and threads shared out.

A process of its own means that a trial cannot take the others along when it runs out of memory,
and that its exit frees the device. Processes are forked from a server that has imported torch
already, so that starting one takes no time; where that is not possible they are spawned.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import torch

from kitsbench.experiments.executors.events import Event, Notify, ending, mark_killed
from kitsbench.experiments.machines.environment import device_class
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.run import run_trial
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.isolation import (
    IsolatedFailure,
    call_isolated,
    die_with_parent,
    exit_text,
    process_context,
)
from kitsbench.training.device_speed import device_speed
from kitsbench.training.failures import Reason

REPORT_EVERY = 0.2  # seconds between two reports of a trial


@dataclass
class _Running:
    task: TrialTask
    process: BaseProcess
    pipe: Connection
    slot: int
    deadline: float | None
    stopped: tuple[Reason, str] | None = None
    outcome: str | None = None
    peak: int = 0


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
    """

    slots: Sequence[Sequence[str]] = (("cpu",),)
    threads: int = 1
    timeout: float | None = None
    _running: list[_Running] = field(default_factory=list)

    def execute(self, tasks: Sequence[TrialTask], notify: Notify) -> None:
        """Run all trials; a failing one does not stop the others.

        Raises
        ------
        KeyboardInterrupt
            The user stopped; trials that were running are marked as killed and can be resumed.
        """
        context = process_context()
        waiting = list(tasks)
        self._calibrate(waiting)
        try:
            while waiting or self._running:
                while waiting and len(self._running) < len(self.slots):
                    self._start(context, waiting.pop(0), notify)
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

    def _start(self, context: Any, task: TrialTask, notify: Notify) -> None:
        used = {running.slot for running in self._running}
        slot = next(index for index in range(len(self.slots)) if index not in used)
        devices = tuple(self.slots[slot])
        task = replace(task, device=devices[0], devices=devices, threads=self.threads)
        ours, theirs = context.Pipe(duplex=False)
        # No daemon: a trial on several devices starts processes of its own.
        process = context.Process(target=_child, args=(task, theirs))
        process.start()
        # As long as this process has the sending end too, a trial's end is no end of its pipe.
        theirs.close()
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        self._running.append(_Running(task, process, ours, slot, deadline))
        notify(Event(task, "started"))

    def _listen(self, notify: Notify) -> None:
        """Pass on what the trials report, and stop those that spend too much."""
        sources = [r.pipe for r in self._running] + [r.process.sentinel for r in self._running]
        # Not for ever: a trial that is silent may still use too much memory or time.
        wait(sources, timeout=0.25)
        for running in list(self._running):
            # Asked before the pipe is emptied: what a trial sent before it ended is then in there.
            # The other way round its last word might come in between and be lost.
            ended = not running.process.is_alive()
            for stage, fraction in _messages(running):
                if stage == "end":
                    running.outcome = str(fraction)
                else:
                    notify(Event(running.task, "progress", stage, float(fraction)))
            if ended:
                self._running.remove(running)
                notify(_ending(running))
            else:
                self._guard(running)

    def _guard(self, running: _Running) -> None:
        """Stop a trial that exceeds its memory or its time."""
        if running.deadline is not None and time.monotonic() > running.deadline:
            running.stopped = ("timeout", f"It ran longer than {self.timeout:g} s of wall time.")
        limit = running.task.max_memory
        if limit is not None and running.task.device == "cpu":
            with contextlib.suppress(psutil.Error):
                own = psutil.Process(running.process.pid)
                # The limit is for each process, since each has a device of its own; the largest
                # counts.
                team = own.children(recursive=True) if len(running.task.devices) > 1 else []
                running.peak = max(each.memory_info().rss for each in (own, *team))
            if running.peak > limit:
                running.stopped = (
                    "out-of-memory",
                    f"It used {running.peak / 2**30:.2f} GiB; --max-memory allows "
                    f"{limit / 2**30:.2f} GiB.",
                )
        if running.stopped is not None:
            # No politer signal: Python would handle it after the call that hangs.
            running.process.kill()

    def _stop_all(self) -> None:
        # All at once, so that they take their leave in the same five seconds.
        for running in self._running:
            running.process.terminate()
        for running in self._running:
            running.process.join(5)
            if running.process.is_alive():
                running.process.kill()
                running.process.join()
            mark_killed(running.task, "It was interrupted; the same command goes on from there.")
        self._running.clear()


def calibrate(device: str, threads: int, folder: Path) -> None:
    """Measure a device for the trials that will run on it."""
    found = torch.device(device)
    device_speed(found, device_class(found, threads), threads, folder)


def _messages(running: _Running) -> Iterator[tuple[str, Any]]:
    """Everything that a trial has sent so far; a broken pipe means that it ended."""
    try:
        while running.pipe.poll():
            yield running.pipe.recv()
    except (EOFError, OSError):
        return


def _ending(running: _Running) -> Event:
    """How a process ended, in words; a trial that died without a word is marked here."""
    running.process.join()
    task, code = running.task, running.process.exitcode
    # One that was stopped while it took its leave has said how it ended.
    said = running.outcome is not None or task.folder.read_status().status == "finished"
    if running.stopped is not None and not said:
        task.folder.try_status("failed", *running.stopped)
        return Event(task, "failed", message=": ".join(running.stopped))
    if running.outcome == "taken":
        return Event(task, "taken", message="another process works on it")
    message = f"Its process ended with {exit_text(code)}."
    mark_killed(task, message)
    # A full disk keeps even that from being written down.
    return ending(task) or Event(task, "failed", message=f"killed: {message} {_last_line(task)}")


def _last_line(task: TrialTask) -> str:
    """Last line of a trial's log."""
    try:
        lines = task.folder.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _child(task: TrialTask, pipe: Connection) -> None:
    """Body of a trial's process."""
    die_with_parent()
    # Ctrl-C reaches the whole group; the parent decides what becomes of the trials.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As an exception, so that the trial says how it ended and gives its lease up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder: TrialFolder = task.folder
    # Without a log, on a full disk or in a folder that is not ours, the trial still says why.
    with contextlib.suppress(OSError):
        folder.path.mkdir(parents=True, exist_ok=True)
        with open(folder.log, "a", encoding="utf-8", errors="replace") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
    # Steps may take a millisecond. A pipe that is full would make the trial wait for its parent.
    last = 0.0

    def report(stage: str, fraction: float) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_EVERY:
            last = time.monotonic()
            pipe.send((stage, fraction))

    pipe.send(("end", run_trial(task, report)))
