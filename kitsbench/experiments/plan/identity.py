"""From what a trial is to the hash that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kitsbench.devices.precision import Precision
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.experiments.records import TrialIdentity
from kitsbench.numerics import NUMERICS
from kitsbench.registry.packages import packages_of_recipe
from kitsbench.training.budget import Budget


def identify(
    entrant: Entrant,
    dataset: str,
    preparation: Mapping[str, str],
    split: str,
    fold: int,
    seed: int,
    budget: Budget,
    precision: Precision,
    device_class: str,
    members: Sequence[str],
    compile: bool = False,
    pretrained_on: Sequence[str] = (),
    inner: tuple[str, int] | None = None,
) -> TrialIdentity:
    """Everything that changes the result of a trial.

    Parameters
    ----------
    entrant : Entrant
    dataset : str
        Fingerprint of its files.
    preparation : mapping of str to str
        {grid: id of the prepared store}.
    split : str
        Hash of the folds.
    fold, seed : int
    budget : Budget
    precision : {"float32", "bfloat16", "float16"}
    device_class : str
        Counts only for budgets in seconds.
    members : sequence of str
        Trials that an ensemble combines.
    compile : bool
        Whether the network is compiled, which changes speed and the last digits.
    pretrained_on : sequence of str
        What the networks that an ensemble combines began with.
    inner : (str, int), optional
        Hash of the folds of the training cases, and which of them is left out.
    """
    spec, recipe, registered = entrant.spec, entrant.recipe, entrant.registered
    assert spec is not None
    assert recipe is not None
    return TrialIdentity(
        architecture=registered.name,
        config=dict(spec.config),
        version=registered.version,
        source_hash=registered.source_hash,
        spec=spec.digest(),
        dataset=dataset,
        preparation=dict(preparation),
        split=split,
        fold=fold,
        seed=seed,
        recipe=recipe.digest(),
        budget=(budget.amount, budget.unit),
        precision=precision,
        device_class=device_class if budget.unit == "seconds" else None,
        members=tuple(members),
        numerics=NUMERICS,
        compile=compile,
        tta=entrant.tta,
        packages={**registered.packages, **packages_of_recipe(recipe, spec.stages)},
        pretrained_on="; ".join(dict.fromkeys(filter(None, [spec.pretrained_on, *pretrained_on]))),
        inner=inner,
    )
