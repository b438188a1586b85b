"""Three short trainings give the numbers that they gave before, or somebody is told to say so."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import numerics_values
import pytest
import torch
from numerics_values import STORED, differences, measure

from kitsbench.files import read_json
from kitsbench.numerics import NUMERICS

HOW = (
    "If that is meant, raise NUMERICS in kitsbench/numerics.py, so that trials of before and after "
    "are told apart, and run `python tests/experiments/numerics_values.py --write`."
)


@pytest.fixture(autouse=True)
def threads():
    """A trial sets the number of threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_stored_values_are_those_of_this_number():
    assert read_json(STORED)["numerics"] == NUMERICS, HOW


@pytest.mark.slow
def test_five_steps_give_the_numbers_that_are_stored(phantom, tmp_path):
    moved = differences(read_json(STORED)["values"], measure(phantom, tmp_path / "work"))
    assert not moved, "raise numerics? The same trials give other numbers. " + "\n".join(
        [HOW, *moved]
    )


def learn_faster(task):
    """A learning rate that is a hundredth higher."""
    optimiser = task.recipe.optimiser
    optimiser = replace(optimiser, lr=optimiser.lr * 1.01)
    return replace(task, recipe=replace(task.recipe, optimiser=optimiser))


def shift_window(task):
    """Both ends of the window one HU higher."""
    low, high, *rest = task.window
    return replace(task, window=(low + 1, high + 1, *rest))


@pytest.mark.exhaustive
@pytest.mark.parametrize("alter", [learn_faster, shift_window])
def test_a_small_change_of_meaning_is_seen(phantom, tmp_path, alter):
    moved = differences(read_json(STORED)["values"], measure(phantom, tmp_path / "work", alter))
    assert {line.split()[0] for line in moved} >= {"unet3d", "boundary_aware"}


@pytest.mark.parametrize("change", [5e-3, float("nan"), None])
def test_a_value_that_moves_is_named(change):
    stored = read_json(STORED)["values"]
    assert differences(stored, stored) == []
    for name, kind, key in (
        ("unet3d", "losses", "loss"),
        ("cascade_classifier", "probabilities", "lo 0"),
    ):
        other = copy.deepcopy(stored)
        values = other[name][kind][key]
        values[-1:] = [] if change is None else [values[-1] + change]
        (line,) = differences(stored, other)
        assert line.startswith(f"{name} {kind} {key} 4: ")


def test_values_are_not_replaced_while_the_number_stays(monkeypatch):
    before = STORED.read_bytes()
    monkeypatch.setattr(sys, "argv", ["numerics_values.py", "--write"])
    with pytest.raises(SystemExit, match=r"kitsbench/numerics\.py"):
        numerics_values.main()
    assert STORED.read_bytes() == before
