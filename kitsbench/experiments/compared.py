"""The statistics of an experiment by its own plan: its endpoint, its protocol, its folds."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from kitsbench.evaluation.protocols import STORED_METRICS
from kitsbench.experiments.records import ExperimentRecord
from kitsbench.statistics import Comparison, Rule, compare


def compare_planned(
    experiment: ExperimentRecord,
    scores: pd.DataFrame,
    apart: Collection[str] = (),
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
    baseline : str, optional
        Compare with this one only.
    margin : float, optional
        Of the endpoint; kitsbench's own by default.
    secondary : bool
        Whether to test the other regions and metrics, too.

    Raises
    ------
    UsageError
        The endpoint or the baseline does not fit the scores.
    DataError
        A score breaks a rule of the statistics.
    """
    region, metric = experiment.endpoint.split(":")
    compared = scores[~scores["architecture"].isin([*apart])]
    known = compared["metric"].isin(STORED_METRICS) | (compared["metric"] == metric)
    return compare(
        compared[known].reset_index(drop=True),
        endpoint=(region, metric),
        rule=Rule(fold_count=experiment.folds.count, baseline=baseline),
        margins=margin,
        protocol=experiment.protocol,
        secondary=secondary,
    )
