"""Under which conditions results were made, and which may be put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kitsbench.experiments.results import Results
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.files import canonical_json, digest
from kitsbench.reporting import words

# What differs from fold to fold, or from seed to seed, of one and the same entrant.
_OF_A_TRIAL = {"fold", "seed", "members", "inner"}


@dataclass(frozen=True)
class Group:
    """Results that were made under the same conditions.

    Attributes
    ----------
    results : list of Results
    conditions : dict of str to str
        In words, by what they are of.
    entrants : dict of str to str
        What stands behind each name that was trained, as a hash.
    """

    results: list[Results]
    conditions: dict[str, str]
    entrants: dict[str, str]


def conditions_of(results: Results) -> dict[str, str]:
    """Everything that must be equal where numbers are put together.

    Parameters
    ----------
    results : Results

    Returns
    -------
    dict of str to str
        The device is a condition where the budget is in seconds: a second on one is none on
        another.
    """
    experiment = results.experiment
    dataset, folds, budget = experiment.dataset, experiment.folds, experiment.budget
    trained = [t.record.identity for t in results.trials if t.trained and t.record is not None]
    recipe = "each paper's own"
    if experiment.recipe is not None:
        recipe = f"{experiment.recipe.name} ({experiment.recipe.digest()})"
    found = {
        "Dataset": f"{dataset.name} ({dataset.fingerprint or 'fingerprint unknown'})",
        "Cases set aside": ", ".join(sorted(dataset.excluded)) or "none",
        "Folds": f"{folds.count} (split {folds.split_id})",
        "Protocol": experiment.protocol,
        "All protocols": ", ".join(experiment.protocols),
        "Endpoint": experiment.endpoint,
        "Recipe": recipe,
        "Budget": f"{budget.amount:g} {budget.unit}",
        "Precision": _every(one.precision for one in trained),
        "Compiled": _every("yes" if one.compile else "no" for one in trained),
        "Numerics": _every(str(one.numerics) for one in trained),
    }
    if budget.unit == "seconds":
        found["Device class"] = _every(one.device_class or words.DASH for one in trained)
    if experiment.tuning is not None:
        asked = experiment.tuning.model_dump(mode="json", include={"trials", "budget", "space"})
        found["Tuning"] = f"{experiment.tuning.trials} trials ({digest(asked)})"
    return found


def _every(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values))) or words.DASH


def grouped(found: Sequence[Results]) -> list[Group]:
    """Put results together that were made under the same conditions, in the order given.

    Equal conditions are not all: where a name stands for something else in two results, such as
    for another version of a plugin, they are of two groups, too.
    """
    groups: list[Group] = []
    for results in found:
        conditions, entrants = conditions_of(results), _entrants(results)
        for group in groups:
            if group.conditions == conditions and _fit(group.entrants, entrants):
                group.results.append(results)
                group.entrants.update(entrants)
                break
        else:
            groups.append(Group([results], conditions, entrants))
    return groups


def _fit(one: dict[str, str], other: dict[str, str]) -> bool:
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def _entrants(results: Results) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for trial in results.trials:
        found.setdefault(trial.name, set()).add(_behind(trial))
    # A trial that nobody began says nothing of what it would be.
    return {name: " ".join(sorted(known)) for name, own in found.items() if (known := own - {""})}


def _behind(trial: StoredTrial) -> str:
    if trial.record is None:
        return ""
    content = trial.record.identity.hashed()
    return digest({key: value for key, value in content.items() if key not in _OF_A_TRIAL})


def differences(groups: Sequence[Group]) -> list[list[str]]:
    """What differs between groups: what it is of, and what it is in each."""
    keys = dict.fromkeys(key for group in groups for key in group.conditions)
    rows = [[key, *(group.conditions.get(key, words.DASH) for group in groups)] for key in keys]
    for name in dict.fromkeys(name for group in groups for name in group.entrants):
        hashes = [group.entrants.get(name) for group in groups]
        if len({one for one in hashes if one is not None}) > 1:
            rows.append([name, *(_told(group, name) for group in groups)])
    return [row for row in rows if len(set(row[1:])) > 1]


def _told(group: Group, name: str) -> str:
    """What stands behind a name, in words, with its hash where these would not tell it apart."""
    if name not in group.entrants:
        return words.DASH
    for results in group.results:
        for trial in results.trials:
            if trial.name == name and trial.record is not None:
                own = trial.record.identity
                packages = "".join(f", {key} {value}" for key, value in own.packages.items())
                config = canonical_json(own.config) if own.config else "defaults"
                code = f"{own.version}, source {own.source_hash[:8]}{packages}, {config}"
                return f"{code} ({digest(group.entrants[name], 8)})"
    return words.DASH
