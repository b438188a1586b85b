"""The procedures whose error rates are measured: this project's own, and the usual naive ones.

Each takes scores of many experiments on two architectures, as
:func:`~kitsbench.statistics.calibration.simulation.simulate` draws them, and tells in which of
them it finds a difference. The joint analysis and the test over folds are the very functions that
``kitsbench compare`` calls, on many experiments at once.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kitsbench.statistics.calibration.classic import classic_test, recommended_test
from kitsbench.statistics.ranks.demsar import critical_difference
from kitsbench.statistics.ranks.ranking import bootstrap_means, draw, percentile_interval
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.families import adjust, exceeds_p
from kitsbench.statistics.tests.folds_and_cases import FOLD_T, nadeau_bengio
from kitsbench.statistics.tests.joint import PairStatistics, folds_test
from kitsbench.statistics.tests.moments import Index, Moments, moments_of_many
from kitsbench.statistics.tests.samples import fold_means
from kitsbench.statistics.tests.twoway import TWO_WAY

Rejections = NDArray[np.bool_]
Procedure = Callable[[Array], Rejections]
PValue = Callable[[list[Array], list[Array]], float]
ALPHA = 0.05


_FIRST, _SECOND = np.array([0]), np.array([1])


def two_way_results(scores: Array, conservative: bool = False) -> PairStatistics:
    """Two-way test of the first two architectures by themselves, arrays (experiments, 1)."""
    return classic_test(moments_of_many(scores[:, :2]), _FIRST, _SECOND, conservative)


def p_values(found: PairStatistics) -> Array:
    """P-values that there is no difference."""
    return exceeds_p(found.estimate, found.se, found.df, 0.0)


def _two_way(scores: Array) -> Rejections:
    return p_values(two_way_results(scores))[:, 0] < ALPHA


def _conservative(scores: Array) -> Rejections:
    return p_values(two_way_results(scores, conservative=True))[:, 0] < ALPHA


def _joint(scores: Array) -> Rejections:
    moments = moments_of_many(scores[:, :2])
    return p_values(recommended_test(moments, _FIRST, _SECOND))[:, 0] < ALPHA


def _fold_t(scores: Array) -> Rejections:
    return p_values(folds_test(moments_of_many(scores[:, :2]), _FIRST, _SECOND))[:, 0] < ALPHA


def _nadeau_bengio(a: list[Array], b: list[Array]) -> float:
    return nadeau_bengio(fold_means(a, b), 1 / (len(a) - 1)).p_value


def _one_by_one(p_value: PValue) -> Procedure:
    """Test the first two architectures of each experiment."""
    return lambda scores: np.array([p_value(list(y[0]), list(y[1])) < ALPHA for y in scores])


def _two_level_bootstrap(scores: Array) -> Rejections:
    # All experiments at once, as if they were architectures on one set of cases: one set of draws
    # of cases serves them all, and each of them is bootstrapped fairly.
    methods = [tuple(part) for y in scores for part in y[:2]]
    means = bootstrap_means(methods, draw(methods, 1000, 0))
    low, high = percentile_interval(means[:, ::2] - means[:, 1::2], ALPHA)
    return (low > 0) | (high < 0)


def _difference(scores: Array) -> Array:
    return scores[:, 0] - scores[:, 1]


def _rows(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _wilcoxon(d: Array) -> Rejections:
    return stats.wilcoxon(d, axis=1, method="asymptotic").pvalue < ALPHA


def _t(d: Array) -> Rejections:
    return stats.ttest_1samp(d, 0, axis=1).pvalue < ALPHA


def _welch(scores: Array) -> Rejections:
    folds = scores.mean(axis=(3, 4))
    return stats.ttest_ind(folds[:, 0], folds[:, 1], axis=1, equal_var=False).pvalue < ALPHA


OWN: dict[str, Procedure] = {
    TWO_WAY: _two_way,
    "two-way, conservative": _conservative,
    "what compare runs on a pair": _joint,
    "two-level bootstrap interval": _two_level_bootstrap,
    FOLD_T: _fold_t,
    "Nadeau-Bengio over folds (scope L2)": _one_by_one(_nadeau_bengio),
}
"""Procedures of this project."""

NAIVE: dict[str, Procedure] = {
    "Wilcoxon over cases, one seed": lambda y: _wilcoxon(_rows(_difference(y)[..., 0])),
    "paired t over cases, one seed": lambda y: _t(_rows(_difference(y)[..., 0])),
    "Wilcoxon over case x seed rows": lambda y: _wilcoxon(_rows(_difference(y))),
    "Wilcoxon over seed-averaged cases": lambda y: _wilcoxon(_rows(_difference(y).mean(axis=3))),
    "paired t over seed-averaged cases": lambda y: _t(_rows(_difference(y).mean(axis=3))),
    "paired t over fold x seed means": lambda y: _t(_rows(_difference(y).mean(axis=2))),
    "paired t over seeds": lambda y: _t(_difference(y).mean(axis=(1, 2))),
    "Welch t on mean ± SD over folds": _welch,
}
"""What papers do: the negative controls, and two that err in the other direction."""


def family_joint_holm(scores: Array) -> Rejections:
    """Whether the joint analysis with Holm's correction separates any of several architectures."""
    return _family(scores, recommended_test)


def family_folds_holm(scores: Array) -> Rejections:
    """The same with the paired t over folds."""
    return _family(scores, folds_test)


def _family(scores: Array, test: Callable[[Moments, Index, Index], PairStatistics]) -> Rejections:
    first, second = np.triu_indices(scores.shape[1], 1)
    p = p_values(test(moments_of_many(scores), first, second))
    return np.asarray((adjust(p) < ALPHA).any(axis=-1))


def _first_seed(scores: Array) -> Array:
    """Scores of one training run, shape (experiments, architectures, cases)."""
    return scores[..., 0].reshape(len(scores), scores.shape[1], -1)


def family_wilcoxon(scores: Array, correction: str | None) -> Rejections:
    """Whether Wilcoxon over cases of one seed separates any pair, with or without Holm."""
    cases = _first_seed(scores)
    pairs = list(combinations(range(scores.shape[1]), 2))
    p = np.stack(
        [stats.wilcoxon(cases[:, i] - cases[:, j], axis=1, method="asymptotic").pvalue
         for i, j in pairs], axis=1)  # fmt: skip
    factor = len(pairs) if correction == "holm" else 1
    return p.min(axis=1) * factor < ALPHA


def family_nemenyi(scores: Array) -> Rejections:
    """Whether Friedman's test and then Nemenyi's difference separate any pair, one seed."""
    cases = _first_seed(scores)
    k, n = cases.shape[1:]
    ranks = stats.rankdata(-cases, axis=1)
    means = ranks.mean(axis=2)
    within = (ranks**2).sum(axis=(1, 2)) - n * k * (k + 1) ** 2 / 4
    chi2 = n**2 * (k - 1) * ((means - (k + 1) / 2) ** 2).sum(axis=1) / within
    apart = np.ptp(means, axis=1) > critical_difference(k, n, ALPHA)
    return (stats.chi2.sf(chi2, k - 1) < ALPHA) & apart
