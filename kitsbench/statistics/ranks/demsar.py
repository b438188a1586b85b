"""Mean ranks over cases: Friedman's test, Nemenyi's critical difference, and their kin.

This is the comparison of Demsar (2006), *Statistical comparisons of classifiers over multiple data
sets*, JMLR 7, with cases in the place of data sets. Its scope is L0, and whether two architectures
differ in mean rank depends on which others are in the table; it is an option for readers who expect
it, not a basis of verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kitsbench.errors import DataError
from kitsbench.statistics.table.blocks import Array, ScoreBlocks
from kitsbench.statistics.tests.samples import best_first, case_values


@dataclass(frozen=True)
class Friedman:
    """Outcome of :func:`friedman`.

    Attributes
    ----------
    mean_ranks : ndarray
        By architecture, 1 = best.
    n : int
        Cases that were used.
    chi2, p_value : float
        Friedman's test, corrected for ties.
    iman_davenport_f, iman_davenport_df, iman_davenport_p
        Its less conservative form.
    kendall_w : float
        Agreement of the cases on the order, 0 to 1.
    nemenyi : ndarray
        P-values of all pairs.
    """

    mean_ranks: Array
    n: int
    chi2: float
    p_value: float
    iman_davenport_f: float
    iman_davenport_df: tuple[int, int]
    iman_davenport_p: float
    kendall_w: float
    nemenyi: Array


def friedman(scores: ArrayLike, higher_is_better: bool = True) -> Friedman:
    """Compare architectures by their ranks on each case.

    Parameters
    ----------
    scores : array of float, shape (cases, architectures)
        A case with a NaN is left out as a whole: ranks over fewer architectures would not
        compare.
    higher_is_better : bool
        Direction.

    Raises
    ------
    DataError
        Fewer than two architectures or complete cases.
    """
    table = best_first(scores, higher_is_better)
    table = table[~np.isnan(table).any(axis=1)]
    n, k = table.shape
    if n < 2 or k < 2:
        raise DataError(
            f"Friedman's test got {n} complete cases of {k} architectures; it needs two of each."
        )
    ranks = stats.rankdata(table, axis=1)
    mean_ranks = ranks.mean(axis=0)
    squares = float((ranks**2).sum())
    middle = n * k * (k + 1) ** 2 / 4
    between = n * float(((mean_ranks - (k + 1) / 2) ** 2).sum())
    within = squares - middle
    chi2 = n * (k - 1) * between / within if within > 0 else 0.0
    chi2 = min(chi2, float(n * (k - 1)))
    rest = n * (k - 1) - chi2
    df = (k - 1, (k - 1) * (n - 1))
    f = (n - 1) * chi2 / rest if rest > 1e-9 else float("inf")
    gaps = np.abs(mean_ranks[:, None] - mean_ranks)
    q = gaps / np.sqrt(k * (k + 1) / (12 * n))
    return Friedman(
        mean_ranks=mean_ranks,
        n=n,
        chi2=chi2,
        p_value=float(stats.chi2.sf(chi2, k - 1)),
        iman_davenport_f=f,
        iman_davenport_df=df,
        iman_davenport_p=float(stats.f.sf(f, *df)),
        kendall_w=chi2 / (n * (k - 1)),
        nemenyi=_studentized_range(q, k),
    )


def critical_difference(architectures: int, cases: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of two mean ranks.

    Parameters
    ----------
    architectures, cases : int
        Size of the table.
    alpha : float
        Level over all pairs.
    """
    q = stats.studentized_range.isf(alpha, architectures, np.inf)
    return float(q * np.sqrt(architectures * (architectures + 1) / (12 * cases)))


def cliques(mean_ranks: ArrayLike, distance: float) -> list[list[int]]:
    """Largest runs of neighbours whose mean ranks differ by less than the critical difference.

    Parameters
    ----------
    mean_ranks : array of float
        By architecture.
    distance : float
        Critical difference.

    Returns
    -------
    list of list of int
        Indices, best first; architectures alone are left out.
    """
    values = np.asarray(mean_ranks, dtype=float)
    order = [int(index) for index in np.argsort(values, kind="stable")]
    found: list[list[int]] = []
    reached = -1
    for start in range(len(order)):
        last = start
        while last + 1 < len(order) and values[order[last + 1]] - values[order[start]] < distance:
            last += 1
        if last > max(reached, start):
            found.append(order[start : last + 1])
        reached = max(reached, last)
    return found


def demsar(blocks: ScoreBlocks, alpha: float) -> dict[str, Any]:
    """Compare by mean ranks of seed-averaged cases; plain data for JSON.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    alpha : float
        Level of the critical difference.

    Returns
    -------
    dict
        ``scope`` is always L0.
    """
    names = blocks.architectures
    scores = np.stack([case_values(blocks.values[name]) for name in names], axis=1)
    found = friedman(scores, blocks.endpoint.higher_is_better)
    distance = critical_difference(len(names), found.n, alpha)
    order = np.argsort(found.mean_ranks, kind="stable")
    pairs = [
        {
            "a": names[i],
            "b": names[j],
            "rank_difference": float(found.mean_ranks[i] - found.mean_ranks[j]),
            "p_nemenyi": float(found.nemenyi[i, j]),
        }
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]
    finite = np.isfinite(found.iman_davenport_f)
    return {
        "scope": "L0",
        "n_cases": found.n,
        "friedman_chi2": found.chi2,
        "friedman_p": found.p_value,
        "iman_davenport_f": found.iman_davenport_f if finite else None,
        "iman_davenport_df": list(found.iman_davenport_df),
        "iman_davenport_p": found.iman_davenport_p,
        "kendall_w": found.kendall_w,
        "critical_difference": distance,
        "alpha": alpha,
        "mean_ranks": [
            {"architecture": names[i], "mean_rank": float(found.mean_ranks[i])} for i in order
        ],
        "groups": [[names[i] for i in group] for group in cliques(found.mean_ranks, distance)],
        "pairs": pairs,
    }


def _studentized_range(q: Array, k: int) -> Array:
    """P-values of a symmetric matrix; each is an integral, so half of them are computed."""
    p = np.ones_like(q)
    upper = np.triu_indices(len(q), 1)
    values = np.clip(stats.studentized_range.sf(q[upper], k, np.inf), 0.0, 1.0)
    p[upper] = values
    p.T[upper] = values
    return p
