"""Tests over cases: they speak of the trained models (scope L0), never of architectures.

All cases of a fold share one trained network, so these tests find differences between equal
architectures far too often (see :mod:`kitsbench.statistics.calibration.rates`). They are here
because papers use them, and because with one training run there is nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.folds_and_cases import best_test, case_test
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.samples import case_values, tied
from kitsbench.statistics.tests.twoway import TestResult

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


def run_test(a: Sequence[Array], b: Sequence[Array], rule: Rule) -> TestResult:
    """Test a pair by the test that was asked for.

    Parameters
    ----------
    a, b : sequence of ndarray, shape (cases, seeds)
        Scores per fold.
    rule : Rule
        Its ``test``: ``auto`` is :func:`~kitsbench.statistics.best_test`. The others take
        seed-averaged cases and have scope L0; their interval and the test of equivalence are
        those of the paired t.
    """
    if rule.test == "auto" or sum(map(len, a)) < 2:
        return best_test(a, b, rule.alpha, rule.conservative)
    d = case_values(a, b)
    paired = case_test(a, b, rule.alpha)
    if rule.test == "permutation":
        title = "sign-flip permutation over cases"
        return replace(paired, test=title, p_value=sign_flip_test(d))
    # Many small wins against few large losses: the ranks favour one, the mean the other.
    upwards = wilcoxon_test(d, "greater") < 0.5
    return replace(
        paired,
        test="Wilcoxon signed-rank over cases",
        p_value=wilcoxon_test(d),
        contradicted=upwards != (paired.estimate > 0),
    )
