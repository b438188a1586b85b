"""Tables of plain numbers: mean, spread over folds, interval, counts of what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.metrics import FAILED, Metric
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.table.endpoints import Endpoint, parse_endpoint, undeclared_metrics
from kitsbench.statistics.table.policy import (
    analysis_set,
    defined_rows,
    penalised,
    truth_holds_region,
)
from kitsbench.statistics.table.scoretable import validate_scores
from kitsbench.statistics.tests.folds_and_cases import best_test

COLUMNS = (
    "dataset",
    "protocol",
    "architecture",
    "region",
    "metric",
    "convention",
    "n_cases",
    "n_folds",
    "n_seeds",
    "mean",
    "mean_of_fold_means",
    "sd_over_folds",
    "sd_over_cases",
    "ci_low",
    "ci_high",
    "n_undefined",
    "n_failed",
    "n_empty_prediction",
    "mean_official",
    "mean_gt_positive",
    "n_gt_positive",
    "mean_listwise",
    "n_listwise",
    "detection_sensitivity",
    "false_positive_rate",
)


def summarise(
    scores: pd.DataFrame,
    alpha: float = 0.05,
    *,
    declared: Mapping[str, Metric] | None = None,
) -> pd.DataFrame:
    """Summarise a score table per architecture, region and metric.

    A metric that is neither known nor declared is left out of a region where a prediction has no
    value of it: nobody has said what that costs, and a mean without it would be too good.

    Parameters
    ----------
    scores : DataFrame
        Long score table, see :func:`~kitsbench.statistics.validate_scores`.
    alpha : float
        1 minus the level of the intervals.
    declared : mapping of str to Metric, optional
        What was declared about metrics that kitsbench does not compute, by their names.

    Returns
    -------
    DataFrame
        The columns :data:`COLUMNS`, NaN where a number is not defined:

        ``mean``, ``sd_over_cases``
            Of the seed-averaged scores, pooled over the cases of the primary convention.
        ``mean_of_fold_means``, ``sd_over_folds``
            What papers print as "mean ± SD"; the SD (ddof = 1) describes folds and is never
            used for inference.
        ``ci_low``, ``ci_high``
            Interval of the mean by the case x run decomposition; with one seed over the fold
            means (four folds or more) or over cases.
        ``n_undefined``, ``n_failed``, ``n_empty_prediction``
            Rows that have no value, whose prediction failed, whose prediction lacks the region.
        ``mean_official``, ``mean_gt_positive``, ``n_gt_positive``
            Both conventions for cases whose truth lacks the region; ``convention`` names the
            primary one.
        ``mean_listwise``, ``n_listwise``
            Without the cases that failed for any architecture (sensitivity analysis).
        ``detection_sensitivity``, ``false_positive_rate``
            Of the region: predictions that hold it among cases that hold it, and among those
            that do not.

    Raises
    ------
    DataError
        The table breaks a rule.
    """
    table = validate_scores(scores, declared=declared)
    unknown, _ = undeclared_metrics(table["metric"].unique(), declared)
    records: list[dict[str, Any]] = []
    for (dataset, protocol, region), rows in table.groupby(
        ["dataset", "protocol", "region"], sort=False
    ):
        positive = truth_holds_region(rows)
        for metric, scored in rows.groupby("metric", sort=False):
            if metric in unknown and defined_rows(scored)["value"].isna().any():
                continue
            endpoint = parse_endpoint((str(region), str(metric)), declared)
            filled, _ = penalised(scored, endpoint, positive)
            crashed = set(filled.loc[filled["status"].isin(FAILED), "case"])
            for name, mine in filled.groupby("architecture", sort=False):
                cases = _by_case(mine)
                records.append(
                    {
                        "dataset": dataset,
                        "protocol": protocol,
                        "architecture": name,
                        "region": endpoint.region,
                        "metric": endpoint.metric,
                        "convention": endpoint.convention,
                        **_numbers(mine, cases, endpoint, alpha),
                        **_counts(mine, scored[scored["architecture"] == name]),
                        **_conventions(cases, endpoint, crashed),
                        **_detection(mine),
                    }
                )
    return pd.DataFrame(records, columns=list(COLUMNS))


def plus_minus(mean: float, sd: float, percent: bool = True) -> str:
    """Write ``mean ± SD`` as papers do, ``82.33±1.58``.

    Parameters
    ----------
    mean, sd : float
        Mean of the fold means and their standard deviation.
    percent : bool
        Multiply by 100.
    """
    scale = 100 if percent else 1
    return f"{scale * mean:.2f}±{scale * sd:.2f}"


def _numbers(
    rows: pd.DataFrame, cases: pd.DataFrame, endpoint: Endpoint, alpha: float
) -> dict[str, Any]:
    """Means, spreads and the interval on the primary analysis set."""
    nan = float("nan")
    kept = analysis_set(cases, endpoint)
    blocks, seeds = _complete_blocks(analysis_set(rows, endpoint))
    folds = kept.groupby("fold")["value"].mean()
    interval = best_test(blocks, None, alpha) if blocks else None
    return {
        "n_cases": len(kept),
        "n_folds": len(folds),
        "n_seeds": seeds,
        "mean": _mean(kept),
        "mean_of_fold_means": float(folds.mean()) if len(folds) else nan,
        "sd_over_folds": float(folds.std(ddof=1)) if len(folds) > 1 else nan,
        "sd_over_cases": float(kept["value"].std(ddof=1)) if len(kept) > 1 else nan,
        "ci_low": interval.ci_low if interval else nan,
        "ci_high": interval.ci_high if interval else nan,
    }


def _complete_blocks(rows: pd.DataFrame) -> tuple[list[Array], int]:
    """Arrays (cases, seeds) per fold, and the fewest seeds; no arrays where a cell is missing."""
    fold, seed = rows["fold"].to_numpy(), rows["seed"].to_numpy()
    case, value = rows["case"].to_numpy().astype(str), rows["value"].to_numpy(dtype=float)
    blocks: list[Array] = []
    for number in np.unique(fold):
        here = fold == number
        cases, row = np.unique(case[here], return_inverse=True)
        seeds, column = np.unique(seed[here], return_inverse=True)
        grid = np.full((len(cases), len(seeds)), np.nan)
        grid[row, column] = value[here]
        blocks.append(grid)
    fewest = min((block.shape[1] for block in blocks), default=0)
    if any(np.isnan(block).any() for block in blocks):
        return [], fewest
    return blocks, fewest


def _counts(rows: pd.DataFrame, given: pd.DataFrame) -> dict[str, int]:
    counted = rows["value"].reindex(given.index)  # without the cases that cannot have the metric
    return {
        "n_undefined": int((counted.isna() | given["value"].isna()).sum()),
        "n_failed": int(rows["status"].isin(FAILED).sum()),
        "n_empty_prediction": int((rows["status"] == "empty_prediction").sum()),
    }


def _conventions(cases: pd.DataFrame, endpoint: Endpoint, crashed: set[str]) -> dict[str, Any]:
    positive = cases[cases["positive"]]
    whole = analysis_set(cases, endpoint)
    whole = whole[~whole.index.isin(crashed)]
    return {
        "mean_official": float("nan") if cases["value"].isna().any() else _mean(cases),
        "mean_gt_positive": _mean(positive),
        "n_gt_positive": len(positive),
        "mean_listwise": _mean(whole),
        "n_listwise": len(whole),
    }


def _detection(rows: pd.DataFrame) -> dict[str, float]:
    positive, negative = rows[rows["positive"]], rows[~rows["positive"]]
    nan = float("nan")
    found = (positive["status"] == "ok").mean() if len(positive) else nan
    false = (negative["status"] == "false_positive").mean() if len(negative) else nan
    return {"detection_sensitivity": float(found), "false_positive_rate": float(false)}


def _by_case(rows: pd.DataFrame) -> pd.DataFrame:
    """Average the seeds: one row per case, NaN where the metric is undefined on it."""
    return rows.groupby("case", sort=False).agg(
        value=("value", "mean"), fold=("fold", "first"), positive=("positive", "first")
    )


def _mean(cases: pd.DataFrame) -> float:
    return float(cases["value"].mean()) if len(cases) else float("nan")
