"""Tests over folds and cases: against trusted tools, and what holds for every design."""

from __future__ import annotations

import numpy as np
import pytest
from designs import MANY, designs, fields, pair
from hypothesis import given
from hypothesis import strategies as st
from references import close
from score_tables import by_fold

from kitsbench import statistics as ks
from kitsbench.statistics import best_test, effect_sizes
from kitsbench.statistics.tests.folds_and_cases import bayesian_test


def test_one_seed_falls_back_to_the_fold_test(golden):
    case = golden("two_way_case_run")["single_seed_fallback"]
    a, b = (by_fold(case[f"scores_{name}"], case["fold"]) for name in "AB")
    found, want = ks.best_test(a, b), case["expected"]
    assert (found.test, found.scope) == ("fold t", "L1")
    close(found.estimate, np.mean(want["fold_mean_differences"]))
    close([found.t, found.df, found.p_value], [want["t"], want["df"], want["p"]])
    close([found.ci_low, found.ci_high], want["ci95"])


def test_nadeau_bengio(golden):
    for case in golden("corrected_resampled_t")["cases"]:
        found = ks.nadeau_bengio(case["differences"], case["n_test"] / case["n_train"])
        want = case["expected"]
        close(
            [found.mean, found.variance, found.correction, found.t, found.df, found.p_value],
            [want[k] for k in ("mean", "variance_ddof1", "correction", "t", "df", "p_two_sided")],
        )
        close([found.ci_low, found.ci_high], want["ci95"])


def test_posterior_of_the_correlated_t_test(golden):
    checked = 0
    for case in golden("corrected_resampled_t")["cases"]:
        want = case.get("expected_baycomp") or {}
        if want.get("p_left") is None:
            continue
        # baycomp derives the ratio from the number of folds.
        found = bayesian_test(case["differences"], 1 / (case["folds"] - 1), 0)
        close([found.first_better, found.second_better], [want["p_left"], want["p_right"]])
        checked += 1
        wide = bayesian_test(case["differences"], 1 / (case["folds"] - 1), 0.02)
        assert wide.first_better + wide.equivalent + wide.second_better == pytest.approx(1)
        assert wide.equivalent > 0
    assert checked >= 3


@MANY
@given(designs())
def test_swapping_a_pair_turns_the_sign(design):
    a, b = pair(design)
    there, back = best_test(a, b), best_test(b, a)
    np.testing.assert_allclose(there.estimate, -back.estimate, atol=1e-12)
    np.testing.assert_allclose(fields(there)[1:4], fields(back)[1:4], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([there.ci_low, there.ci_high], [-back.ci_high, -back.ci_low],
                               atol=1e-9)  # fmt: skip
    forward, reverse = effect_sizes(a, b), effect_sizes(b, a)
    assert (forward.win, forward.tie, forward.loss) == (reverse.loss, reverse.tie, reverse.win)
    np.testing.assert_allclose(forward.rank_biserial, -reverse.rank_biserial)
    np.testing.assert_allclose(forward.probability_better, 1 - reverse.probability_better)
    np.testing.assert_allclose(forward.hodges_lehmann, -reverse.hodges_lehmann, atol=1e-12)


@MANY
@given(designs(), st.floats(-0.5, 0.5))
def test_a_common_shift_changes_nothing(design, shift):
    a, b = pair(design)
    moved = best_test([x + shift for x in a], [y + shift for y in b])
    np.testing.assert_allclose(fields(moved), fields(best_test(a, b)), rtol=1e-6, atol=1e-9)


@MANY
@given(designs(steps=st.just(1000)), st.floats(0.1, 10))
def test_units_do_not_matter(design, scale):
    a, b = pair(design)
    small, large = best_test(a, b), best_test([scale * x for x in a], [scale * y for y in b])
    np.testing.assert_allclose(large.estimate, scale * small.estimate, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(large.p_value, small.p_value, rtol=1e-6, atol=1e-9)


@MANY
@given(designs())
def test_the_test_is_never_undefined(design):
    a, b = pair(design)
    found = best_test(a, b)
    if sum(map(len, a)) > 1:
        assert np.isfinite(fields(found)).all()
        assert 0 <= found.p_value <= 1
        assert found.ci_low <= found.estimate <= found.ci_high
        assert found.df >= 1
