"""What looks are expected to take."""

from __future__ import annotations

import pytest

from kitsbench.errors import UsageError
from kitsbench.statistics import Components, LookPlan
from kitsbench.statistics.looks import foresight
from kitsbench.statistics.looks.foresight import expected_hours, share_of


def test_wide_ladders_stop_soon_and_no_state_takes_more_than_the_fixed_design():
    plan = LookPlan(4, margin=0.02)
    found = {
        state["state"]: state
        for state in expected_hours(plan, Components(), 100, 5, 4, gap=0.1, experiments=60)
    }
    assert list(found) == ["all equal", "one ahead", "two groups", "ladder"]
    for state in found.values():
        assert state["fixed_runs"] == 80
        assert state["runs_low"] <= state["runs"] <= state["runs_high"] <= 80
    assert found["ladder"]["part"] < 0.7
    assert found["ladder"]["power"] > 0.95
    assert found["all equal"]["power"] is None
    again = expected_hours(plan, Components(), 100, 5, 4, gap=0.1, experiments=60)
    assert again == list(found.values())


def test_two_architectures_have_two_states():
    states = expected_hours(LookPlan(3), Components(), 60, 5, 2, gap=0.05, experiments=60)
    assert [state["state"] for state in states] == ["all equal", "one ahead"]


def test_of_many_cases_only_the_variance_of_their_mean_matters():
    few, many = Components(0.05, 0.05, 0.01), Components(0.5, 0.5, 0.01)
    one, other = (
        expected_hours(LookPlan(3), components, cases, 5, 3, gap=0.05, experiments=60)
        for components, cases in ((few, 1000), (many, 100_000))
    )
    assert one == other


def test_large_designs_are_drawn_in_parts(monkeypatch):
    design = (LookPlan(3), Components(), 60, 5, 3)
    whole = expected_hours(*design, gap=0.05, experiments=100)
    monkeypatch.setattr(foresight, "_SCORES", 30 * 3 * 60 * 3)
    parts = expected_hours(*design, gap=0.05, experiments=100)
    for one, other in zip(whole, parts, strict=True):
        assert other["fixed_runs"] == one["fixed_runs"]
        assert other["part"] == pytest.approx(one["part"], abs=0.05)


def test_what_never_scatters_is_found_by_looks_too():
    states = expected_hours(LookPlan(3), Components(0, 0, 0), 60, 5, 3, gap=0.02, experiments=10)
    assert [state["power"] for state in states] == [None, 1.0, 1.0, 1.0]


def test_the_share_of_the_cases_is_that_of_the_variance_that_is_left():
    assert share_of(Components(0.1, 0.0, 0.0), 100, 5, 3) == 0.9
    assert share_of(Components(0.0, 0.1, 0.0), 100, 5, 3) == 0.0
    # 0.05^2 / 100 of the cases, 0.05^2 / 300 of the noise: three of four parts.
    assert share_of(Components(0.05, 0.05, 0.0), 100, 5, 3) == 0.75
    assert share_of(Components(0.0, 0.0, 0.0), 100, 5, 3) == 0.5


@pytest.mark.parametrize(
    ("folds", "looks", "gap", "message"),
    [(1, 2, 0.02, "allow no verdict: nothing can be decided"), (5, 3, 0.0, "a positive gap")],
)
def test_plans_that_decide_nothing_are_refused(folds, looks, gap, message):
    with pytest.raises(UsageError, match=message):
        expected_hours(LookPlan(looks), Components(), 60, folds, 3, gap=gap)


def test_against_a_baseline_only_its_pairs_keep_architectures_in_training():
    asked = LookPlan(4, "baseline", baseline="first", margin=0.02)
    design = (Components(), 100, 5, 4)
    few = {s["state"]: s for s in expected_hours(asked, *design, gap=0.1, experiments=60)}
    all_of = {
        s["state"]: s
        for s in expected_hours(LookPlan(4, margin=0.02), *design, gap=0.1, experiments=60)
    }
    assert few["one ahead"]["power"] > 0.95
    assert few["one ahead"]["runs"] < all_of["one ahead"]["runs"]
