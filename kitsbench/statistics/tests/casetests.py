"""Tests over cases: they speak of the trained models (scope L0), never of architectures.

All cases of a fold share one trained network, so these tests find differences between equal
architectures far too often (see :mod:`kitsbench.statistics.calibration.rates`). They are here
because papers use them, and because with one training run there is nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kitsbench.errors import UsageError
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.folds_and_cases import PAIRED_T, case_test, no_test
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.samples import case_values, size_of, tied
from kitsbench.statistics.tests.twoway import TestResult, t_result

CASE_TESTS = ("sign-flip permutation over cases", "Wilcoxon signed-rank over cases")
"""Tests of trained models that were asked for; their verdicts are about those models."""

_EXACT_UP_TO = 18  # differences: 2**18 sign vectors take a hundredth of a second
_RESAMPLES = 99_999


def wilcoxon_test(differences: ArrayLike, alternative: str = "two-sided") -> float:
    """Wilcoxon signed-rank test by the normal approximation, without continuity correction.

    Differences of zero are dropped. The method is never chosen by the data: the automatic choice of
    libraries depends on their version.

    Parameters
    ----------
    differences : array of float
        One per case; rounded to 1e-12 before they are ranked.
    alternative : {"two-sided", "greater", "less"}
        Hypothesis.

    Returns
    -------
    float
        P-value; 1 where all differences are zero.
    """
    d = tied(differences)
    if not np.any(d):
        return 1.0
    found = stats.wilcoxon(
        d, zero_method="wilcox", correction=False, alternative=alternative, method="asymptotic"
    )
    return float(found.pvalue)


def sign_flip_test(differences: ArrayLike, random_seed: int = 0) -> float:
    """Permutation test of the mean difference: under no difference each sign is a coin toss.

    Parameters
    ----------
    differences : array of float
        One per case.
    random_seed : int
        Of the random signs; used only above 18 differences that are not zero, below which all
        sign vectors are enumerated.

    Returns
    -------
    float
        Two-sided p-value; the observed signs count as one of the draws, so it is never 0.
    """
    d = tied(differences)
    d = d[d != 0]  # a zero has no sign to flip
    if d.size <= _EXACT_UP_TO:
        sums = np.zeros(1)
        for value in d:
            sums = np.concatenate([sums + value, sums - value])
        extra = 0
    else:
        rng = np.random.default_rng(random_seed)
        signs = rng.integers(0, 2, (_RESAMPLES, d.size), dtype=np.int8)
        sums = (2.0 * signs - 1) @ d
        extra = 1
    # Sums of decimals that are equal differ by rounding; the observed one must find itself.
    slack = 1e-9 * max(1.0, float(np.abs(d).sum()))
    hits = np.count_nonzero(np.abs(sums) >= abs(d.sum()) - slack)
    return float((hits + extra) / (sums.size + extra))


def run_test(
    a: Sequence[Array],
    b: Sequence[Array],
    rule: Rule,
    clusters: tuple[float, float] | None = None,
) -> TestResult:
    """Test the trained models of a pair (scope L0).

    Parameters
    ----------
    a, b : sequence of ndarray, shape (cases, seeds)
        Scores per fold.
    rule : Rule
        Its ``test``: ``auto`` is the paired t. All take seed-averaged cases, and the interval and
        the statements about margins are those of the paired t.
    clusters : tuple of float, optional
        Variance of the difference of means between clusters of cases, and its degrees of freedom,
        where cases depend on each other.
    """
    if sum(map(len, a)) < 2:
        return no_test(a, b, rule.alpha)
    paired = case_test(a, b, rule.alpha)
    if rule.test == "auto" and clusters is None:
        return paired
    d = case_values(a, b)
    if clusters is not None:
        if rule.test != "auto":
            raise UsageError(
                f"The test '{rule.test}' takes every case by itself, but the cases are given in "
                "clusters; leave out the clusters, or choose the test auto."
            )
        variance, df = clusters
        if df < 1:
            return no_test(a, b, rule.alpha)
        return t_result(
            PAIRED_T, "L0", float(d.mean()), math.sqrt(variance), df, rule.alpha, **size_of(a, b)
        )
    if rule.test == "permutation":
        return replace(paired, test=CASE_TESTS[0], p_value=sign_flip_test(d))
    # Many small wins against few large losses: the ranks favour one, the mean the other.
    upwards = wilcoxon_test(d, "greater") < 0.5
    return replace(
        paired,
        test=CASE_TESTS[1],
        p_value=wilcoxon_test(d),
        contradicted=upwards != (paired.estimate > 0),
    )
