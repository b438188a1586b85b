"""What a trial is, and the hash that names it.

Host, order, number of workers and paths are not part of it. A time budget is bound to the class
of device, since a second on one is not a second on another.
"""

from __future__ import annotations

from typing import Any

from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.files import digest
from kitsbench.training.budget import Budget


def describe_trial(
    entrant: Entrant,
    dataset: dict[str, str],
    preparation: dict[str, str],
    split: str,
    fold: int,
    seed: int,
    budget: Budget,
    precision: str,
    device_class: str,
    members: list[str],
    compile: bool = False,
) -> dict[str, Any]:
    """Content of ``trial.json``.

    Parameters
    ----------
    entrant : Entrant
    dataset : dict
        ``name`` and ``fingerprint``.
    preparation : dict
        {grid: id of the prepared store}.
    split : str
        Hash of the folds.
    fold, seed : int
    budget : Budget
    precision : str
    device_class : str
        Counts only for budgets in seconds.
    members : list of str
        Trials that an ensemble combines.
    compile : bool
        Whether the network is compiled, which changes speed and the last digits.
    """
    spec, recipe = entrant.spec, entrant.recipe
    assert spec is not None
    assert recipe is not None
    registered = entrant.registered
    identity: dict[str, Any] = {
        "architecture": registered.name,
        "config": {key: value for key, value in spec.config},
        "version": registered.version,
        "source_hash": registered.source_hash,
        "spec": spec.digest(),
        "dataset": dataset["fingerprint"],
        "preparation": preparation,
        "split": split,
        "fold": fold,
        "seed": seed,
        "recipe": recipe.digest(),
        "budget": [budget.amount, budget.unit],
        "precision": precision,
        "device_class": device_class if budget.unit == "seconds" else None,
        "members": members,
    }
    if compile:
        identity["compile"] = True
    if entrant.tta is not None:
        identity["tta"] = [list(axes) for axes in entrant.tta]
    return {
        "id": digest(identity),
        "label": entrant.label,
        "distribution": registered.distribution,
        **identity,
        "dataset": dataset,
        "recipe": recipe.to_dict(),
        "recipe_hash": recipe.digest(),
        "budget": budget.to_dict(),
    }
