"""Power and detectable gaps: against statsmodels, and between their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from designs import MANY
from hypothesis import example, given
from hypothesis import strategies as st
from references import close
from scipy import stats

from kitsbench import statistics as ks
from kitsbench.statistics import smallest_detectable_gap


def test_power_of_a_paired_t_test(golden):
    for case in golden("power_paired_t")["cases"]:
        want = case["expected"]
        for n in (42, 210):
            se = case["sd_diff"] / np.sqrt(n)
            power = ks.paired_power(case["gap"], se, n - 1, case["alpha"])
            close(power, want[f"power_at_{n}"])
        n = want["n"]
        se = case["sd_diff"] / np.sqrt(n)
        gap = ks.smallest_detectable_gap(se, n - 1, case["alpha"], case["power"])
        close(gap, case["gap"], rel=1e-5)


@MANY
@example(1.0, 1.0, 0.001, 0.9375)
@given(st.floats(1, 500), st.floats(1e-4, 10), st.floats(0.001, 0.2), st.floats(0.5, 0.95))
def test_the_detectable_gap_is_between_its_bounds(df, se, alpha, power):
    gap = smallest_detectable_gap(se, df, alpha, power)
    assert np.isfinite(gap)
    assert gap <= smallest_detectable_gap(se, df, alpha, min(0.99, power + 0.02))
    assert gap >= smallest_detectable_gap(se, df + 10, alpha, power) * (1 - 1e-5)


def test_power_far_out():
    # With one degree of freedom the standard error is the size of a standard normal number.
    for alpha in (1e-5, 1e-8):
        critical = stats.t(1).isf(alpha / 2)
        for part in (0.5, 1, 2):
            power = ks.paired_power(part * critical, 1, 1, alpha)
            assert power == pytest.approx(1 - 2 * stats.norm.sf(part), abs=1e-7)
        gap = ks.smallest_detectable_gap(1, 1, alpha)
        assert gap == pytest.approx(stats.norm.isf(0.1) * critical, rel=1e-6)
    near, far = (ks.paired_power(shift, 1, 2, 1e-8) for shift in (9_999.9, 10_000.1))
    assert near == pytest.approx(far, abs=2e-5)
