"""Tests over fold means, over cases, and over overlapping folds; and which one a design allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from kitsbench.errors import UsageError
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.samples import NOISE, case_values, fold_means, size_of
from kitsbench.statistics.tests.twoway import TestResult, can_analyse, t_result, two_way_test

FOLD_T = "fold t"
PAIRED_T = "paired t over cases"
FOLDS_FOR_A_FOLD_TEST = 4


def mean_of_folds(by_fold: Array, weight: Array) -> tuple[Array, Array, float]:
    """Weighted means over folds, their variances and degrees of freedom.

    Parameters
    ----------
    by_fold : ndarray, shape (..., folds)
        One value per fold.
    weight : ndarray, shape (folds,)
        Share of the cases of each fold, so that the mean is that over cases.

    Returns
    -------
    estimate, variance : ndarray, shape (...)
    df : float
        With equal folds these are the numbers of the t-test over fold means.

    Notes
    -----
    The variance is that of a mean over clusters (CR2), with the degrees of freedom of Bell and
    McCaffrey (Survey Methodology 28, 2002): the fewer of those for folds whose variance falls with
    their size and for folds that vary alike.
    """
    estimate = by_fold @ weight
    pull = weight**2 / (1 - weight)
    variance = ((by_fold - estimate[..., None]) ** 2) @ pull
    ones = np.ones((len(weight), len(weight)))
    falling = np.diag(1 / weight) - ones
    alike = np.eye(len(weight)) - np.add.outer(weight, weight) + (weight @ weight) * ones
    root = np.sqrt(np.outer(pull, pull))
    df = min(float(np.trace(root * m) ** 2 / ((root * m) ** 2).sum()) for m in (falling, alike))
    # The correction is exact for variances that fall with the size of a fold. Where the networks
    # make most of them they do not, and it may take too little.
    return estimate, variance * max(1.0, float(weight @ weight / np.trace(root * alike))), df


def fold_test(
    a: Sequence[Array], b: Sequence[Array] | None = None, alpha: float = 0.05
) -> TestResult:
    """Paired t-test over folds (df = folds - 1 where they are equal): the test with one seed.

    Parameters
    ----------
    a, b : sequence of ndarray, shape (cases, seeds)
        Scores per fold; without ``b`` the mean of ``a`` is estimated.
    alpha : float
        1 minus the level of the interval.

    Returns
    -------
    TestResult
        The estimate is the mean over cases: each fold is weighed by its cases, as in a ranking.
    """
    sizes = np.array([len(block) for block in a], dtype=float)
    estimate, variance, df = mean_of_folds(fold_means(a, b), sizes / sizes.sum())
    return t_result(
        FOLD_T, "L1", float(estimate), float(np.sqrt(variance)), df, alpha, **size_of(a, b)
    )


def case_test(
    a: Sequence[Array], b: Sequence[Array] | None = None, alpha: float = 0.05
) -> TestResult:
    """Paired t-test over cases: it speaks of these trained models only (scope L0).

    Parameters
    ----------
    a, b : sequence of ndarray, shape (cases, seeds)
        Scores per fold; without ``b`` the mean of ``a`` is estimated.
    alpha : float
        1 minus the level of the interval.
    """
    d = case_values(a, b)
    return t_result(
        PAIRED_T if b is not None else "t over cases",
        "L0",
        float(d.mean()),
        float(d.std(ddof=1) / np.sqrt(len(d))),
        len(d) - 1,
        alpha,
        **size_of(a, b),
    )


def best_test(
    a: Sequence[Array],
    b: Sequence[Array] | None = None,
    alpha: float = 0.05,
    conservative: bool = False,
) -> TestResult:
    """Run the test with the widest scope that the data allow, on a pair or an architecture alone.

    With a second seed the two-way test; else with four folds or more the fold t; else the paired
    t over cases, scope L0; with a single case no test at all (NaN). A comparison of several
    architectures is made by :func:`~kitsbench.statistics.compare`, which looks at all of them.

    Parameters
    ----------
    a, b : sequence of ndarray, shape (cases, seeds)
        Scores per fold; without ``b`` the mean of ``a`` is estimated.
    alpha : float
        1 minus the level of the interval.
    conservative : bool
        See :func:`~kitsbench.statistics.two_way_test`.
    """
    if can_analyse(a, b):
        return two_way_test(a, b, alpha, conservative)
    if len(a) >= FOLDS_FOR_A_FOLD_TEST:
        return fold_test(a, b, alpha)
    if sum(map(len, a)) >= 2:
        return case_test(a, b, alpha)
    return no_test(a, b, alpha)


def no_test(a: Sequence[Array], b: Sequence[Array] | None, alpha: float) -> TestResult:
    """Estimate a mean or a difference that allows no test: everything but the estimate is NaN."""
    nan = float("nan")
    return t_result("none", "L0", float(case_values(a, b).mean()), nan, nan, alpha, **size_of(a, b))


@dataclass(frozen=True)
class ResampledTest:
    """Result of :func:`nadeau_bengio`."""

    mean: float
    variance: float
    correction: float
    t: float
    df: float
    p_value: float
    ci_low: float
    ci_high: float


def nadeau_bengio(
    differences: ArrayLike,
    test_over_train: float,
    alpha: float = 0.05,
    weights: ArrayLike | None = None,
) -> ResampledTest:
    """Corrected resampled t-test of Nadeau and Bengio (2003).

    The training sets of cross-validation overlap, so fold differences are not independent; the
    variance of their mean is taken as ``(1/J + n_test/n_train) s^2``.

    Parameters
    ----------
    differences : array of float, shape (J,)
        Differences of the folds (seed-averaged: J = folds).
    test_over_train : float
        Test cases over training cases of one fold; 1 / (folds - 1) for cross-validation.
    alpha : float
        1 minus the level of the interval.
    weights : array of float, shape (J,), optional
        Share of the cases of each fold, so that the mean is that over cases where folds differ in
        size; ``1/J`` is then the sum of their squares, and the degrees of freedom are those of
        :func:`mean_of_folds`.

    Raises
    ------
    UsageError
        Fewer than two differences, or a ratio that is not positive.
    """
    d = np.asarray(differences, dtype=float)
    if d.size < 2 or not test_over_train > 0:
        raise UsageError(
            f"The corrected resampled t-test got {d.size} differences and the ratio "
            f"{test_over_train}; it needs two folds or more and a positive ratio."
        )
    share = np.full(d.size, 1 / d.size) if weights is None else np.asarray(weights, dtype=float)
    mean, variance, df = float(d.mean()), float(d.var(ddof=1)), float(d.size - 1)
    taken = float(share @ share)
    if np.ptp(share) > NOISE:
        estimate, of_mean, df = mean_of_folds(d, share)
        mean, variance = float(estimate), float(of_mean) / taken
    correction = taken + test_over_train
    result = t_result(
        "Nadeau-Bengio",
        "L2",
        mean,
        float(np.sqrt(correction * variance)),
        max(df, 1.0),
        alpha,
        n_cases=0,
        n_folds=d.size,
        n_seeds=0,
    )
    return ResampledTest(
        result.estimate,
        variance,
        correction,
        result.t,
        result.df,
        result.p_value,
        result.ci_low,
        result.ci_high,
    )


@dataclass(frozen=True)
class Posterior:
    """Posterior probabilities of :func:`bayesian_test`."""

    first_better: float
    equivalent: float
    second_better: float


def bayesian_test(
    differences: ArrayLike,
    test_over_train: float,
    margin: float,
    higher_is_better: bool = True,
    weights: ArrayLike | None = None,
) -> Posterior:
    """Bayesian correlated t-test with a region of practical equivalence (Benavoli et al. 2017).

    The posterior of the mean difference is a t distribution with the location, scale and degrees
    of freedom of :func:`nadeau_bengio`.

    Parameters
    ----------
    differences : array of float, shape (J,)
        First minus second, by fold.
    test_over_train : float
        As for :func:`nadeau_bengio`.
    margin : float
        Half-width of the region; 0 leaves none.
    higher_is_better : bool
        Direction.
    weights : array of float, shape (J,), optional
        As for :func:`nadeau_bengio`.

    Raises
    ------
    UsageError
        As :func:`nadeau_bengio`.
    """
    found = nadeau_bengio(differences, test_over_train, weights=weights)
    scale = float(np.sqrt(found.correction * found.variance))
    if scale < NOISE:
        low, high = float(found.mean < -margin), float(found.mean > margin)
    else:
        low = float(special.stdtr(found.df, (-margin - found.mean) / scale))
        high = float(special.stdtr(found.df, (found.mean - margin) / scale))
    first, second = (high, low) if higher_is_better else (low, high)
    return Posterior(first, max(0.0, 1 - low - high), second)
