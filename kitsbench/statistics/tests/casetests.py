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

from kitsbench.errors import UsageError
from kitsbench.statistics.tests.folds_and_cases import best_test, case_test, case_values
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.twoway import Array, TestResult

_DECIMALS = 12  # decimal scores differ by 1e-17 where they are equal; ranks need true ties
_EXACT_UP_TO = 18  # differences: 2**18 sign vectors take a hundredth of a second
_RESAMPLES = 99_999


def wilcoxon_test(
    differences: ArrayLike,
    zeros: str = "wilcox",
    alternative: str = "two-sided",
    correction: bool = False,
    method: str = "asymptotic",
) -> tuple[float, float]:
    """Wilcoxon signed-rank test.

    Parameters
    ----------
    differences : array of float
        One per case; rounded to 1e-12 before they are ranked.
    zeros : {"wilcox", "pratt", "zsplit"}
        What happens to ties.
    alternative : {"two-sided", "greater", "less"}
        Hypothesis.
    correction : bool
        Continuity correction.
    method : {"asymptotic", "exact"}
        ``exact`` flips the signs of the ranks found, so it is right with ties too; ``zsplit``
        and ``correction`` have no exact form. Never chosen by the data: the automatic choice of
        libraries depends on their version.

    Returns
    -------
    statistic, p_value : float
        With all differences zero the statistic is 0 and the p-value 1.
    """
    d = np.round(np.asarray(differences, dtype=float), _DECIMALS)
    if not np.any(d):
        return 0.0, 1.0
    if method == "exact":
        return _exact(d, zeros, alternative)
    found = stats.wilcoxon(
        d, zero_method=zeros, correction=correction, alternative=alternative, method=method
    )
    return float(found.statistic), float(found.pvalue)


def _exact(d: Array, zeros: str, alternative: str) -> tuple[float, float]:
    if zeros == "wilcox":
        d = d[d != 0]
    ranks = np.sign(d) * stats.rankdata(np.abs(d))
    above, below = float(ranks[ranks > 0].sum()), float(-ranks[ranks < 0].sum())
    statistic = min(above, below) if alternative == "two-sided" else above
    return statistic, sign_flip_test(ranks, alternative)


def sign_flip_test(
    differences: ArrayLike, alternative: str = "two-sided", random_seed: int = 0
) -> float:
    """Permutation test of the mean difference: under no difference each sign is a coin toss.

    Parameters
    ----------
    differences : array of float
        One per case.
    alternative : {"two-sided", "greater", "less"}
        Hypothesis about the mean.
    random_seed : int
        Of the random signs; used only above 18 differences that are not zero, below which all
        sign vectors are enumerated.

    Returns
    -------
    float
        P-value; the observed signs count as one of the draws, so it is never 0.
    """
    d = np.round(np.asarray(differences, dtype=float), _DECIMALS)
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
    slack = 1e-9 * max(1.0, float(np.abs(d).sum()))
    observed = d.sum()
    hits = {
        "greater": sums >= observed - slack,
        "less": sums <= observed + slack,
        "two-sided": np.abs(sums) >= abs(observed) - slack,
    }
    if alternative not in hits:
        raise UsageError(f"There is no alternative '{alternative}'; choose {', '.join(hits)}.")
    return float((np.count_nonzero(hits[alternative]) + extra) / (sums.size + extra))


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
    d = case_values(a) - case_values(b)
    paired = case_test(a, b, rule.alpha)
    if rule.test == "permutation":
        title = "sign-flip permutation over cases"
        return replace(paired, test=title, p_value=sign_flip_test(d))
    # Many small wins against few large losses: the ranks favour one, the mean the other.
    upwards = wilcoxon_test(d, alternative="greater")[1] < 0.5
    return replace(
        paired,
        test="Wilcoxon signed-rank over cases",
        p_value=wilcoxon_test(d)[1],
        contradicted=upwards != (paired.estimate > 0),
    )
