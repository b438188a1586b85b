"""The joint analysis: all pairs of architectures on one table, in one model of cases and runs.

The variance of a difference of means is that between cases, plus that between training runs, minus
what both contain (:mod:`kitsbench.statistics.tests.twoway`). What decides whether a test of it
holds is the number of training runs, which is small: two seeds in five folds leave five degrees of
freedom to an architecture, and a family of ten pairs is judged far out in the tail. Four rules
keep the error where it is promised.

* Where the runs of all architectures scatter alike, as far as an F-test can tell, they are pooled,
  as one model of all architectures does.
* Where they do not, each counts with its own. The degrees of freedom then move from those of equal
  variances to those of the noisier one alone, less an allowance, the more their variances differ.
* An architecture that has fewer runs than others is not taken to scatter much less than they do: a
  few runs that lie close together are chance more often than calm.
* The share of the runs in the variance decides how many degrees of freedom a difference has. By
  chance it looks small exactly where the standard error is too small; so it is never taken to be
  less than what the architectures show on average.

:mod:`kitsbench.statistics.calibration` measures what comes of it, design by design.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.folds_and_cases import mean_of_folds
from kitsbench.statistics.tests.moments import Index, Moments
from kitsbench.statistics.tests.twoway import TWO_WAY

JOINT = TWO_WAY

FEWEST_RUN_DF = 2.0
"""Degrees of freedom between the runs of an architecture, folds x (seeds - 1), below which no test
of it holds: with one, an architecture that scatters more than another is found "better" twice as
often as promised."""
FEWEST_CLUSTER_DF = 4.0
"""The same between clusters of cases; with fewer, they are too few to tell how they differ."""

_POOL_FROM = 15.0  # degrees of freedom of the others: fewer could not contradict an outlier
_POOL_P = 0.4  # the F-test must be far from finding a difference, not just fail to find one
_POOL_FEWEST = 0.5  # of the most: many quiet runs would hide a noisy architecture that has few
_ALLOWANCE = 2.5  # degrees of freedom; runs are skewed, and five of them tell little of a tail
_LEAST_DF = 0.3


@dataclass(frozen=True)
class PairStatistics:
    """Estimates of many pairs, first minus second; arrays of shape (..., pairs).

    Attributes
    ----------
    estimate, se, df : ndarray
    skew : ndarray
        Skewness of the estimate, from the cases.
    v_case, v_run, v_residual : ndarray
        Variance by source; NaN for the test over folds.
    """

    estimate: Array
    se: Array
    df: Array
    skew: Array
    v_case: Array
    v_run: Array
    v_residual: Array


def joint_test(
    moments: Moments, first: Index, second: Index, conservative: bool = False
) -> PairStatistics:
    """Estimate differences, their standard errors and degrees of freedom, from cases and runs.

    Parameters
    ----------
    moments : Moments
        Of all architectures on common cases.
    first, second : ndarray of int, shape (pairs,)
        Architectures of each pair.
    conservative : bool
        Do not subtract the residual that the case and the run component both contain.

    Returns
    -------
    PairStatistics
        ``SE^2 = max(V_case + V_run - V_residual, V_case, V_run)``.
    """
    run, residual = moments.run, moments.residual
    # An experiment whose runs scatter alike is analysed with one variance for all architectures.
    alike = _scatter_alike(moments)[..., None]
    total = run.df.sum(axis=-1, keepdims=True)
    pooled = (run.df * run.square).sum(axis=-1, keepdims=True) / np.maximum(total, 1)
    fewer = 1 - run.df / np.maximum(run.df.max(axis=-1, keepdims=True), 1)
    least = fewer * run.square.mean(axis=-1, keepdims=True)
    square = np.where(alike, pooled, np.maximum(run.square, least))
    a, b = square[..., first], square[..., second]
    w_a, w_b = run.weight[..., first], run.weight[..., second]
    d_a, d_b = run.df[..., first], run.df[..., second]
    v_run = a * w_a + b * w_b
    v_case = moments.case_variance[..., first, second]
    rest = residual.variance
    v_residual = (rest[..., first] + rest[..., second]) * (not conservative)

    unlike = _ratio(a - b, a + b) ** 2
    equal_df = (w_a + w_b) ** 2 / (w_a**2 / np.maximum(d_a, 1) + w_b**2 / np.maximum(d_b, 1))
    noisier = np.where(a >= b, d_a, d_b)
    alone = noisier - np.minimum(_ALLOWANCE, noisier - _LEAST_DF)
    run_df = np.where(alike, total, (1 - unlike) * equal_df + unlike * alone)
    # The noisier of two unlike architectures has few runs to show it by; its share counts for more.
    share = 1 + unlike * np.sqrt(2 / np.maximum(noisier, 1))

    def freedom(v_case: Array, v_run: Array, v_rest: Array, run_df: Array, rest: Array) -> Array:
        variance = _combined(v_case, v_run, v_rest)
        parts = _ratio(v_case**2, moments.case_df) + v_run**2 / run_df + rest
        return _ratio(variance**2, parts, moments.case_df)

    rest_df = np.maximum(residual.df, 1)
    by_rest = rest**2 / rest_df * (not conservative)
    df = freedom(
        v_case, share * v_run, v_residual, run_df, by_rest[..., first] + by_rest[..., second]
    )
    number = run.square.shape[-1]
    if number > 2:
        upper = np.triu_indices(number, 1)
        mean_case = moments.case_variance[..., upper[0], upper[1]].mean(axis=-1, keepdims=True)
        mean_run = 2 * (square * run.weight).mean(axis=-1, keepdims=True)
        mean_rest = 2 * rest.mean(axis=-1, keepdims=True) * (not conservative)
        usual = np.where(alike, total, 2 * run.df.mean(axis=-1, keepdims=True))
        by_mean = 2 * by_rest.mean(axis=-1, keepdims=True)
        df = np.minimum(df, freedom(mean_case, mean_run, mean_rest, usual, by_mean))
    variance = _combined(v_case, v_run, v_residual)
    return PairStatistics(
        estimate=moments.mean[..., first] - moments.mean[..., second],
        se=np.sqrt(variance),
        # A t distribution needs one degree of freedom.
        df=np.maximum(df, 1.0),
        skew=_ratio(moments.third[..., first, second], variance**1.5),
        v_case=v_case,
        v_run=v_run,
        v_residual=v_residual,
    )


def folds_test(moments: Moments, first: Index, second: Index) -> PairStatistics:
    """Estimate differences from the differences of the folds alone, each weighed by its cases.

    It needs no second seed: another network scores each fold. With equal folds it is the paired t
    over fold means.

    Parameters
    ----------
    moments, first, second
        As for :func:`joint_test`; two folds or more.
    """
    by_fold = moments.fold_means[..., first, :] - moments.fold_means[..., second, :]
    estimate, variance, df = mean_of_folds(by_fold, moments.fold_weights)
    if moments.fold_clusters is not None:
        # Clusters lie in several folds, so the folds are not independent.
        between = moments.fold_clusters[..., first, second]
        cluster = moments.case_variance[..., first, second]
        variance = np.maximum(np.maximum(variance + between, variance), cluster)
        df = min(df, moments.case_df)
    nothing = np.full_like(estimate, np.nan)
    return PairStatistics(
        estimate=estimate,
        se=np.sqrt(variance),
        df=np.full_like(estimate, max(df, 1.0)),
        skew=_ratio(moments.third[..., first, second], variance**1.5),
        v_case=nothing,
        v_run=nothing,
        v_residual=nothing,
    )


def _scatter_alike(moments: Moments) -> NDArray[np.bool_]:
    """Whether nothing says that the runs of any architecture scatter more than those of others.

    Shape (...). An F-test of each architecture against all others, with Bonferroni's correction.
    """
    df, square = moments.run.df, moments.run.square
    others = df.sum(axis=-1, keepdims=True) - df
    rest = (df * square).sum(axis=-1, keepdims=True) - df * square
    ratio = _ratio(square * others, rest, np.inf)
    # All zero: nothing scatters, so nothing scatters more.
    ratio = np.where((square == 0) & (rest == 0), 1.0, ratio)
    p = special.fdtrc(np.maximum(df, 1), np.maximum(others, 1), ratio)
    enough = (others.min(axis=-1) >= _POOL_FROM) & (df.min(axis=-1) > 0)
    enough &= df.min(axis=-1) >= _POOL_FEWEST * df.max(axis=-1)
    return np.asarray(enough & (p.min(axis=-1) * df.shape[-1] > _POOL_P))


def _combined(v_case: Array, v_run: Array, v_residual: Array) -> Array:
    """Variance of the difference; its estimate may not fall below one of its parts."""
    return np.maximum(np.maximum(v_case + v_run - v_residual, v_case), v_run)


def _ratio(above: Array, below: Array | float, otherwise: float = 0.0) -> Array:
    """Divide, with a value where the divisor is 0."""
    below = np.broadcast_to(np.asarray(below, dtype=float), np.shape(above))
    zero = below == 0
    return np.where(zero, otherwise, above / np.where(zero, 1.0, below))
