"""The next trial is the one that can decide most for each device hour."""

from __future__ import annotations

import pytest

from kitsbench.experiments.looks.order import by_worth, worth

OPEN = {("a", "b"): 0.5, ("a", "c"): 0.1, ("b", "c"): 0.9}


def test_worth_counts_half_of_each_open_pair_by_its_chance_and_the_share_of_cases():
    assert worth("a", 10, 40, OPEN) == pytest.approx(0.25 * (0.5 + 0.1) / 2)
    assert worth("b", 10, 40, OPEN) == pytest.approx(0.25 * (0.5 + 0.9) / 2)
    assert worth("d", 10, 40, OPEN) == 0.0
    whole = sum(worth(name, 40, 40, OPEN) for name in "abc")
    assert whole == pytest.approx(sum(OPEN.values()))  # all trials together settle what they can


def test_trials_begin_by_worth_for_each_hour_and_equals_as_planned():
    hours = {"slow": 4.0, "quick": 1.0, "other": 1.0}
    worths = {"slow": 2.0, "quick": 1.0, "other": 1.0}
    assert by_worth([*hours], worths.get, hours.get) == ["quick", "other", "slow"]
    worths["slow"] = 8.0
    assert by_worth([*hours], worths.get, hours.get) == ["slow", "quick", "other"]


def test_who_is_not_known_costs_what_the_others_do_in_the_mean():
    hours = {"cheap": 1.0, "unknown": None, "dear": 9.0}
    worths = dict.fromkeys(hours, 1.0)
    assert by_worth([*hours], worths.get, hours.get) == ["cheap", "unknown", "dear"]
    nothing = dict.fromkeys(hours)
    assert by_worth([*hours], worths.get, nothing.get) == [*hours]
