"""``kitsbench compare --look``: a comparison by looks, and their record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import tell
from kitsbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from kitsbench.experiments.results import Results
    from kitsbench.statistics import Comparison, Components, Endpoint, Rule

_OF_LOOKS = ("question", "spending", "futility")
_OF_RULES = ("alpha", "correction", "conservative", "fold_count")
_OF_PLANS = ("alpha", "conservative", "fold_count", "endpoint", "baseline", *_OF_LOOKS)
_DECLARED = ("look", *_OF_RULES, "test", *_OF_LOOKS)
"""Options that a run which stops by itself has settled before its first trial."""


@dataclass(frozen=True)
class Looking:
    """What a plan of looks needs beside a rule."""

    question: str
    spending: str
    futility: float


def check_look(
    look: tuple[int, int] | None, spent: Path | None, given: Collection[str], test: str
) -> None:
    """Refuse options of looks that do not go together.

    Parameters
    ----------
    look : tuple of int, optional
        Round and planned rounds.
    spent : path, optional
        Record of looks.
    given : collection of str
        Options that were given.
    test : str
        The test that was asked for.

    Raises
    ------
    UsageError
        One is given without the other, or the test is none of looks.
    """
    if (look is None) != (spent is None):
        have, lack = ("--look", "--spent FILE") if spent is None else ("--spent", "--look K/M")
        raise UsageError(
            f"{have} was given without {lack}; a look needs both: which one it is, and the record "
            "of those before, to which it is added."
        )
    if {"question", "baseline"} <= {*given}:
        raise UsageError(
            "--question and --baseline were both given; who names a baseline asks how each "
            "compares with it. Leave --question out."
        )
    if look is None:
        lone = next((name for name in _OF_LOOKS if name in given), None)
        if lone is not None:
            raise UsageError(f"--{lone} is about looks; it goes with --look K/M and --spent FILE.")
    elif test != "auto":
        raise UsageError(
            f"--look goes with the test 'auto'; '{test}' speaks of trained models, which no "
            "further seed changes."
        )


def as_looked(
    results: Results, endpoint: str, baseline: str | None, margin: float | None,
    given: Collection[str],
) -> tuple[str, str | None]:  # fmt: skip
    """Endpoint and baseline of a run that stops by itself, which its looks have settled.

    Parameters
    ----------
    results : Results
        Of such a run.
    endpoint, baseline, margin
        What was asked for.
    given : collection of str
        Options that were given.

    Raises
    ------
    UsageError
        No look was taken yet, or something else is asked for than its looks have decided.
    """
    from kitsbench.experiments.compared import asked_baseline, before_looks, other_endpoint

    experiment = results.experiment
    if results.looks is None or not results.looks.looks:
        raise UsageError(before_looks(experiment))
    option = next((name.replace("_", "-") for name in _DECLARED if name in given), None)
    if option is not None:
        raise UsageError(
            f"--{option} was given, and experiment {experiment.id} stops by looks that were "
            "declared before its first trial: its verdicts are theirs. Leave it out."
        )
    if "endpoint" in given and endpoint != experiment.endpoint:
        raise UsageError(other_endpoint(experiment, endpoint))
    return experiment.endpoint, asked_baseline(experiment, baseline, margin)


def compare_and_record(
    table: pd.DataFrame,
    target: Endpoint,
    look: tuple[int, int],
    spent: Path,
    rule: Rule,
    margin: float | None,
    wanted: Looking,
    given: Collection[str],
    chosen: Mapping[str, Any],
) -> Comparison:
    """Compare by a look, and add it to its record.

    Parameters
    ----------
    table : DataFrame
        Scores so far.
    target : Endpoint
    look : tuple of int
        Round and planned rounds.
    spent : path
        The record; made where there is none.
    rule : Rule
        Of the first look.
    margin : float or None
        As it was asked for.
    wanted : Looking
    given : collection of str
        Options that were given: they must be those of the record.
    chosen : mapping
        Others of :func:`~kitsbench.statistics.compare`.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError, DataError
        The look does not fit the record, or the scores are not those of the looks before and more.
    """
    from dataclasses import replace

    from kitsbench.statistics import LookPlan, compare_at_look
    from kitsbench.statistics.looks.record import open_record
    from kitsbench.statistics.looks.retaken import check_retaken
    from kitsbench.statistics.table.endpoints import margin_of

    if rule.correction != "holm":
        raise UsageError(
            f"--correction {rule.correction} was given, and looks adjust by Holm: over looks no "
            "other was found to keep its error. Leave it out."
        )
    number, rounds = look
    question = wanted.question if rule.baseline is None else "baseline"
    plan = LookPlan(
        looks=rounds,
        question=question,
        baseline=rule.baseline,
        spending=wanted.spending,
        alpha=rule.alpha,
        margin=margin_of(target, margin),
        futility=wanted.futility,
        endpoint=target.name,
        conservative=rule.conservative,
        fold_count=rule.fold_count,
    )
    asked = {name: getattr(plan, name) for name in (*_OF_PLANS, "margin") if name in given}
    record = open_record(
        spent,
        plan,
        {**asked, "looks": rounds},
        cluster=chosen.get("cluster"),
        higher_is_better=target.higher_is_better,
    )
    check_retaken(table, record.plan, record.looks, str(spent), **_of_tables(chosen))
    found, taken = compare_at_look(table, record.plan, record.looks, number=number, **chosen)
    if not record.looks:
        record = record.model_copy(
            update={"plan": replace(plan, architectures=taken.architectures)}
        )
    if taken not in record.looks:
        record.extended(spent, taken)
        tell(f"look {number} of {rounds} is recorded in {spent}")
    return found


def _of_tables(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Words that a look needs of those that a comparison gets."""
    names = ("protocol", "dataset", "declared", "cases", "cluster")
    return {name: chosen[name] for name in names}


