"""What is logged of a trial: the curve of its training, and its scores at the end."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from kitsbench.errors import DataError
from kitsbench.experiments.tables import CURVE, SCORES, read_table
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.telling import live_curve
from kitsbench.text import file_stem

LONGEST = 100  # letters of a tag
HELD_OUT = "held_out"  # mean scores over all held-out cases; those of a few are under "score"


@dataclass(frozen=True)
class Scalar:
    """A number of a run.

    Attributes
    ----------
    tag : str
        ``loss/...``, ``lr``, ``gradient_norm``, ``patches_per_s``, ``score/...``, ``held_out/...``.
    value : float
        Finite.
    step : int
        Optimiser steps.
    seconds : float
        On the device, since training began.
    """

    tag: str
    value: float
    step: int
    seconds: float


@dataclass(frozen=True)
class Run:
    """A trial as a logger names it.

    Attributes
    ----------
    id, title : str
    folder : str
        Its title as a name of a file, with the first letters of the id.
    facts : dict of str to str
        What it is.
    began : float
        When it was begun, in seconds since 1970 by the clock of its machine.
    """

    id: str
    title: str
    folder: str
    facts: dict[str, str]
    began: float

    @classmethod
    def of(cls, task: TrialTask) -> Run:
        """The run of a trial."""
        trial, context = task.trial, task.trial.context
        place = context.tuning
        number = f"seed {trial.seed}" if place is None else f"tuning {place.number}"
        title = f"{trial.name} fold {trial.fold} {number}"
        facts = {
            "trial": trial.id,
            "architecture": trial.name,
            "fold": str(trial.fold),
            "seed": str(trial.seed),
            "dataset": context.dataset_name,
            "recipe": context.recipe.name,
            "budget": context.budget.text,
            "device": task.device,
        }
        return cls(trial.id, title, f"{file_stem(title)}-{trial.id[:8]}", facts, _began(task))


class Sink(Protocol):
    """A logger of a package."""

    place: str

    def known(self, run: Run) -> dict[str, int]:
        """The last step of each tag that the store has of a run; empty where it has none."""

    def write(self, run: Run, scalars: Sequence[Scalar]) -> None:
        """Write numbers, down to the store."""

    def end(self, run: Run, status: str) -> None:
        """A trial has ended: ``finished``, ``failed`` or ``killed``."""

    def close(self) -> None:
        """Let everything go."""


def _began(task: TrialTask) -> float:
    try:
        return datetime.fromisoformat(task.folder.read_status().started or "").timestamp()
    except (DataError, ValueError):
        return 0.0


def scalars_of(task: TrialTask) -> list[Scalar]:
    """Everything that a trial has written until now, in the order of its steps."""
    rows = list(_rows(task))
    found = [*_along(rows), *_throughput(rows, task.recipe.batch)]
    last = max(((row["step"], row["device_seconds"]) for row in rows), default=(0, 0.0))
    found += [Scalar(tag, value, *last) for tag, value in _held_out(task)]
    # Two parts of a loss may have one name by the rules of tags; the first is taken.
    known = {(one.tag, one.step): one for one in reversed(found) if math.isfinite(one.value)}
    return sorted(known.values(), key=lambda one: (one.step, one.tag))


def stamp_of(task: TrialTask) -> tuple[Any, ...]:
    """What tells whether a trial has written anything since."""
    folder = task.folder
    return tuple(_stamp(file) for file in (live_curve(folder), folder.curve, folder.scores))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _rows(task: TrialTask) -> Iterator[dict[str, Any]]:
    """Rows of the curve: as they are written while it trains, else of its table."""
    try:
        text = live_curve(task.folder).read_text(encoding="utf-8")
    except (OSError, ValueError):
        if task.folder.curve.is_file():
            yield from read_table(task.folder.curve, CURVE).to_dict("records")  # type: ignore[misc]
        return
    for line in text[: text.rfind("\n") + 1].splitlines():  # the last one may be half
        try:
            yield dict(zip(CURVE, json.loads(line), strict=True))
        except (ValueError, TypeError):  # by whoever else writes there
            continue


def _along(rows: Sequence[dict[str, Any]]) -> Iterator[Scalar]:
    """Losses, learning rate and scores along the budget."""
    for row in rows:
        kind, name = row["kind"], row["name"]
        tag = {"lr": "lr", "gradient": "gradient_norm"}.get(kind) or f"{kind}/{_plain(name)}"
        yield Scalar(tag, float(row["value"]), int(row["step"]), float(row["device_seconds"]))


def _throughput(rows: Sequence[dict[str, Any]], batch: int) -> Iterator[Scalar]:
    """Patches that went through the network a second of the device, between points of the curve."""
    points = [row for row in rows if row["kind"] == "lr"]
    for before, row in pairwise(points):
        steps, seconds = (row[k] - before[k] for k in ("step", "device_seconds"))
        if steps > 0 and seconds > 0:
            pace = batch * steps / seconds
            yield Scalar("patches_per_s", pace, int(row["step"]), float(row["device_seconds"]))


def _held_out(task: TrialTask) -> Iterator[tuple[str, float]]:
    """Mean scores over all held-out cases, by the experiment's protocol."""
    if not task.folder.scores.is_file():
        return
    table = read_table(task.folder.scores, SCORES)
    table = table[table["protocol"] == task.protocols[0]]
    for (region, metric), rows in table.groupby(["region", "metric"]):
        yield f"{HELD_OUT}/{_plain(f'{region}_{metric}')}", float(rows["value"].mean())


def _plain(name: str) -> str:
    """A part of a tag that every tool takes, whatever a plugin calls the parts of its loss."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:LONGEST] or "_"
