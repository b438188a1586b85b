"""Estimates by the order of looks, against Student's t and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kitsbench.statistics.looks.ordering import as_high, ordered, reach


def test_with_one_look_the_interval_is_that_of_students_t():
    estimate, se, df = np.array([0.03, -0.01]), np.array([0.01, 0.02]), np.array([4.0, 60.0])
    found = ordered(estimate, se, df, np.ones((1, 2)), np.empty((0, 2)))
    low, high = stats.t.interval(0.95, df, estimate, se)
    assert found.estimate == pytest.approx(estimate, abs=1e-9)
    assert found.low == pytest.approx(low, abs=1e-8)
    assert found.high == pytest.approx(high, abs=1e-8)


def test_intervals_of_pairs_that_stop_early_cover_and_their_estimates_are_not_too_large():
    rng = np.random.default_rng(0)
    information, theta, number = np.array([0.4, 0.7, 1.0]), 2.2, 40_000
    bounds = np.array([3.2, 2.4, 2.0])
    steps = np.diff(information, prepend=0.0)
    score = (rng.standard_normal((number, 3)) * np.sqrt(steps) + theta * steps).cumsum(axis=1)
    estimate, se = score / information, 1 / np.sqrt(information)
    crossed = np.abs(estimate / se) >= bounds
    stop = np.where(crossed.any(axis=1), crossed.argmax(axis=1), 2)
    above, inside = [], []
    for k in range(3):
        rows = np.flatnonzero(stop == k)
        size = len(rows)
        used = np.repeat(reach(bounds[:k], se[:k], np.full(k, 1e6))[:, None], size, axis=1)
        known = np.repeat((information[: k + 1] / information[k])[:, None], size, axis=1)
        figures = (estimate[rows, k], np.full(size, se[k]), np.full(size, 1e6), known, used)
        high = as_high(np.full(size, theta), *figures)
        inside.append(np.abs(high - 0.5) <= 0.475)
        above.append(high < 0.5)  # the median-unbiased estimate lies above the true value
    assert np.concatenate(inside).mean() == pytest.approx(0.95, abs=0.005)
    assert np.concatenate(above).mean() == pytest.approx(0.5, abs=0.01)
    naive = estimate[np.arange(number), stop]
    assert naive.mean() > theta + 0.05


def test_the_estimate_of_a_pair_that_crossed_early_lies_below_the_naive_one():
    one = ordered(
        np.array([3.0]), np.array([1.0]), np.array([50.0]), np.array([[0.6], [1.0]]),
        np.array([[3.4]]),
    )  # fmt: skip
    assert one.estimate[0] < 3.0
    assert one.low[0] < one.estimate[0] < one.high[0]


@pytest.mark.parametrize("found", [0.02, 0.2, 2.0])
def test_where_no_look_before_could_end_it_any_difference_is_its_own_estimate(found):
    first = np.array([found]), np.array([0.004]), np.array([20.0])
    alone = ordered(*first, np.ones((1, 1)), np.empty((0, 1)))
    late = ordered(*first, np.array([[0.5], [0.75], [1.0]]), np.full((2, 1), np.inf))
    assert late.estimate == pytest.approx(alone.estimate)
    assert late.low == pytest.approx(alone.low)
    assert late.high == pytest.approx(alone.high)
