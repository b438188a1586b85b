"""What an entry says twice, compared; most of it follows from the identities of its trials.

Every fault is a sentence that names the key. The table is the business of
:mod:`kitsbench.leaderboard.table_proof`, and what several entries must agree on that of
:mod:`kitsbench.leaderboard.peers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from kitsbench.configuration import setting_text, split_settings
from kitsbench.errors import UsageError
from kitsbench.evaluation.protocols import PROTOCOLS
from kitsbench.experiments.plan.tuning import settings_of, with_settings
from kitsbench.experiments.records import BudgetNote, TrialIdentity
from kitsbench.leaderboard.history import history_faults, is_time
from kitsbench.leaderboard.numbers import counts_of, spent_by, versions_of
from kitsbench.leaderboard.parts import Run
from kitsbench.leaderboard.schema import Entry, file_name
from kitsbench.recipe import Recipe
from kitsbench.registry.discovery import SAY_NOTHING
from kitsbench.training.budget import Budget

_LONGEST_STEP = 10
"""Mean steps that the last one may take: a machine has pauses, and stages cost differently."""


def entry_faults(entry: Entry, file: Path) -> list[str]:
    """What is wrong with an entry by itself, its table left aside.

    Parameters
    ----------
    entry : Entry
    file : Path
        Where it was read from.
    """
    return [
        *_name_faults(entry, file),
        *_endpoint_faults(entry),
        *_run_faults(entry),
        *_recipe_faults(entry),
        *_budget_faults(entry),
        *_repeated(entry),
        *history_faults(entry),
        *_seal_faults(entry),
    ]


def _seal_faults(entry: Entry) -> Iterator[str]:
    right = entry.sealed()
    for key in right:
        if entry.seals.get(key) != right[key]:
            yield f"the key {key} was changed: it has not the hash of the key seals"
    for key in entry.seals.keys() - right.keys():
        yield f"the key seals.{key} is not known"


def differs(key: str, found: Any, right: Any, by: str) -> Iterator[str]:
    """A fault where a value is not what something else gives; numbers but for the last digits."""
    if isinstance(found, BaseModel) and isinstance(right, BaseModel):
        found, right = found.model_dump(), right.model_dump()
    if isinstance(found, dict) and isinstance(right, dict) and found.keys() == right.keys():
        for part in found:
            yield from differs(f"{key}.{part}", found[part], right[part], by)
        return
    if isinstance(found, float | int) and isinstance(right, float | int):
        # Equal scores give equal numbers but for the order in which a library adds them up.
        if math.isclose(found, right, rel_tol=1e-9, abs_tol=1e-9):
            return
    elif found == right:
        return
    yield f"the key {key} is {short(found)}; {by} gives {short(right)}"


def short(value: Any) -> str:
    """A value in few characters, whatever it is."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _name_faults(entry: Entry, file: Path) -> Iterator[str]:
    if file.name != file_name(entry.name):
        yield f"the entry '{entry.name}' belongs into {file_name(entry.name)}"
    identity = entry.identity
    if identity is None:
        return
    ending = "" if identity.tta is None else "+mirror" if any(identity.tta) else "+unmirrored"
    folders, slash, own = entry.name.partition(":")[0].rpartition("/")  # of files of one name
    if slash and {"", ".", ".."} & {*folders.split("/")}:
        yield f"the key name is {short(entry.name)}; it may hold folders, but no way to another"
    # A file called plugin.py is shown by the name of its package.
    base = own.removesuffix(ending) if identity.architecture in SAY_NOTHING else ""
    base = base or identity.architecture
    whole = entry.name.removeprefix(folders + slash)
    shown = whole.removesuffix(ending)
    settings = shown.removeprefix(base)
    if shown + ending != whole or not shown.startswith(base):
        right = f"{base}[:settings]{ending}"
        yield f"the key name is {short(entry.name)}; identity makes it {right}"
    elif settings and not settings.startswith(":"):
        yield from differs("name", shown, base, "identity.architecture")
    try:
        said = split_settings(settings.removeprefix(":"), entry.name)
    except UsageError as error:
        yield f"the key name is no name: {str(error).rstrip('.')}"
        return
    for key, value in said.items():
        if key not in identity.config or setting_text(identity.config[key]) != value:
            yield f"the key name says {short(f'{key}={value}')}, identity.config does not"