def check_until(until: bool, given: Collection[str], seeds: int) -> None:
    """Refuse options of looks in a plan that has none, and more looks than there may be.

    Parameters
    ----------
    until : bool
        Whether looks are planned.
    given : collection of str
        Options that were given.
    seeds : int
        After each of which there is a look.

    Raises
    ------
    UsageError
        There is one, or there are.
    """
    from kitsbench.statistics.looks.plan import MOST_LOOKS

    lone = next((name for name in _OF_LOOKS if name in given), None)
    if lone is not None and not until:
        raise UsageError(f"--{lone} is about looks; it goes with --until decided.")
    if until and seeds > MOST_LOOKS:
        raise UsageError(
            f"--seeds is {seeds}, and a look comes after each with --until decided; there are at "
            f"most {MOST_LOOKS}."
        )


def foresee(
    planned: dict[str, Any],
    components: Sequence[Components],
    wanted: Looking,
    alpha: float,
    gap: float,
    margin: float | None,
    hours: float | None,
) -> None:
    """Add to a plan what looks after each seed are expected to take.

    Parameters
    ----------
    planned : dict
        From :func:`~kitsbench.statistics.plan`; it gets the key ``until_decided``.
    components : sequence of Components
        Of its scenarios.
    wanted : Looking
    alpha : float
        Of all pairs and looks.
    gap : float
        True difference of the states that have one.
    margin : float or None
        Of equivalence.
    hours : float or None
        Device hours of a training run.
    """
    from kitsbench.statistics import LookPlan
    from kitsbench.statistics.looks.foresight import expected_hours, share_of

    cases, folds, seeds = (planned[key] for key in ("cases", "folds", "seeds"))
    scenarios = []
    for scenario in components:
        share = share_of(scenario, cases, folds, seeds)
        plan = LookPlan(
            seeds, wanted.question, share=share, spending=wanted.spending, alpha=alpha,
            margin=margin, futility=wanted.futility,
        )  # fmt: skip
        states = expected_hours(plan, scenario, cases, folds, planned["architectures"], gap)
        for state in states:
            keys = ("runs", "runs_sd", "runs_low", "runs_high", "fixed_runs")
            taken = {k.replace("runs", "hours"): hours * state[k] for k in keys} if hours else {}
            state |= taken
        scenarios.append({"seed_sd": scenario.seed_sd, "share": share, "states": states})
    planned["until_decided"] = {
        "question": wanted.question,
        "spending": wanted.spending,
        "futility": wanted.futility,
        "gap": gap,
        "scenarios": scenarios,
    }
