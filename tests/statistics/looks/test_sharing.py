"""Pairs that are not worth the rounds of those who train for one another alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from score_tables import long_table

from kitsbench.statistics import LookPlan, take_look
from kitsbench.statistics.calibration.looks import LookCell, measure_looks
from kitsbench.statistics.calibration.simulation import simulate
from kitsbench.statistics.looks.course import (
    DIFFERENCE,
    EQUIVALENCE,
    OPEN,
    beginning,
    chances,
)
from kitsbench.statistics.looks.sharing import least_hope, shared_hope

SEED = 35


@pytest.mark.parametrize("number", [2, 5, 12])
def test_what_a_group_may_settle_is_shared_by_its_members(number):
    rng = np.random.default_rng(number)
    first, second = np.triu_indices(number, 1)
    going = rng.random((30, len(first))) < 1 / number
    chance = rng.random(going.shape)
    trains = np.arange(number) != 1
    found = shared_hope(np.where(going, chance, 0.0), going, first, second, trains)
    for row in range(len(going)):
        links = np.zeros((number, number))
        links[first[going[row]], second[going[row]]] = 1
        _, group = connected_components(links, directed=False)
        for pair in np.flatnonzero(going[row]):
            members = group == group[first[pair]]
            inside = going[row] & members[first]
            together = chance[row, inside].sum() / max((members & trains).sum(), 1)
            alone = chance[row, pair] / max(int(trains[first[pair]]) + int(trains[second[pair]]), 1)
            assert found[row, pair] == pytest.approx(max(together, alone))


def test_a_pair_that_will_be_settled_goes_on_whatever_hangs_on_it():
    first, second = np.arange(1, 16), np.zeros(15, dtype=np.int64)
    hoped = np.where(first == 1, 0.99, 0.06)
    found = shared_hope(hoped, hoped > 0, first, second, np.ones(16, dtype=bool))
    assert found[0] == pytest.approx(0.495)
    assert (found[1:] < found[0]).all()


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
        "%, too little for architectures that would go on for little else (one pair alone needs "
        "18.5 %)"
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


def test_against_a_baseline_only_what_differs_passes_its_alpha_on():
    plan = LookPlan(5, "baseline", baseline="base", margin=0.05)
    start = beginning((6,), margin=True)
    figures = {"estimate": 0.015, "se": 0.006, "df": 40.0, "known": 0.6}
    now = replace(start, **{name: np.full(6, value) for name, value in figures.items()})
    none = np.zeros(6, dtype=bool)

    def of_the_open_one(state):
        states = np.full(6, state, dtype=np.int8)
        states[0] = OPEN
        return chances(replace(now, state=states), plan, none, none)[0]

    assert of_the_open_one(DIFFERENCE) > of_the_open_one(EQUIVALENCE) + 0.1
    # Five that are open may still pass theirs on, and five that are hopeless never.
    others = np.arange(6) > 0
    assert of_the_open_one(OPEN) > of_the_open_one(EQUIVALENCE)
    lost = chances(replace(now, state=np.zeros(6, dtype=np.int8)), plan, none, others)
    assert lost[0] == of_the_open_one(EQUIVALENCE)
    assert (lost[1:] == 0).all()
