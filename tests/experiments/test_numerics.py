"""Three short trainings give the numbers that they gave before, or somebody is told to say so."""

from __future__ import annotations

import pytest
from numerics_values import RUNS, STORED, flat, measure

from kitsbench.files import read_json
from kitsbench.numerics import NUMERICS

HOW = (
    "If that is meant, raise NUMERICS in kitsbench/numerics.py, so that trials of before and after "
    "are told apart, and run `python tests/experiments/numerics_values.py --write`."
)


@pytest.fixture(scope="module")
def measured(phantom, tmp_path_factory):
    return measure(phantom, tmp_path_factory.mktemp("numerics"))


def test_the_stored_values_are_those_of_this_number():
    assert read_json(STORED)["numerics"] == NUMERICS, HOW


@pytest.mark.parametrize(("name", "tolerance"), [(run[0], run[-1]) for run in RUNS])
def test_five_steps_give_the_numbers_that_are_stored(measured, name, tolerance):
    expected, found = flat(read_json(STORED)["values"][name]), flat(measured[name])
    assert found.keys() == expected.keys(), f"raise numerics? Other losses, heads or cases. {HOW}"
    moved = {key: (expected[key], found[key]) for key in found}
    worst = max(moved, key=lambda key: abs(moved[key][1] - moved[key][0]))
    before, after = moved[worst]
    assert abs(after - before) <= tolerance, (
        f"raise numerics? {name}: {worst} was {before} and is {after}. {HOW}"
    )
