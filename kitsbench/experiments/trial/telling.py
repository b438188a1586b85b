"""How far a trial is, told to whoever looks: a small file, the curve as it grows, lines in its log.

Nothing of it is charged: it is written between two steps, by the process that trains. A thread
beside the steps would take their time on a CPU. It is written every few seconds, and less often
where a file system is slow, so that it takes less than a thousandth of a trial. Nothing depends on
it: a disk that is full or away for a moment ends no trial.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import psutil
import torch

from kitsbench.devices.nvml import gpu_load
from kitsbench.errors import DataError
from kitsbench.experiments.records import DeviceUse, TrialProgress
from kitsbench.experiments.tables import CURVE
from kitsbench.experiments.trial.folder import TrialFolder, now
from kitsbench.experiments.trial.lease import LeaseTaken
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files.whole import replace_text
from kitsbench.text import one_line, shorten
from kitsbench.training.curve import Curve
from kitsbench.training.ledger import Ledger

EVERY = 2.0  # seconds between two writes
RARELY = 1000.0  # at least so many times as long as the last one took
LINE_EVERY = 60.0  # seconds between two lines in the log while nothing else is to be said
PARTS = 20  # of a loss, that are told
NAME = 60  # letters of a part's name
TRAINING = 0.8  # share of a trial's time that is training, as long as nothing is scored

Stage = Literal["start", "train", "score"]


class Teller:
    """Tells how far a trial is while the block runs.

    Parameters
    ----------
    task : TrialTask
    """

    def __init__(self, task: TrialTask):
        self._task, self._folder = task, task.folder
        self._sitting, self._count = uuid.uuid4().hex[:16], 0
        self._began = time.monotonic()
        self._due = self._line_due = 0.0
        self._stage: Stage = "start"
        self._fraction = 0.0
        self._entered = (self._began, 0.0)  # when the stage began here, and at which progress
        self._step = 0
        self._curve: Curve | None = None
        self._rows = 0  # of the curve, that are written
        self._scores: dict[str, float] = {}
        self._values: dict[str, list[float]] = {}
        self._scored = 0
        self._pace: tuple[int, float] | None = None  # patches and device seconds, when told last
        self._patches_per_s: float | None = None
        self._used = (time.process_time(), self._began)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._count or isinstance(error, LeaseTaken):
            return  # the folder is another process's
        with contextlib.suppress(DataError, OSError):
            status = self._folder.read_status()
            why = f": {status.reason}: {status.message}" if status.reason else ""
            self._say(f"{status.status}{why}")
        forget_progress(self._folder)
        # What ended a training early has left its curve as a table, too.
        if self._curve is not None and self._folder.curve.is_file():
            forget_curve(self._folder)

    def begin(self) -> None:
        """Say that this process has taken the trial up."""
        task = self._task
        on = ", ".join(task.devices)
        threads = f", {task.threads} thread{'s' * (task.threads != 1)}"
        self._say(
            f"{task.name}, fold {task.trial.fold}, seed {task.trial.seed}: taken up by process "
            f"{os.getpid()} on {socket.gethostname()} ({on}{threads})"
        )
        self._tell(time.monotonic())

    def train(self, curve: Curve) -> None:
        """Hear that training begins, or goes on, with such a curve."""
        self._curve, self._rows = curve, 0
        forget_curve(self._folder)  # of steps that may be taken again
        self._note_rows()

    def step(self, fraction: float, ledger: Ledger) -> None:
        """Hear of a step; this is called after each, and mostly does nothing."""
        at = time.monotonic()
        if self._stage != "train":
            self._enter("train", fraction, at)
            self._pace = ledger.patches, ledger.device_seconds
            again = f", from its checkpoint at {fraction:.0%}" if ledger.resumed else ""
            self._say(f"trains {self._task.budget}{again}")
        if at < self._due:
            return
        self._fraction, self._step = fraction, ledger.steps
        patches, seconds = self._pace or (0, 0.0)
        if ledger.device_seconds > seconds:
            self._patches_per_s = (ledger.patches - patches) / (ledger.device_seconds - seconds)
        self._pace = ledger.patches, ledger.device_seconds
        self._note_rows()
        self._tell(at)
        if at >= self._line_due:
            self._say(self._in_words())

    def trained(self, ledger: Ledger) -> None:
        """Hear that training is over and that its curve lies beside it as a table."""
        if self._stage != "train":
            return
        self._step = ledger.steps
        self._note_rows()
        self._say(f"trained {ledger.steps} steps in {ledger.device_seconds:.1f} s on the device")
        forget_curve(self._folder)

    def score(self, fraction: float) -> None:
        """Hear that a held-out case is about to be scored, or was scored in an earlier sitting."""
        at = time.monotonic()
        if self._stage != "score":
            self._enter("score", fraction, at)
            self._due = 0.0
            self._say(f"predicts and scores {len(self._task.test_cases)} held-out cases")
        self._fraction = fraction
        if at >= self._due:
            self._tell(at)

    def case(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hear the scores of a held-out case."""
        first = self._task.protocols[0]
        if not self._scored:
            self._scores = {}  # those of the cases that were watched
        self._scored += 1
        for row in rows:
            if row["protocol"] == first and row["value"] is not None:
                name = f"{row['region']}:{row['metric']}"
                self._values.setdefault(name, []).append(float(row["value"]))
        means = {name: sum(own) / len(own) for name, own in self._values.items()}
        self._scores = _finite(means)

    def _enter(self, stage: Stage, fraction: float, at: float) -> None:
        self._stage, self._entered = stage, (at, fraction)
        self._fraction = fraction

    def _note_rows(self) -> None:
        """Append the rows of the curve that are new, and keep its last scores."""
        if self._curve is None or len(self._curve.rows) == self._rows:
            return
        new = self._curve.rows[self._rows :]
        self._rows = len(self._curve.rows)
        lines = [json.dumps([row[key] for key in CURVE]) for row in new]
        with contextlib.suppress(OSError), open(live_curve(self._folder), "a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        scores = [row for row in new if row["kind"] == "score"]
        self._scores |= _finite({row["name"]: row["value"] for row in scores})
        if scores:
            told = ", ".join(f"{row['name']} {row['value']:.3f}" for row in scores)
            watched = len(self._task.trial.context.curve_cases)
            of = f"{watched} watched case{'s' * (watched != 1)}"
            self._say(f"at {scores[-1]['fraction']:.0%}, of {of}: {told}")

    def _tell(self, at: float) -> None:
        began = time.perf_counter()
        self._count += 1
        # Whatever foreign code says of itself, a trial does not end by being told of.
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            replace_text(self._folder.progress, self._known(at).model_dump_json())
        self._due = at + max(EVERY, RARELY * (time.perf_counter() - began))

    def _known(self, at: float) -> TrialProgress:
        step, lr, losses = (self._curve.latest if self._curve else None) or (0, None, {})
        return TrialProgress(
            trial=self._task.id,
            sitting=self._sitting,
            count=self._count,
            stage=self._stage,
            fraction=min(max(self._fraction, 0.0), 1.0),
            step=max(self._step, step),
            losses=_finite({shorten(one_line(k), NAME): v for k, v in [*losses.items()][:PARTS]}),
            lr=lr,
            patches_per_s=self._patches_per_s,
            scores=self._scores,
            scored=self._scored,
            elapsed_s=at - self._began,
            left_s=self._left(at),
            device=self._use(at),
        )

    def _left(self, at: float) -> float | None:
        """Seconds until its end at its pace; None while nothing is known."""
        since, begun = self._entered
        done = self._fraction - begun
        if self._stage == "start" or done <= 0.0:
            return None
        left = (at - since) * (1 - self._fraction) / done
        if self._stage == "score":
            return left
        whole = (at - since) / done  # of training, had it all been done here
        return left + whole * (1 - TRAINING) / TRAINING

    def _use(self, at: float) -> DeviceUse:
        device = torch.device(self._task.device)
        if device.type == "cuda":
            if self._stage == "start":  # nobody has set the device up yet
                return DeviceUse(name=self._task.device, load=None, memory_bytes=None)
            memory = int(torch.cuda.memory_reserved(device))
            return DeviceUse(name=self._task.device, load=gpu_load(device), memory_bytes=memory)
        spent, since = self._used
        own = time.process_time()
        self._used = own, at
        load = None
        if at - since > 0.1:
            load = max(own - spent, 0.0) / (at - since) / max(self._task.threads, 1)
        memory = psutil.Process().memory_info().rss
        return DeviceUse(name=self._task.device, load=load, memory_bytes=memory)

    def _in_words(self) -> str:
        step, lr, losses = (self._curve.latest if self._curve else None) or (0, None, {})
        parts = [f"{shorten(one_line(name), NAME)} {value:.4g}" for name, value in losses.items()]
        rate = "" if lr is None else f"; lr {lr:.3g}"
        pace = "" if self._patches_per_s is None else f"; {self._patches_per_s:.3g} patches/s"
        return f"{self._fraction:.0%}, step {step}: {', '.join(parts[:PARTS])}{rate}{pace}"

    def _say(self, text: str) -> None:
        """Add a line to the trial's log, which foreign code may have given any end."""
        self._line_due = time.monotonic() + LINE_EVERY
        line = f"{now()} {one_line(text)}\n"
        with contextlib.suppress(OSError), open(self._folder.log, "ab") as file:
            file.write(line.encode("utf-8", "backslashreplace"))


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def live_curve(folder: TrialFolder) -> Path:
    """Where the rows of a curve are while its trial trains: a line of JSON each, as a list."""
    return folder.path / "curve.live.jsonl"


def forget_progress(folder: TrialFolder) -> None:
    """Nobody works on the trial any more."""
    with contextlib.suppress(OSError):
        folder.progress.unlink(missing_ok=True)


def forget_curve(folder: TrialFolder) -> None:
    """The curve is a table by now, or begins anew."""
    with contextlib.suppress(OSError):
        live_curve(folder).unlink(missing_ok=True)
