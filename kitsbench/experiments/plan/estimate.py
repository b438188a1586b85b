"""What trials that have not run yet will take, as far as it is known."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from kitsbench.errors import DataError
from kitsbench.experiments.records import LedgerRecord, ProfileRecord, TrialRecord
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.task import TrialTask

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
        ``members``.
    """
    rates = _finished_rates(tasks[0].workdir) if tasks else {}
    return {task.id: _estimate(task, rates) for task in tasks}


def _estimate(task: TrialTask, rates: Mapping[Kind, list[LedgerRecord]]) -> dict[str, Any]:
    budget = task.budget
    if task.members:
        return {"device_seconds": 0.0, "basis": "members"}
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
