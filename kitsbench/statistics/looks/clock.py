"""The clock of looks: how much information there is, and what p-values are worth by it.

The variance of a difference has a part of the cases, which stays, and a part of the runs, which
shrinks with every seed. So information does not grow by equal steps: where cases make most of the
variance the first seeds bring nearly all of it. Alpha is spent by the fraction of the information
that the trials at hand bring, whatever the counter says, and however many are missing.

How the variance splits is taken from the plan. The scores can only make it less, in few steps: a
standard error that is too small by chance would say that much is known already, and alpha would be
spent just where statistics are too large (measured where the clock follows the scores: 6.3 % of
experiments of two architectures err instead of 5 %).

A sequential p-value is the smallest level at which a pair would have crossed its bound at one of
its looks so far. It never rises, is valid whenever one stops and for whatever reason, and so may be
adjusted for many pairs like any p-value (Liu and Anderson, JASA 103, 2008; Maurer and Bretz,
Statistics in Biopharmaceutical Research 5, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kitsbench.statistics.looks.bounds import LEAST, next_bounds
from kitsbench.statistics.looks.spending import spent
from kitsbench.statistics.table.blocks import Array

SURE_SHARES = (0.0, 0.25, 0.5, 0.6, 0.7)
"""Shares of the cases by which looks are taken to depend on each other: the largest that is not
above what the scores tell. Where they depend on each other more, bounds are a little too strict."""
GRAIN = 2000
"""Steps in which parts of the planned cases and runs are told."""
MOST_SHARE = 0.9
"""Share of the cases beyond which none is believed: by chance, few runs may seem not to scatter."""
_FARTHEST, _LEVELS = 6.2, 56
_QUANTILES = np.linspace(0.0, _FARTHEST, _LEVELS)
LEVELS: Array = 2 * special.ndtr(-_QUANTILES)
"""Two-sided levels of the tables, from 1 down to 6e-10."""
_STILL = 1e-3  # of the information: a look that adds less adds nothing
EARLY_DF, EARLY_DF_ALONE = 2 / 3, 2 / 5
"""Part of the degrees of freedom that count at looks before the last one: of several pairs, and of
one alone, whose runs nothing else tells how to judge. Those looks judge far out in the tail, where
few runs tell less than their degrees of freedom say."""
_LEAST_P = 1e-300

Ids = NDArray[np.int64]


def share_of_cases(
    v_case: Array, v_run: Array, v_residual: Array, cases: Array, runs: Array
) -> Array:
    """Part of the cases in the variance of a difference that the whole plan leaves.

    Parameters
    ----------
    v_case, v_run, v_residual : ndarray, shape (..., pairs)
        Variance of the difference by source, as at hand.
    cases, runs : ndarray
        As for :func:`codes`.
    """
    stays, goes = np.maximum(v_case - v_residual, 0.0) * cases, v_run * runs
    total = stays + goes
    return np.asarray(np.minimum(stays / np.where(total > 0, total, 1.0), MOST_SHARE))


def codes(share: Array, cases: Array, runs: Array, last: NDArray[np.bool_]) -> Ids:
    """Write what the clock needs to know of looks as numbers.

    Parameters
    ----------
    share : ndarray
        Part of the cases in the variance that the whole plan leaves, as the scores tell it.
    cases, runs : ndarray
        Cases and runs at hand, as parts of those that are planned; above 1 they count as 1.
    last : ndarray of bool
        Whether it is the last look that is planned: what is left is spent.
    """

    def whole(part: Array) -> Ids:
        return np.clip(np.rint(part * GRAIN), 1, GRAIN).astype(np.int64)

    sure = _sure(share)
    return ((sure * (GRAIN + 1) + whole(cases)) * (GRAIN + 1) + whole(runs)) * 2 + last


def _sure(share: Array) -> Ids:
    return np.searchsorted(SURE_SHARES, np.maximum(share, 0.0), side="right") - 1


def sure_share(share: Array) -> Array:
    """Share by which looks are taken to depend on each other, given what the scores tell."""
    return np.asarray(np.array(SURE_SHARES)[_sure(share)])


def _decode(code: int) -> tuple[float, float, float, bool]:
    rest, last = divmod(code, 2)
    rest, runs = divmod(rest, GRAIN + 1)
    sure, cases = divmod(rest, GRAIN + 1)
    return SURE_SHARES[sure], cases / GRAIN, runs / GRAIN, bool(last)


def information(share: Array | float, cases: Array | float, runs: Array | float) -> Array:
    """Of the planned information, the part at hand.

    Parameters
    ----------
    share : ndarray or float
        Part of the cases in the variance that the whole plan leaves.
    cases, runs : ndarray or float
        As for :func:`codes`.
    """
    return np.asarray(1 / (share / cases + (1 - share) / runs))


def rising(known: Array) -> Array:
    """Information at the looks of a pair, as bounds take it: each needs something new.

    A last look at the same scores spends what is left, and a fold whose runs are still few may
    leave less known than before it came. Both count as if a little more was known.

    Parameters
    ----------
    known : ndarray, shape (looks, ...)
    """
    found = np.array(known, dtype=float)
    for k in range(1, len(found)):
        found[k] = np.maximum(found[k], found[k - 1] * (1 + _STILL))
    return found


def worth(p: Array, df: Array, whole: NDArray[np.bool_] | bool, pairs: int) -> Array:
    """Write two-sided p-values of t statistics as normal quantiles, as bounds take them.

    A difference of three standard errors on four degrees of freedom counts as one of 2.05, so that
    bounds for normal quantiles hold for it at each look.

    Parameters
    ----------
    p, df : ndarray
        Of each pair.
    whole : ndarray of bool
        As of :func:`~kitsbench.statistics.looks.course.is_whole`: before it, only a part of the
        degrees of freedom counts (:data:`EARLY_DF`).
    pairs : int
        Of the family.
    """
    tail = np.clip(p, _LEAST_P, 1.0) / 2
    if not np.all(whole):
        early = special.stdtr(counted_df(df, False, pairs), special.stdtrit(df, tail))
        tail = np.where(whole, tail, early)
    return np.asarray(-special.ndtri(np.clip(tail, _LEAST_P, 0.5)))


def counted_df(df: Array, whole: NDArray[np.bool_] | bool, pairs: int) -> Array:
    """Degrees of freedom that count at a look at a family of so many pairs."""
    early = EARLY_DF if pairs > 1 else EARLY_DF_ALONE
    return np.where(whole, df, np.maximum(early * df, 1.0))


@dataclass(frozen=True)
class Table:
    """Bounds of one history of looks, for all :data:`LEVELS`.

    Attributes
    ----------
    fraction : float
        Of the information, by which alpha was spent.
    spent : ndarray, shape (levels,)
        Alpha that was spent until now.
    bounds : ndarray, shape (looks, levels)
        Symmetric bounds, on the scale of quantiles; the last row is that of this look.
    information : tuple of float
        Of the looks, in parts of the planned one, by which they depend on each other.
    """

    fraction: float
    spent: Array
    bounds: Array
    information: tuple[float, ...]

    def bound(self, level: Array) -> Array:
        """Bound of this look at a level, on the scale of quantiles; infinite where none is."""
        return _line(-special.ndtri(np.asarray(level) / 2), _QUANTILES, self.bounds[-1], np.inf)

    def level(self, z: Array) -> Array:
        """Level whose bound a quantile just reaches: the p-value of this look, 0 to 1."""
        known = np.isfinite(self.bounds[-1])
        if not known.any():
            return np.ones(np.shape(z))
        c, q = self.bounds[-1][known], _QUANTILES[known]
        return np.asarray(2 * special.ndtr(-np.interp(np.abs(z), c, q)))


def _line(x: Array, at: Array, values: Array, beyond: float) -> Array:
    known = np.isfinite(values)
    if not known.any():
        return np.full(np.shape(x), beyond)
    inside = np.interp(x, at[known], values[known])
    return np.where(x <= at[known][-1] + 1e-9, inside, beyond)


class Clock:
    """Histories of looks and their tables, each made once.

    Parameters
    ----------
    spending : str
        One of :data:`~kitsbench.look.SPENDING`.
    share : float
        Part of the cases in the variance that the whole plan leaves, as the plan assumes it.
    """

    START = 0
    """Id of the history without a look."""

    def __init__(self, spending: str, share: float) -> None:
        self._spending, self._share = spending, share
        self._histories: list[tuple[int, ...]] = [()]
        self._ids: dict[tuple[int, int], int] = {}
        self._tables: dict[int, Table] = {}
        self._parents: list[int] = [0]

    def advance(self, ids: Ids, moments: Ids) -> Ids:
        """Ids of histories with one more look each.

        Parameters
        ----------
        ids : ndarray of int
            Of the histories so far.
        moments : ndarray of int
            From :func:`codes`.
        """
        size = np.int64(1) << 32
        keys, place = np.unique(ids * size + moments, return_inverse=True)
        found = []
        for key in keys:
            before, code = divmod(int(key), int(size))
            known = self._ids.get((before, code))
            if known is None:
                known = len(self._histories)
                self._ids[before, code] = known
                self._histories.append((*self._histories[before], code))
                self._parents.append(before)
            found.append(known)
        return np.array(found, dtype=np.int64)[place].reshape(np.shape(ids))

    def table(self, history: int) -> Table:
        """Bounds of a history; it has a look."""
        made = self._tables.get(history)
        if made is None:
            made = self._tables[history] = self._made(history)
        return made

    def each(self, ids: Ids) -> list[tuple[NDArray[np.bool_], Table]]:
        """The table of every history, with the places that have it."""
        return [(ids == one, self.table(int(one))) for one in np.unique(ids) if one != self.START]

    def _made(self, history: int) -> Table:
        seen = [_decode(code) for code in self._histories[history]]
        before = self._parents[history]
        earlier = self.table(before) if before != self.START else None
        sure, cases, runs, last = seen[-1]
        fraction = 1.0 if last else float(information(min(self._share, sure), cases, runs))
        gone = np.zeros(_LEVELS) if earlier is None else earlier.spent
        used = np.empty((0, _LEVELS)) if earlier is None else earlier.bounds
        if earlier is not None:
            fraction = max(fraction, earlier.fraction)
        # All looks are told by what this one knows of the share.
        known = np.array([float(information(sure, cases, runs)) for _, cases, runs, _ in seen])
        known = rising(known)
        target = spent(self._spending, LEVELS, fraction)
        new = target - gone
        bound = next_bounds(known, used, new)
        return Table(
            fraction=fraction,
            spent=np.where(new >= LEAST, target, gone),
            bounds=np.vstack([used, bound]),
            information=tuple(map(float, known)),
        )
