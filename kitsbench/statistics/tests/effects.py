"""Effect sizes of a pair: how large a difference is, beside whether there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.samples import NOISE, case_values, tied


@dataclass(frozen=True)
class Effects:
    """Effect sizes over cases.

    Attributes
    ----------
    win, tie, loss : int
        Cases on which the first architecture is better, equal, worse (seed-averaged).
    rank_biserial : float
        Paired, ``(W+ - W-) / (W+ + W-)``, zeros dropped: 1 where the first wins everywhere. NaN
        where all cases are tied.
    hodges_lehmann : float
        Median of the Walsh averages of the differences (first minus second), in units of the
        metric.
    dz : float
        Mean of the differences (first minus second) over their standard deviation; NaN without
        spread.
    probability_better : float
        P(first better) over pairs of runs on one case, a tie counting one half.
    """

    win: int
    tie: int
    loss: int
    rank_biserial: float
    hodges_lehmann: float
    dz: float
    probability_better: float


def effect_sizes(
    a: Sequence[Array], b: Sequence[Array], higher_is_better: bool = True, walsh: bool = True
) -> Effects:
    """Compute the effect sizes of a pair.

    Parameters
    ----------
    a, b : sequence of ndarray, shape (cases, seeds)
        Scores per fold.
    higher_is_better : bool
        False for distances: a win is then the smaller value.
    walsh : bool
        Whether to take the Hodges-Lehmann estimate; the averages of all pairs of cases that it
        needs take longer than everything else. NaN without.
    """
    d = tied(case_values(a, b))
    sign = 1 if higher_is_better else -1
    sd = d.std(ddof=1) if len(d) > 1 else 0.0
    return Effects(
        win=int(np.count_nonzero(sign * d > 0)),
        tie=int(np.count_nonzero(d == 0)),
        loss=int(np.count_nonzero(sign * d < 0)),
        rank_biserial=rank_biserial(sign * d),
        hodges_lehmann=hodges_lehmann(d) if walsh else float("nan"),
        dz=float(d.mean() / sd) if sd > NOISE else float("nan"),
        probability_better=_probability_better(a, b, sign),
    )


def rank_biserial(differences: ArrayLike) -> float:
    """Paired rank-biserial correlation (Kerby 2014), zeros dropped, midranks for ties."""
    d = np.asarray(differences, dtype=float)
    d = d[d != 0]
    if not d.size:
        return float("nan")
    # Midranks by hand: of thousands of pairs scipy's checks of its arguments take most of the time.
    _, at, counts = np.unique(np.abs(d), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[at]
    return float((ranks[d > 0].sum() - ranks[d < 0].sum()) / ranks.sum())


def hodges_lehmann(differences: ArrayLike) -> float:
    """Median of the n (n + 1) / 2 Walsh averages."""
    d = np.asarray(differences, dtype=float)
    first, second = np.triu_indices(d.size)
    return float(np.median((d[first] + d[second]) / 2))


def _probability_better(a: Sequence[Array], b: Sequence[Array], sign: int) -> float:
    wins = []
    for x, y in zip(a, b, strict=True):
        d = tied(sign * (x[:, :, None] - y[:, None, :]))
        wins.append(((d > 0) + 0.5 * (d == 0)).mean(axis=(1, 2)))
    return float(np.concatenate(wins).mean())
