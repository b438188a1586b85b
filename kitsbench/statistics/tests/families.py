"""Families of hypotheses: adjusted p-values, and p-values of statements about a margin."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from kitsbench.errors import UsageError
from kitsbench.statistics.table.blocks import Array

CORRECTIONS = (
    "holm",
    "hommel",
    "shaffer",
    "hochberg",
    "holm-sidak",
    "bonferroni",
    "sidak",
    "fdr_bh",
    "fdr_by",
)


def equivalence_p(estimate: float, se: float, df: float, low: float, high: float) -> float:
    """P-value of two one-sided tests that a quantity lies between two margins.

    Parameters
    ----------
    estimate, se, df : float
        Of the quantity.
    low, high : float
        Margins, ``low < high``.

    Returns
    -------
    float
        Equivalent at level alpha iff this is below alpha, that is iff the ``1 - 2 alpha``
        interval lies inside the margins. NaN where there is no spread to judge by.
    """
    if not np.isfinite(se) or se <= 0:
        return float("nan")
    above = special.stdtr(df, (low - estimate) / se)
    below = special.stdtr(df, (estimate - high) / se)
    return float(max(above, below))


def exceeds_p(estimate: Array, se: Array, df: Array, margin: float) -> Array:
    """P-values that differences exceed a margin, in whichever direction they point.

    Parameters
    ----------
    estimate, se, df : ndarray
        Of the differences.
    margin : float

    Returns
    -------
    ndarray
        Below alpha iff the ``1 - alpha`` interval lies beyond the margin; without spread 0 or 1.
    """
    excess = np.abs(estimate) - margin
    certain = np.where(excess > 0, 0.0, 1.0)
    t = excess / _spread(se)
    return np.where(np.equal(se, 0), certain, np.minimum(1.0, 2 * special.stdtr(df, -t)))


def within_p(estimate: Array, se: Array, df: Array, margin: float, skew: Array) -> Array:
    """P-values that differences lie within a margin of 0, for estimates that may be skewed.

    Few cases that one architecture misses and the other finds make a difference skewed: the
    standard error is too small exactly when few of them were drawn. Hall's transformation takes
    that into account; without skewness this is the doubled p-value of two one-sided t-tests.

    Parameters
    ----------
    estimate, se, df : ndarray
        Of the differences.
    margin : float
    skew : ndarray
        Skewness of the estimates.

    Returns
    -------
    ndarray
        Doubled, so that a pair whose difference is the margin is found beyond it and within it no
        more than alpha times together: without skewness it is below alpha iff the ``1 - alpha``
        interval lies inside the margins. NaN without spread.

    Notes
    -----
    Source: P. Hall, On the removal of skewness by transformation, JRSS B 54, 1992.
    """
    below = special.stdtr(df, _without_skew((estimate - margin) / _spread(se), skew))
    above = special.stdtr(df, -_without_skew((estimate + margin) / _spread(se), skew))
    return np.minimum(1.0, 2 * np.maximum(below, above))


def _without_skew(t: Array, skew: Array) -> Array:
    return t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6


def _spread(se: Array) -> Array:
    return np.where(np.asarray(se) > 0, se, np.nan)


def adjust(p_values: ArrayLike, method: str = "holm") -> NDArray[np.float64]:
    """Adjust a family of p-values.

    Parameters
    ----------
    p_values : array of float, shape (..., pairs)
        NaN (no test) is left out of the family and stays NaN. Several families at once, along the
        last axis, for ``holm`` alone.
    method : str
        One of :data:`CORRECTIONS`. ``fdr_bh`` and ``fdr_by`` control the false discovery rate,
        the others the family-wise error. ``shaffer`` (static, 1986) knows which hypotheses
        about pairs can be true together; it needs all pairs of a set of architectures.

    Raises
    ------
    UsageError
        There is no such correction, or the family is not all pairs of a set.
    """
    if method not in CORRECTIONS:
        raise UsageError(f"There is no correction '{method}'; choose {', '.join(CORRECTIONS)}.")
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    if method == "shaffer":
        return _step_down(p, np.array(_shaffer_counts(p.size)))
    if not tested.any():
        return adjusted
    if method == "holm":
        # statsmodels collects garbage in every call, which costs more than all tests together.
        return _step_down(p, tested.sum(axis=-1, keepdims=True) - np.arange(p.shape[-1]))
    if method in ("fdr_bh", "fdr_by"):
        adjusted[tested] = false_discovery_control(p[tested], method=method.removeprefix("fdr_"))
    else:
        name = "simes-hochberg" if method == "hochberg" else method
        with np.errstate(divide="ignore"):  # the logarithm of 1 - p where p is 1
            adjusted[tested] = multipletests(p[tested], method=name)[1]
    return adjusted


_MARGIN_SHARE = 0.4


def margin_adjust(p_values: ArrayLike, apart: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p-values of statements about a margin, so that all that is said holds together.

    A pair can be wrong in one way only: that equal ones differ, or on which side of the margin a
    difference lies. So each pair has the share of the error that Bonferroni gives it, for whatever
    is said of it. Holm's step-down has passed on the share of a pair that was found to differ; what
    is said of its margin then costs more, and gets a smaller share.

    Parameters
    ----------
    p_values : array of float, shape (..., pairs)
        NaN (no test) is left out of the family and stays NaN.
    apart : array of bool, shape (..., pairs)
        Pairs that were found to differ.
    """
    p = np.asarray(p_values, dtype=float)
    number = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True)
    # One pair alone has nobody to pass its share to.
    share = np.where(np.asarray(apart, dtype=bool) & (number > 1), _MARGIN_SHARE, 1.0)
    return np.minimum(1.0, p * number / share)


def _step_down(p: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Multiply sorted p-values by how many hypotheses may still be true, and keep their order."""
    order = np.argsort(p, axis=-1, kind="stable")  # NaN comes last and stays NaN
    raised = np.take_along_axis(p, order, -1) * counts
    adjusted = np.empty_like(p)
    steps = np.minimum(1.0, np.maximum.accumulate(raised, axis=-1))
    np.put_along_axis(adjusted, order, steps, -1)
    return adjusted


def _shaffer_counts(size: int) -> list[int]:
    k = round((1 + np.sqrt(1 + 8 * size)) / 2)
    if size != k * (k - 1) // 2:
        raise UsageError(
            f"Shaffer's correction got {size} pairs; it needs all pairs of a set of "
            "architectures, so it cannot be used with a baseline."
        )
    possible = _true_together(k)
    return [max(n for n in possible if n <= size - place) for place in range(size)]


@functools.cache
def _true_together(k: int) -> set[int]:
    """How many of the hypotheses "a pair of k is equal" can hold at once."""
    if k < 2:
        return {0}
    return {j * (j - 1) // 2 + rest for j in range(1, k + 1) for rest in _true_together(k - j)}
