"""Other ways to rank: by median, by ranks on each case, by tests, and by the rules of KiTS.

None of them decides anything here; they show how much a ranking owes to the way it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kitsbench.statistics.ranks.ranking import Stability, kendall_tau, rank, redrawn
from kitsbench.statistics.table.blocks import Array, ScoreBlocks, score_blocks
from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.table.policy import defined_rows
from kitsbench.statistics.tests.samples import best_first, case_values, tied

SCHEMES = ("mean_then_rank", "median_then_rank", "rank_then_mean", "rank_then_median")
"""Aggregate scores and rank the aggregates, or rank on each case and aggregate the ranks."""

_HEC = ("kidney_and_mass", "mass", "tumor")
_KITS19 = ("kidney_and_tumor", "tumor")


def scheme(
    values: ArrayLike, name: str, higher_is_better: bool = True
) -> tuple[Array, NDArray[np.int64]]:
    """Rank by one of :data:`SCHEMES`.

    Parameters
    ----------
    values : array of float, shape (architectures, cases)
        Seed-averaged scores. A NaN is left out of its architecture's aggregate, as challengeR does
        on request; :func:`~kitsbench.statistics.compare` never lets one come this far, because
        means over different cases do not compare.
    name : str
        The scheme.
    higher_is_better : bool
        Direction.

    Returns
    -------
    scores : ndarray of float
        What was ranked: a mean or median of scores, or of ranks (1 = best).
    ranks : ndarray of int
        1 = best; ties all get the smallest rank.
    """
    table = tied(values)
    average = np.nanmean if name.endswith("mean") or name.startswith("mean") else np.nanmedian
    if name in ("mean_then_rank", "median_then_rank"):
        scores = np.asarray(average(table, axis=1))
        return scores, rank(scores, higher_is_better)
    ordered = best_first(table, higher_is_better)
    ranks = stats.rankdata(ordered, method="min", axis=0, nan_policy="omit")
    scores = np.asarray(average(ranks, axis=1))
    return scores, rank(scores, higher_is_better=False)


def kits_ranking(dice: ArrayLike, surface_dice: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    """Rank as KiTS21 and KiTS23 do.

    The mean Dice over the three regions and their mean surface Dice are ranked each; the two
    ranks are averaged, and ties of the average are broken by the Dice of the tumour. (A text of
    KiTS21 speaks of six ranked values; the organisers' program ranks these two.)

    Parameters
    ----------
    dice, surface_dice : array of float, shape (architectures, 3)
        Means over cases; the last column is the tumour.

    Returns
    -------
    mean_ranks : ndarray of float
        Average of both ranks.
    ranks : ndarray of int
        Final places; ties that the tumour does not break keep the order of the input.
    """
    dice = np.asarray(dice, dtype=float)
    both = (dice.mean(axis=1), np.asarray(surface_dice, dtype=float).mean(axis=1))
    mean_ranks = np.mean([rank(values) for values in both], axis=0)
    order = np.lexsort((np.arange(len(dice)), best_first(dice[:, -1]), mean_ranks))
    ranks = np.empty(len(dice), dtype=np.int64)
    ranks[order] = np.arange(1, len(dice) + 1)
    return mean_ranks, ranks


def official_ranking(table: pd.DataFrame, protocol: str) -> dict[str, Any] | None:
    """Rank a score table by the rule of its challenge.

    Parameters
    ----------
    table : DataFrame
        Validated rows of one dataset and protocol, failed cases included.
    protocol : str
        ``kits19``: mean of kidney-with-tumour Dice and tumour Dice. ``kits21``, ``kits23``: see
        :func:`kits_ranking`.

    Returns
    -------
    dict or None
        ``rule`` and ``rows``, best first; None where the table lacks what the rule needs, or
        the protocol has none.
    """
    if protocol == "kits19":
        found = _means(table, [(region, "dice") for region in _KITS19])
        if found is None:
            return None
        names, means = found
        scores = means.mean(axis=1)
        rule = "mean of two Dice scores, of kidney_and_tumor together and of tumor alone"
        return _official(rule, names, scores, rank(scores), "composite")
    if protocol in ("kits21", "kits23"):
        found = _means(table, [(r, m) for m in ("dice", "surface_dice") for r in _HEC])
        if found is None:
            return None
        names, means = found
        mean_ranks, ranks = kits_ranking(means[:, :3], means[:, 3:])
        rule = "mean of the ranks by mean Dice and by mean surface Dice over three regions"
        return _official(rule, names, mean_ranks, ranks, "mean_rank")
    return None


def _means(
    table: pd.DataFrame, endpoints: list[tuple[str, str]]
) -> tuple[tuple[str, ...], Array] | None:
    known = defined_rows(table)
    there = set(zip(known["region"], known["metric"], strict=True))
    if not there.issuperset(endpoints):
        return None
    columns, names = [], None
    for region, metric in endpoints:
        blocks = score_blocks(table, Endpoint(region, metric))
        if names not in (None, blocks.architectures):
            return None
        names = blocks.architectures
        columns.append(list(blocks.means.values()))
    return names or (), np.array(columns).T


def _official(
    rule: str, names: Sequence[str], scores: Array, ranks: NDArray[np.int64], key: str
) -> dict[str, Any]:
    rows = [
        {"architecture": names[i], key: float(scores[i]), "rank": int(ranks[i])}
        for i in np.argsort(ranks, kind="stable")
    ]
    return {"rule": rule, "rows": rows}


def all_schemes(blocks: ScoreBlocks, better: Sequence[str | None] | None) -> dict[str, Any]:
    """Rank by every scheme, and correlate each with the ranking by mean.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    better : sequence of (str or None), or None
        Of every pair, the architecture that the verdict prefers: their number of wins is the
        ranking by significance. None where not all pairs were compared.

    Returns
    -------
    dict
        ``schemes``: by scheme ``{"ranks": {architecture: rank}, "kendall_tau": tau}``;
        ``leave_one_fold_out``: the same by the fold that was left out.
    """
    names = blocks.architectures
    higher = blocks.endpoint.higher_is_better
    values = np.stack([case_values(blocks.values[name]) for name in names])
    original = scheme(values, "mean_then_rank", higher)[1]
    found = {name: scheme(values, name, higher)[1] for name in SCHEMES}
    rankings = {
        "schemes": {name: _row(names, ranks, original) for name, ranks in found.items()},
        "leave_one_fold_out": _folds_left_out(blocks, original),
    }
    return with_wins(rankings, better)


def with_wins(rankings: dict[str, Any], better: Sequence[str | None] | None) -> dict[str, Any]:
    """Rankings of :func:`all_schemes` with the wins of other verdicts, or without any.

    Parameters
    ----------
    rankings : dict
    better : sequence of (str or None), or None
        As of :func:`all_schemes`.
    """
    schemes = {name: row for name, row in rankings["schemes"].items() if name != "significance"}
    if better is not None:
        original = schemes["mean_then_rank"]["ranks"]
        names = list(original)
        ranks = rank([sum(w == name for w in better) for name in names])
        schemes["significance"] = _row(names, ranks, np.array(list(original.values())))
    return {**rankings, "schemes": schemes}


def stability_row(blocks: ScoreBlocks, stability: Stability) -> dict[str, Any]:
    """How often each architecture got each rank in the bootstrap, and the mean Kendall's tau."""
    tau = stability.tau[np.isfinite(stability.tau)]
    return {
        "replicates": len(stability.ranks),
        "scope": "L1",
        "drawn": redrawn(blocks),
        "mean_kendall_tau": float(tau.mean()) if tau.size else None,
        "rank_counts": {
            name: [int(count) for count in stability.counts[index]]
            for index, name in enumerate(blocks.architectures)
        },
    }


def _folds_left_out(blocks: ScoreBlocks, original: NDArray[np.int64]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if len(blocks.folds) < 2:
        return rows
    for index, fold in enumerate(blocks.folds):
        rest = [
            np.mean(case_values([b for i, b in enumerate(blocks.values[name]) if i != index]))
            for name in blocks.architectures
        ]
        ranks = rank(rest, blocks.endpoint.higher_is_better)
        rows.append({"fold": fold, **_row(blocks.architectures, ranks, original)})
    return rows


def _row(
    names: Sequence[str], ranks: NDArray[np.int64], original: NDArray[np.int64]
) -> dict[str, Any]:
    tau = float(kendall_tau(ranks, original))
    return {
        "ranks": {name: int(place) for name, place in zip(names, ranks, strict=True)},
        "kendall_tau": tau if np.isfinite(tau) else None,
    }
