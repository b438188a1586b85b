"""The statistics of an experiment by its own plan: its endpoint, its protocol, its folds."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from kitsbench.errors import UsageError
from kitsbench.evaluation.protocols import STORED_METRICS
from kitsbench.experiments.looks.design import plans, taken
from kitsbench.experiments.records import ExperimentRecord, LooksRecord
from kitsbench.statistics import Comparison, Rule, compare
from kitsbench.statistics.looks.respected import respecting
from kitsbench.statistics.table.elsewhere import mark, standings_of
from kitsbench.statistics.table.endpoints import margin_of, parse_endpoint


def compare_planned(
    experiment: ExperimentRecord,
    scores: pd.DataFrame,
    apart: Collection[str] = (),
    looks: LooksRecord | None = None,
    *,
    baseline: str | None = None,
    margin: float | None = None,
    secondary: bool = True,
) -> Comparison:
    """Compare the entrants of an experiment on its endpoint.

    Parameters
    ----------
    experiment : ExperimentRecord
    scores : DataFrame
        Of its trials.
    apart : collection of str
        Entrants that may know the test scans; they are compared with nobody.
    looks : LooksRecord or None
        Of a run that stops by itself, which decide its verdicts.
    baseline : str, optional
        Compare with this one only.
    margin : float, optional
        Of the endpoint; kitsbench's own by default.
    secondary : bool
        Whether to test the other regions and metrics, too.

    Raises
    ------
    UsageError
        The endpoint or the baseline does not fit the scores, or another question or margin is
        asked for than that of the looks.
    DataError
        A score breaks a rule of the statistics.
    """
    if experiment.until is not None:
        baseline = asked_baseline(experiment, baseline, margin)
    region, metric = experiment.endpoint.split(":")
    compared = scores[~scores["architecture"].isin([*apart])]
    known = compared["metric"].isin(STORED_METRICS) | (compared["metric"] == metric)
    found = compare(
        compared[known].reset_index(drop=True),
        endpoint=(region, metric),
        rule=Rule(fold_count=experiment.folds.count, baseline=baseline),
        margins=margin,
        protocol=experiment.protocol,
        secondary=secondary,
    )
    return found if experiment.until is None else by_looks(experiment, looks, found, compared)


def by_looks(
    experiment: ExperimentRecord, looks: LooksRecord | None, found: Comparison, scores: pd.DataFrame
) -> Comparison:
    """Give a comparison the verdicts of the looks of a run that stops by itself.

    Parameters
    ----------
    experiment : ExperimentRecord
        With its question.
    looks : LooksRecord or None
    found : Comparison
        Of the scores that the looks have counted, at the endpoint that they looked at.
    scores : DataFrame
        Those.

    Raises
    ------
    UsageError
        No look was taken yet.
    """
    if looks is None or not looks.looks:
        raise UsageError(before_looks(experiment))
    families = plans(experiment)
    told = respecting(found, families, [taken(looks, n) for n in range(len(families))])
    mark(told.pairs, standings_of(scores))
    return told


def other_endpoint(experiment: ExperimentRecord, endpoint: str) -> str:
    """Why looks give no verdicts on another endpoint than their own."""
    return (
        f"Experiment {experiment.id} was looked at by {experiment.endpoint}, and stopped because "
        f"of what it saw: there are no verdicts on {endpoint}. Leave --endpoint out; its scores "
        "are in the tables of all regions and metrics."
    )


def before_looks(experiment: ExperimentRecord) -> str:
    """Why nothing is compared before the first look."""
    assert experiment.until is not None
    return (
        f"The first look comes after {experiment.until.looks[0]} seeds of every fold, and nothing "
        "is compared before: whoever looks earlier has taken a look that nobody pays for."
    )


def asked_baseline(
    experiment: ExperimentRecord, baseline: str | None, margin: float | None
) -> str | None:
    """The baseline of the question that was declared, of a run that stops by itself.

    Parameters
    ----------
    experiment : ExperimentRecord
    baseline : str or None
        Who was asked for.
    margin : float or None
        Which was asked for.

    Raises
    ------
    UsageError
        Another baseline or margin than that of the looks.
    """
    until = experiment.until
    assert until is not None
    if margin is not None and margin != margin_of(parse_endpoint(experiment.endpoint), None):
        raise UsageError(
            f"Experiment {experiment.id} was looked at with the margin of its endpoint, and "
            f"{margin:g} is another: what the looks decided holds for theirs alone. Leave it out."
        )
    if until.question != "baseline":
        return baseline
    if baseline not in (None, until.named):
        raise UsageError(
            f"Experiment {experiment.id} asks about {until.named}, and {baseline} is another "
            "baseline: its pairs were never looked at. Leave it out."
        )
    return until.named
