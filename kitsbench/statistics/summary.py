"""Tables of plain numbers: mean, spread over folds, interval, counts of what went wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kitsbench.statistics.endpoints import Endpoint
from kitsbench.statistics.policy import analysis_set, penalised, truth_holds_region
from kitsbench.statistics.scoretable import FAILED, validate_scores
from kitsbench.statistics.simpletests import best_test
from kitsbench.statistics.twoway import Array

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


def summarise(scores: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Summarise a score table per architecture, region and metric.

    Parameters
    ----------
    scores : DataFrame
        Long score table, see :func:`~kitsbench.statistics.validate_scores`.
    alpha : float
        1 minus the level of the intervals.

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
    table = validate_scores(scores)
    records: list[dict[str, Any]] = []
    for (dataset, protocol, region), rows in table.groupby(
        ["dataset", "protocol", "region"], sort=False
    ):
        positive = truth_holds_region(rows)
        for metric, scored in rows.groupby("metric", sort=False):
            endpoint = Endpoint(str(region), str(metric))
            filled, _ = penalised(scored, endpoint, positive)
            crashed = set(filled.loc[filled["status"].isin(FAILED), "case"])
            for name, mine in filled.groupby("architecture", sort=False):
                head = {"dataset": dataset, "protocol": protocol, "architecture": name}
                records.append(
                    {
                        **head,
                        "region": endpoint.region,
                        "metric": endpoint.metric,
                        "convention": endpoint.convention,
                        **_numbers(mine, endpoint, alpha),
                        **_counts(mine, scored.loc[mine.index]),
                        **_conventions(mine, endpoint, crashed),
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


def _numbers(rows: pd.DataFrame, endpoint: Endpoint, alpha: float) -> dict[str, Any]:
    kept = analysis_set(rows, endpoint)
    blocks, seeds = _complete_blocks(kept)
    nan = float("nan")
    cases = kept.groupby("case")["value"].mean()
    folds = kept.groupby(["fold", "case"])["value"].mean().groupby("fold").mean()
    interval = best_test(blocks, None, alpha) if blocks else None
    return {
        "n_cases": len(cases),
        "n_folds": len(folds),
        "n_seeds": seeds,
        "mean": float(cases.mean()) if len(cases) else nan,
        "mean_of_fold_means": float(folds.mean()) if len(folds) else nan,
        "sd_over_folds": float(folds.std(ddof=1)) if len(folds) > 1 else nan,
        "sd_over_cases": float(cases.std(ddof=1)) if len(cases) > 1 else nan,
        "ci_low": interval.ci_low if interval else nan,
        "ci_high": interval.ci_high if interval else nan,
    }


def _complete_blocks(rows: pd.DataFrame) -> tuple[list[Array], int]:
    """Arrays (cases, seeds) per fold, and the fewest seeds; no arrays where a cell is missing."""
    blocks: list[Array] = []
    for _, fold in rows.groupby("fold", sort=True):
        grid = fold.pivot(index="case", columns="seed", values="value").to_numpy(dtype=float)
        blocks.append(grid)
    seeds = min((block.shape[1] for block in blocks), default=0)
    if any(np.isnan(block).any() for block in blocks):
        return [], seeds
    return blocks, seeds


def _counts(rows: pd.DataFrame, given: pd.DataFrame) -> dict[str, int]:
    return {
        "n_undefined": int((rows["value"].isna() | given["value"].isna()).sum()),
        "n_failed": int(rows["status"].isin(FAILED).sum()),
        "n_empty_prediction": int((rows["status"] == "empty_prediction").sum()),
    }


def _conventions(rows: pd.DataFrame, endpoint: Endpoint, crashed: set[str]) -> dict[str, Any]:
    positive = rows[rows["positive"]]
    whole = analysis_set(rows, endpoint)
    whole = whole[~whole["case"].isin(crashed)]
    official = float("nan") if rows["value"].isna().any() else _case_mean(rows)
    return {
        "mean_official": official,
        "mean_gt_positive": _case_mean(positive),
        "n_gt_positive": int(positive["case"].nunique()),
        "mean_listwise": _case_mean(whole),
        "n_listwise": int(whole["case"].nunique()),
    }


def _detection(rows: pd.DataFrame) -> dict[str, float]:
    positive, negative = rows[rows["positive"]], rows[~rows["positive"]]
    nan = float("nan")
    found = (positive["status"] == "ok").mean() if len(positive) else nan
    false = (negative["status"] == "false_positive").mean() if len(negative) else nan
    return {"detection_sensitivity": float(found), "false_positive_rate": float(false)}


def _case_mean(rows: pd.DataFrame) -> float:
    """Mean over cases of the seed-averaged values; NaN without a case."""
    means = rows.groupby("case")["value"].mean()
    return float(means.mean()) if len(means) else float("nan")
