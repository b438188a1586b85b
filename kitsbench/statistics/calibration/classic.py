"""The test that a comparison runs, and the one pair by pair that it is measured against."""

from __future__ import annotations

import numpy as np

from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.joint import (
    FEWEST_RUN_DF,
    PairStatistics,
    folds_test,
    joint_test,
)
from kitsbench.statistics.tests.moments import Index, Moments


def recommended_test(moments: Moments, first: Index, second: Index) -> PairStatistics:
    """Test pairs as ``kitsbench compare`` does in a complete design that allows a verdict.

    Parameters
    ----------
    moments : Moments
        Of a complete design.
    first, second : ndarray of int, shape (pairs,)
        Architectures of each pair.
    """
    if moments.run.df.min() >= FEWEST_RUN_DF:
        return joint_test(moments, first, second)
    return folds_test(moments, first, second)


def classic_test(
    moments: Moments, first: Index, second: Index, conservative: bool = False
) -> PairStatistics:
    """Two-way test of each pair by itself, of many experiments of a balanced design.

    :func:`~kitsbench.statistics.tests.twoway.two_way_test` in arrays.

    Parameters
    ----------
    moments, first, second
        As for :func:`recommended_test`.
    conservative : bool
        Do not subtract the residual that the case and the run component both contain.
    """

    def of(values: Array) -> Array:
        return values[..., first] + values[..., second]

    case, run = moments.case_variance[..., first, second], of(moments.run.variance)
    rest = of(moments.residual.variance) * (not conservative)
    variance = np.maximum(np.maximum(case + run - rest, case), run)
    # Both architectures have the same number of runs, so their degrees of freedom add up.
    parts = case**2 / max(moments.case_df, 1) + run**2 / np.maximum(of(moments.run.df), 1)
    parts += rest**2 / np.maximum(of(moments.residual.df), 1)
    return PairStatistics(
        estimate=moments.mean[..., first] - moments.mean[..., second],
        se=np.sqrt(variance),
        df=np.maximum(variance**2 / np.where(parts > 0, parts, np.inf), 1.0),
        skew=np.zeros_like(variance),
        v_case=case,
        v_run=run,
        v_residual=rest,
    )
