"""The interval of the mean of one architecture, with clusters of cases where there are any."""

from __future__ import annotations

import math

import numpy as np

from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.tests.folds_and_cases import (
    FOLD_T,
    FOLDS_FOR_A_FOLD_TEST,
    best_test,
    no_test,
)
from kitsbench.statistics.tests.joint import folds_test
from kitsbench.statistics.tests.moments import moments_of
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.samples import size_of
from kitsbench.statistics.tests.twoway import (
    Component,
    TestResult,
    can_analyse,
    t_result,
    two_way_test,
)


def interval_of_mean(blocks: ScoreBlocks, name: str, rule: Rule) -> TestResult:
    """Estimate the mean of an architecture on the folds that all share.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    name : str
        The architecture.
    rule : Rule
        Its level.

    Returns
    -------
    TestResult
        By the test with the widest scope that the data allow, see
        :func:`~kitsbench.statistics.tests.folds_and_cases.best_test`; without an interval where
        clusters are too few.
    """
    scores, clusters = blocks.values[name], blocks.cluster_numbers(blocks.folds)
    if clusters is None:
        return best_test(scores, None, rule.alpha, rule.conservative)
    # The difference to an architecture that scores 0 is the mean itself.
    moments = moments_of([scores, [np.zeros_like(block) for block in scores]], clusters)
    variance, df = float(moments.case_variance[0, 1]), moments.case_df
    if df < 1:
        return no_test(scores, None, rule.alpha)
    if can_analyse(scores):
        case = Component(variance, df, 1.0)
        return two_way_test(scores, None, rule.alpha, rule.conservative, case)
    test, scope, se = "t over cases", "L0", math.sqrt(variance)
    if len(scores) >= FOLDS_FOR_A_FOLD_TEST:
        found = folds_test(moments, np.array([0]), np.array([1]))
        test, scope, se, df = FOLD_T, "L1", float(found.se[0]), float(found.df[0])
    mean = float(moments.mean[0])
    return t_result(test, scope, mean, se, df, rule.alpha, **size_of(scores))
