"""What trials that have not run yet will take, as far as it is known."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files import read_json

CURRENCIES = {"seconds": "device_seconds", "steps": "steps", "voxels": "voxels", "flops": "flops"}


def profile_file(workdir: Path, label: str) -> Path:
    """Where the profile of an architecture is kept."""
    return workdir / "profiles" / f"{re.sub('[^A-Za-z0-9._-]+', '-', label)}.json"


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


def _estimate(task: TrialTask, rates: dict[Any, list[dict[str, float]]]) -> dict[str, Any]:
    budget = task.budget
    if task.members:
        return {"device_seconds": 0.0, "basis": "members"}
    if budget.unit == "seconds":
        return {"device_seconds": budget.amount, "basis": "budget"}
    known = [
        ledger["device_seconds"] / ledger[CURRENCIES[budget.unit]]
        for ledger in rates.get(_kind(task.trial, task.threads), [])
        if ledger.get(CURRENCIES[budget.unit])
    ]
    if known:
        return {"device_seconds": median(known) * budget.amount, "basis": "finished trials"}
    steps = _profiled_step(task)
    if steps is not None:
        return {"device_seconds": steps, "basis": "profile"}
    return {"device_seconds": None, "basis": "none"}


def _kind(trial: dict[str, Any], threads: Any) -> tuple[Any, ...]:
    """What trials that take equally long have in common."""
    return trial["spec"], trial["recipe_hash"], trial["precision"], threads


def _finished_rates(workdir: Path) -> dict[Any, list[dict[str, float]]]:
    found: dict[Any, list[dict[str, float]]] = {}
    for file in workdir.glob("trials/*/ledger.json"):
        try:
            if read_json(file.with_name("status.json"))["status"] != "finished":
                continue
            ledger, trial = read_json(file), read_json(file.with_name("trial.json"))
            found.setdefault(_kind(trial, ledger["threads"]), []).append(ledger)
        except (OSError, ValueError, KeyError):
            continue  # a damaged trial is not what an estimate complains about
    return found


def _profiled_step(task: TrialTask) -> float | None:
    """Device seconds by the profile's step time, if this very network was profiled."""
    try:
        profile = read_json(profile_file(task.workdir, str(task.trial["label"])))
        if profile["key"][:2] != [task.spec.digest(), task.recipe.digest()]:
            return None
        per_step = {
            "steps": 1.0,
            "voxels": float(math.prod(task.spec.grids[0].shape) * task.recipe.batch),
            "flops": float(profile["flops_step"] or 0) * task.recipe.batch,
        }[task.budget.unit]
        return task.budget.amount / per_step * float(profile["train_step_ms"]) / 1000
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
