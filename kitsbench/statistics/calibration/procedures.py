"""The procedures whose error rates are measured: this project's own, and the usual naive ones.

Each takes scores of many experiments on two architectures, as
:func:`~kitsbench.statistics.calibration.simulation.simulate` draws them, and tells in which of
them it finds a difference. Our own are the very functions that ``kitsbench compare`` calls, one
experiment at a time; the naive ones are vectorised.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kitsbench.statistics.ranks.demsar import critical_difference
from kitsbench.statistics.ranks.ranking import bootstrap_means, draw
from kitsbench.statistics.tests.folds_and_cases import fold_means, fold_test, nadeau_bengio
from kitsbench.statistics.tests.twoway import TestResult, two_way_test

Array = NDArray[np.float64]
Rejections = NDArray[np.bool_]
Procedure = Callable[[Array], Rejections]
ALPHA = 0.05


def two_way_results(scores: Array) -> list[TestResult]:
    """Results of the two-way test of the first two architectures, one per experiment."""
    return [two_way_test(list(y[0]), list(y[1])) for y in scores]


def _two_way(scores: Array) -> Rejections:
    return np.array([found.p_value < ALPHA for found in two_way_results(scores)])


def _conservative(scores: Array) -> Rejections:
    results = (two_way_test(list(y[0]), list(y[1]), conservative=True) for y in scores)
    return np.array([found.p_value < ALPHA for found in results])


def _folds(scores: Array) -> Rejections:
    return np.array([fold_test(list(y[0]), list(y[1])).p_value < ALPHA for y in scores])


def _nadeau_bengio(scores: Array) -> Rejections:
    folds = scores.shape[2]
    differences = (fold_means(list(y[0])) - fold_means(list(y[1])) for y in scores)
    return np.array([nadeau_bengio(d, 1 / (folds - 1)).p_value < ALPHA for d in differences])


def _two_level_bootstrap(scores: Array) -> Rejections:
    # One set of draws serves all experiments of a call: each of them is bootstrapped fairly.
    sample = [tuple(y) for y in scores[0]]
    draws = draw(sample, 1000, 0)
    low_high = []
    for y in scores:
        means = bootstrap_means([tuple(part) for part in y], draws)
        low_high.append(np.quantile(means[:, 0] - means[:, 1], [ALPHA / 2, 1 - ALPHA / 2]))
    bounds = np.array(low_high)
    return (bounds[:, 0] > 0) | (bounds[:, 1] < 0)


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
    "two-way case x run t": _two_way,
    "two-way, conservative": _conservative,
    "two-level bootstrap interval": _two_level_bootstrap,
    "fold t": _folds,
    "Nadeau-Bengio over folds (scope L2)": _nadeau_bengio,
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


def family_two_way_holm(scores: Array) -> Rejections:
    """Whether the two-way test with Holm's correction separates any of several architectures."""
    return _family(scores, lambda a, b: two_way_test(a, b).p_value)


def family_folds_holm(scores: Array) -> Rejections:
    """The same with the paired t over folds."""
    return _family(scores, lambda a, b: fold_test(a, b).p_value)


def _family(scores: Array, p_value: Callable[[list[Array], list[Array]], float]) -> Rejections:
    found = []
    for y in scores:
        methods = [list(part) for part in y]
        p = [p_value(a, b) for a, b in combinations(methods, 2)]
        # Holm rejects something exactly if the smallest p-value, times their number, is below
        # alpha; adjusting all of them a hundred thousand times would take hours.
        found.append(min(p) * len(p) < ALPHA)
    return np.array(found)


def family_wilcoxon(scores: Array, correction: str | None) -> Rejections:
    """Whether Wilcoxon over cases of one seed separates any pair, with or without Holm."""
    cases = scores[..., 0].reshape(len(scores), scores.shape[1], -1)
    pairs = list(combinations(range(scores.shape[1]), 2))
    p = np.stack(
        [stats.wilcoxon(cases[:, i] - cases[:, j], axis=1, method="asymptotic").pvalue
         for i, j in pairs], axis=1)  # fmt: skip
    factor = len(pairs) if correction == "holm" else 1
    return p.min(axis=1) * factor < ALPHA


def family_nemenyi(scores: Array) -> Rejections:
    """Whether Friedman's test and then Nemenyi's difference separate any pair, one seed."""
    cases = scores[..., 0].reshape(len(scores), scores.shape[1], -1)
    k, n = cases.shape[1:]
    ranks = stats.rankdata(-cases, axis=1)
    means = ranks.mean(axis=2)
    within = (ranks**2).sum(axis=(1, 2)) - n * k * (k + 1) ** 2 / 4
    chi2 = n**2 * (k - 1) * ((means - (k + 1) / 2) ** 2).sum(axis=1) / within
    apart = np.ptp(means, axis=1) > critical_difference(k, n, ALPHA)
    return (stats.chi2.sf(chi2, k - 1) < ALPHA) & apart
