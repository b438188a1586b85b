"""Pairs that are not worth the rounds of those who train for one another alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from score_tables import long_table

from kitsbench.statistics import LookPlan, take_look
from kitsbench.statistics.calibration.looks import LookCell, measure_looks
from kitsbench.statistics.calibration.simulation import simulate
from kitsbench.statistics.looks.sharing import least_hope, shared_hope

SEED = 35


@pytest.mark.parametrize("number", [2, 5, 12])
def test_what_a_group_may_settle_is_shared_by_its_members(number):
    rng = np.random.default_rng(number)
    first, second = np.triu_indices(number, 1)
    going = rng.random((30, len(first))) < 1 / number
    chance = rng.random(going.shape)
    found = shared_hope(np.where(going, chance, 0.0), going, first, second, number)
    for row in range(len(going)):
        links = np.zeros((number, number))
        links[first[going[row]], second[going[row]]] = 1
        _, group = connected_components(links, directed=False)
        for pair in np.flatnonzero(going[row]):
            members = group == group[first[pair]]
            inside = going[row] & members[first]
            assert found[row, pair] == pytest.approx(chance[row, inside].sum() / members.sum())


def test_the_bound_of_a_lone_pair_is_above_that_of_a_pair_and_never_certainty():
    bounds = np.array([0.0, 0.01, 0.05, 0.3, 0.99])
    for_two = np.array([2 * least_hope(bound) for bound in bounds])
    assert (for_two >= bounds).all()
    assert (np.diff(for_two) > 0).all()
    assert (for_two <= 1).all()
    assert for_two[0] == 0.0
    assert for_two[2] == pytest.approx(0.185, abs=0.001)


@pytest.fixture(scope="module")
def last_pair():
    """Scores after two seeds of five: one architecture is far ahead, the others are close."""
    drawn = simulate(np.random.default_rng(SEED), 1, 3, 5, 20, 5, 0.02, shifts=[2.0, 0.0, 0.0])[0]
    scores = long_table(drawn.reshape(3, 100, 5), np.repeat(np.arange(5), 20))
    return scores[scores["seed"] < 2]


def test_the_last_open_pair_of_a_family_needs_more_chance_than_one_that_others_share(last_pair):
    look = take_look(last_pair, LookPlan(5, margin=0.02), number=2)
    assert look.pair("arch0", "arch1").state == look.pair("arch0", "arch2").state == "difference"
    pair = look.pair("arch1", "arch2")
    assert 0.05 < pair.chance < 0.18
    assert (pair.state, look.open) == ("futile", ())
    assert pair.reason.endswith(
        "%, too little for architectures that would go on for little else (asked: 0.093 settled "
        "pairs for each)"
    )


def test_a_pair_that_is_all_that_was_asked_goes_on_until_its_own_chance_is_small(last_pair):
    look = take_look(last_pair, LookPlan(5, "pair", pair=("arch1", "arch2"), margin=0.02), number=2)
    assert look.pairs[0].state == "open"
    assert 0.05 < look.pairs[0].chance < 0.18
    strict = LookPlan(5, "pair", pair=("arch1", "arch2"), margin=0.02, futility=0.18)
    assert take_look(last_pair, strict, number=2).pairs[0].state == "futile"


def test_a_bound_of_nought_gives_up_nothing_for_its_price(last_pair):
    look = take_look(last_pair, LookPlan(5, margin=0.02, futility=0.0), number=2)
    assert look.pair("arch1", "arch2").state == "open"


def test_half_of_the_hours_are_spared_where_half_of_the_networks_are_better():
    cell = LookCell("specification", 5, 5, 210, 5, "0.01", "two groups")
    found = measure_looks(cell, 2000, 0)
    assert found.hours <= 0.5
    assert found.rates["power lost"].rate <= 0.01