def _endpoint_faults(entry: Entry) -> Iterator[str]:
    protocol = PROTOCOLS.get(entry.protocol)
    if protocol is None:
        yield f"the key protocol is {short(entry.protocol)}; it must be {' or '.join(PROTOCOLS)}"
        return
    region, metric = entry.endpoint.split(":")
    known = {one.name for one in protocol.regions}
    if protocol.name == "labels":  # it scores labels of any name
        known |= {score.region for score in entry.scores}
    if region not in known or metric not in protocol.metrics:
        yield f"the key endpoint is {short(entry.endpoint)}, which {protocol.name} does not score"


def _run_faults(entry: Entry) -> Iterator[str]:
    folds, runs = entry.folds, entry.trials.runs
    if list(folds.used) != sorted(set(folds.used)):
        yield f"the key folds.used is {list(folds.used)}; each fold stands there once, in order"
    if any(not 0 <= fold < folds.count for fold in folds.used):
        yield f"the key folds.used is {list(folds.used)}; folds.count is {folds.count}"
    found = [(run.fold, run.seed) for run in runs]
    right = [(fold, seed) for fold in folds.used for seed in range(entry.seeds)]
    if sorted(found) != right:
        yield "the keys fold and seed of trials.runs are not each of folds.used with each seed once"
    for key, value in counts_of(runs).items():
        yield from differs(f"trials.{key}", getattr(entry.trials, key), value, "trials.runs")
    if len(set(entry.trials.ids)) < len(entry.trials.ids):
        yield "the key trials.ids names a trial twice"
    if entry.identity is None:
        if entry.trials.finished:
            yield "the key identity is null, but trials finished"
        return
    for number, run in enumerate(runs):
        identity = identity_of(entry.identity, run)
        yield from differs(
            f"trials.runs.{number}.id",
            run.id,
            identity.digest(),
            "the hash of identity with its fold, seed, recipe and members",
        )
    first = next((n for n, run in enumerate(runs) if run.state == "finished"), len(runs))
    trained = entry.elsewhere is None
    if trained and entry.identity.digest() not in entry.trials.ids[: first + 1]:
        yield "the key identity is not that of the first trial: its fold, seed, recipe or members"


def identity_of(identity: TrialIdentity, run: Run) -> TrialIdentity:
    """What a trial is: what it shares with the others of its entry, and what is its own."""
    return identity.model_copy(
        update={
            "fold": run.fold,
            "seed": run.seed,
            "recipe": run.recipe,
            "members": run.members,
            "source_hash": run.source_hash or identity.source_hash,
        }
    )


def _recipe_faults(entry: Entry) -> Iterator[str]:
    note = entry.recipe
    yield from differs("recipe.digest", note.digest, note.full.digest(), "recipe.full")
    yield from differs("recipe.name", note.name, note.full.name, "recipe.full")
    if note.tuning is None and note.tuned:
        yield "the key recipe.tuned holds recipes, but recipe.tuning is null"
    for number, tuned in enumerate(note.tuned):
        if _untuned(tuned, note.full).digest() != note.full.digest():
            yield f"the key recipe.tuned.{number} differs from recipe.full in what is not tuned"
    if entry.identity is None:
        return
    trained = note.tuned
    if note.tuning is None or entry.trials.runs[0].members:
        trained = (_as_predicted(note.full, entry.identity),)
    known = {recipe.digest() for recipe in trained}
    for number, run in enumerate(entry.trials.runs):
        if run.recipe not in known:
            where = "recipe.tuned" if note.tuned else "recipe.full"
            yield f"the key trials.runs.{number}.recipe is no hash of {where}"


