"""What trials that have not run yet will take, as far as it is known."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from kitsbench.errors import DataError
from kitsbench.experiments.plan.tuning import Study
from kitsbench.experiments.records import LedgerRecord, ProfileRecord, TrialRecord
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.kept_scores import is_done
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.training.budget import Budget

CURRENCIES = {"seconds": "device_seconds", "steps": "steps", "voxels": "voxels", "flops": "flops"}


Kind = tuple[str, str, str, int]  # spec, recipe, precision, threads


def _profile_of(task: TrialTask) -> ProfileRecord | None:
    """A profile of this very network and recipe, by whichever run it was measured."""
    for file in sorted((task.workdir / "profiles").glob("*.json")):
        # A damaged profile is not what an estimate complains about.
        with contextlib.suppress(DataError):
            found = ProfileRecord.read(file)
            if (found.name, *found.key[:2]) == (
                task.name,
                task.spec.digest(),
                task.recipe.digest(),
            ):
                return found
    return None


def estimate(tasks: Sequence[TrialTask]) -> dict[str, dict[str, Any]]:
    """Device seconds that training takes, for each trial by its id.

    A time budget says it. For any other, trials of the same network, recipe and number of threads
    that have finished in this working directory do, and else the profile of the architecture.

    Parameters
    ----------
    tasks : sequence of TrialTask

    Returns
    -------
    dict
        {id: {``device_seconds`` (None where nothing is known), ``basis``}}, where the basis is
        ``budget``, ``finished trials``, ``profile``, ``none`` or, where nothing is trained,
        ``members`` or ``elsewhere``.
    """
    # Of time budgets nothing has to be looked up, and there may be thousands of trials.
    timed = all(t.members or t.elsewhere or t.budget.unit == "seconds" for t in tasks)
    rates = {} if timed else _finished_rates(tasks[0].workdir)
    return {task.id: _estimate(task, rates) for task in tasks}


@dataclass(frozen=True)
class Forecast:
    """What is left to do of an experiment.

    Attributes
    ----------
    open_trials, open_searches : int
        Trials that have not finished, and those of the tuning before them.
    seconds : float
        Of training, by the clock of one trial after the other, as far as it is known.
    longest : float
        Of them, the seconds of the longest trial.
    unknown : tuple of str
        Names of the entrants of which nothing tells how long they train.
    world_size : int
        Devices that train one trial together.
    jobs : int or None
        Trials at the same time; None where a cluster decides.
    """

    open_trials: int
    open_searches: int
    seconds: float
    longest: float
    unknown: tuple[str, ...]
    world_size: int
    jobs: int | None

    @property
    def device_hours(self) -> float:
        """Hours of training, those of every device of a trial counted."""
        return self.seconds * self.world_size / 3600

    @property
    def wall_hours(self) -> float | None:
        """Hours by the clock on the wall; None where nobody knows how many trials run at a time."""
        return None if self.jobs is None else max(self.seconds / self.jobs, self.longest) / 3600

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a sum that lacks a part is None."""
        whole = not self.unknown
        wall = self.wall_hours
        return {
            "open_trials": self.open_trials,
            "open_tuning_trials": self.open_searches,
            "device_seconds": self.device_hours * 3600 if whole else None,
            "wall_seconds": wall * 3600 if whole and wall is not None else None,
            "known_device_seconds": self.device_hours * 3600,
            "unknown": list(self.unknown),
            "world_size": self.world_size,
        }


def foresee(
    tasks: Sequence[TrialTask],
    studies: Sequence[Study],
    tuning_budget: Budget,
    world_size: int,
    jobs: int | None,
) -> Forecast:
    """Add up what is left to do.

    Members that ensembles share are trials of their own and count once; a trial that has finished
    costs nothing, be it scored or not.

    Parameters
    ----------
    tasks : sequence of TrialTask
        With tuning that is not complete, as they are without it.
    studies : sequence of Study
        Searches that are not complete, asked as far as they have got.
    tuning_budget : Budget
        Of each of their trials.
    world_size : int
    jobs : int or None
    """
    # What a search finds decides what the trials are, so none of them is known to be done before.
    unfinished = [task for task in tasks if studies or not is_done(task)]
    waiting = [t for t in unfinished if studies or t.folder.read_status().status != "finished"]
    searches = [
        (task, study.tuning.trials - sum(is_done(done) for done in study.tasks))
        for study in studies
        for task in tasks
        if (task.name, task.trial.fold, task.trial.seed) == (study.entrant.name, study.fold, 0)
    ]
    searched = [replace(task, budget=tuning_budget) for task, _ in searches]
    trained, tried = estimate(waiting), estimate(searched)
    parts = [(task.name, trained[task.id]["device_seconds"], 1) for task in waiting]
    parts += [(task.name, tried[task.id]["device_seconds"], number) for task, number in searches]
    known = [(seconds, number) for _, seconds, number in parts if seconds is not None and number]
    return Forecast(
        open_trials=len(unfinished),
        open_searches=sum(number for _, number in searches),
        seconds=sum(seconds * number for seconds, number in known),
        longest=max((seconds for seconds, _ in known), default=0.0),
        unknown=tuple(
            dict.fromkeys(n for n, seconds, number in parts if seconds is None and number)
        ),
        world_size=world_size,
        jobs=jobs,
    )


def _estimate(task: TrialTask, rates: Mapping[Kind, list[LedgerRecord]]) -> dict[str, Any]:
    budget = task.budget
    if task.members:
        return {"device_seconds": 0.0, "basis": "members"}
    if task.elsewhere:
        return {"device_seconds": 0.0, "basis": "elsewhere"}
    if budget.unit == "seconds":
        return {"device_seconds": budget.amount, "basis": "budget"}
    currency = CURRENCIES[budget.unit]
    known = [
        ledger.device_seconds / getattr(ledger, currency)
        for ledger in rates.get(_kind(task.trial, task.threads), [])
        if getattr(ledger, currency)
    ]
    if known:
        return {"device_seconds": median(known) * budget.amount, "basis": "finished trials"}
    steps = _profiled_step(task)
    if steps is not None:
        return {"device_seconds": steps, "basis": "profile"}
    return {"device_seconds": None, "basis": "none"}


def _kind(trial: TrialRecord, threads: int) -> Kind:
    """What trials that take equally long have in common."""
    identity = trial.identity
    return identity.spec, identity.recipe, identity.precision, threads


def _finished_rates(workdir: Path) -> dict[Kind, list[LedgerRecord]]:
    found: dict[Kind, list[LedgerRecord]] = {}
    for path in workdir.glob("trials/*"):
        folder = TrialFolder(workdir, path.name)
        # A damaged trial is not what an estimate complains about.
        with contextlib.suppress(DataError):
            if folder.read_status().status == "finished":
                ledger, trial = LedgerRecord.read(folder.ledger), TrialRecord.read(folder.trial)
                if {ledger.trial, trial.id} != {path.name}:
                    continue  # files of another trial
                found.setdefault(_kind(trial, ledger.threads), []).append(ledger)
    return found


def _profiled_step(task: TrialTask) -> float | None:
    """Device seconds by the profile's step time, if this very network was profiled."""
    profile = _profile_of(task)
    if profile is None:
        return None
    try:
        per_step = {
            "steps": 1.0,
            "voxels": float(math.prod(task.spec.grids[0].shape) * task.recipe.batch),
            "flops": float(profile.flops_step or 0) * task.recipe.batch,
        }[task.budget.unit]
        return task.budget.amount / per_step * profile.train_step_ms / 1000
    except ZeroDivisionError:
        return None
