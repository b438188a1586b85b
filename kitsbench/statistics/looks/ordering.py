"""Estimates and intervals that know at which look a pair stopped.

A pair that stops as soon as its difference is large enough is found too large on average. Outcomes
are ordered by the look first: to cross a bound earlier is more than to cross it later. The
interval holds the true values for which what was found is not extreme in that order, and the
estimate is the value for which it lies in the middle (Tsiatis, Rosner and Mehta, Biometrics 40,
1984; Jennison and Turnbull, 2000, chapter 8). Where a pair was given up, or found equivalent, no
bound was crossed: its place in the order is that of its last look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kitsbench.statistics.looks.bounds import crossings
from kitsbench.statistics.table.blocks import Array

_STEPS = 44
_REACH = 12.0  # standard errors beyond the estimate in which the ends lie as a rule
_WIDER = 12  # how often that is doubled for outcomes that nobody would expect
_LEAST = 1e-14


@dataclass(frozen=True)
class Ordered:
    """Of each pair, arrays of shape (pairs,).

    Attributes
    ----------
    estimate : ndarray
        Median-unbiased.
    low, high : ndarray
        Of the interval.
    """

    estimate: Array
    low: Array
    high: Array


def ordered(
    estimate: Array, se: Array, df: Array, information: Array, bounds: Array, alpha: float = 0.05
) -> Ordered:
    """Estimates and intervals by the order of looks.

    Parameters
    ----------
    estimate, se, df : ndarray, shape (pairs,)
        At the last look of each pair.
    information : ndarray, shape (looks, pairs)
        At the looks of each pair, as parts of that of its last one, which is 1; all pairs have had
        the same number of looks.
    bounds : ndarray, shape (looks - 1, pairs)
        What the estimates before would have had to reach, from :func:`reach`. On their own scale:
        what a bound asks for depends on the standard error and the degrees of freedom of its look.
    alpha : float
        1 minus the level of the intervals.

    Returns
    -------
    Ordered
        With one look this is the interval of Student's t.
    """
    ends = [_where(estimate, se, df, information, bounds, tail)
            for tail in (0.5, alpha / 2, 1 - alpha / 2)]  # fmt: skip
    return Ordered(*ends)


def reach(bound: Array, se: Array, df: Array) -> Array:
    """What an estimate has to reach, on either side, to cross a bound.

    Parameters
    ----------
    bound : ndarray
        On the scale of quantiles.
    se, df : ndarray
        Of its look.
    """
    tail = special.ndtr(-np.asarray(bound))
    return np.where(tail > _LEAST, -special.stdtrit(df, np.maximum(tail, _LEAST)) * se, np.inf)


def _where(
    estimate: Array, se: Array, df: Array, information: Array, bounds: Array, tail: float
) -> Array:
    """True value at which an outcome as high as the one found, or higher, has some chance."""
    reach = _REACH + np.where(df < 3, 200.0, np.where(df < 8, 20.0, 0.0))

    # More above the estimate, more often as high: the chance rises with the true value.
    def too_low(value: Array) -> NDArray[np.bool_]:
        return as_high(value, estimate, se, df, information, bounds) < tail

    low, high = estimate - reach * se, estimate + reach * se
    for step in 2.0 ** np.arange(_WIDER):
        above, below = ~too_low(low), too_low(high)
        if not (above | below).any():
            break
        low, high = (np.where(above, low - step * reach * se, low),
                     np.where(below, high + step * reach * se, high))  # fmt: skip
    for _ in range(_STEPS):
        middle = (low + high) / 2
        rises = too_low(middle)
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return np.asarray((low + high) / 2)


def as_high(
    value: Array, estimate: Array, se: Array, df: Array, information: Array, bounds: Array
) -> Array:
    """Chance of an outcome as high as the one found, or higher, by the order of looks.

    Parameters
    ----------
    value : ndarray, shape (pairs,)
        True differences. One lies in the interval where the chance is neither below ``alpha / 2``
        nor above ``1 - alpha / 2``.
    estimate, se, df, information, bounds
        As for :func:`ordered`.
    """
    shift = value / se
    # What a t statistic of few degrees of freedom is worth as a quantile around the true value.
    beyond = (estimate - value) / se
    tail = np.maximum(special.stdtr(df, -np.abs(beyond)), _LEAST)
    worth = -np.sign(beyond) * special.ndtri(tail)
    scaled = bounds * np.sqrt(information[:-1]) / se
    upper = np.vstack([scaled, (shift + worth)[None]])
    lower = np.vstack([-scaled, np.full((1, len(value)), -np.inf)])
    _, above = crossings(information, lower, upper, shift)
    return np.asarray(above.sum(axis=0))