def _budget_faults(entry: Entry) -> Iterator[str]:
    """Training goes on until the budget is spent, and no step begins afterwards."""
    if entry.identity is None or entry.elsewhere is not None:
        return
    amount, unit = entry.identity.budget
    if unit == "none":
        yield "the key identity.budget is none, but the key elsewhere is missing"
        return
    if unit not in get_args(BudgetNote.model_fields["unit"].annotation):
        yield f"the key identity.budget.1 is {short(unit)}, which no budget is told in"
        return
    key = "device_seconds" if unit == "seconds" else unit
    for number, run in enumerate(entry.trials.runs):
        if run.spent is None or run.members:  # an ensemble trains nothing
            continue
        spent = float(getattr(run.spent, key))
        beyond = (1 if unit == "steps" else _LONGEST_STEP) * spent / max(run.spent.steps, 1)
        short_of = run.state == "finished" and spent < amount * (1 - 1e-9)
        if short_of or spent - amount >= beyond > 0:
            yield (
                f"the key trials.runs.{number}.spent.{key} is {spent:g}; a training run spends "
                f"the budget, {entry.budget.text}, and ends with the step that does"
            )


def _untuned(tuned: Recipe, full: Recipe) -> Recipe:
    """A tuned recipe with what can be tuned put back."""
    settings = {key: value for key, value in settings_of(full).items() if key != "lr_factor"}
    back = with_settings(tuned, settings)
    return replace(back, optimiser=replace(back.optimiser, lr=full.optimiser.lr))


def _as_predicted(recipe: Recipe, identity: TrialIdentity) -> Recipe:
    """The recipe with the mirroring that an entrant takes in place of the recipe's."""
    if identity.tta is None:
        return recipe
    mirror = identity.tta[0]
    return replace(recipe, inference=replace(recipe.inference, mirror=mirror))


def _repeated(entry: Entry) -> Iterator[str]:
    """What stands in other places too."""
    runs, made, cost = entry.trials.runs, entry.provenance, entry.cost
    note = entry.budget
    yield from differs("budget.text", note.text, str(Budget(note.amount, note.unit)), "its amount")
    for key, value in spent_by(runs).items():
        yield from differs(f"cost.{key}", getattr(cost, key), value, "trials.runs")
    yield from differs("provenance.kitsbench", made.kitsbench, versions_of(runs), "trials.runs")
    if made.environment is not None:
        first = next((run.kitsbench for run in runs if run.kitsbench), ())
        own = made.environment.kitsbench
        yield from differs("provenance.environment.kitsbench", own, first, "trials.runs")
        if entry.elsewhere is None and made.environment.trial not in entry.trials.ids:
            named = short(made.environment.trial)
            yield f"the key provenance.environment.trial is {named}, which trials.ids lacks"
        name = made.environment.device_name
        if name not in cost.device:
            yield f"the key cost.device is {short(cost.device)}, provenance.environment another"
        if name not in (entry.device_class or name):
            said = short(entry.device_class)
            yield f"the key identity.device_class is {said}, provenance.environment another"
    elif any(run.state == "finished" for run in runs):
        yield "the key provenance.environment is null, but trials finished"
    if not is_time(made.created):
        yield f"the key provenance.created is {short(made.created)}; it is a time, in ISO 8601"
    identity = entry.identity
    if identity is None:
        return
    for key, found, right in (
        ("dataset.fingerprint", entry.dataset.fingerprint, identity.dataset),
        ("budget.amount", note.amount, identity.budget[0]),
        ("budget.unit", note.unit, identity.budget[1]),
        ("folds.split_id", entry.folds.split_id, identity.split),
        ("provenance.version", made.version, identity.version),
        ("provenance.source_hash", made.source_hash, identity.source_hash),
        ("provenance.config", made.config, identity.config),
    ):
        yield from differs(key, found, right, "identity")
