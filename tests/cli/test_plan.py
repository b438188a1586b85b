"""``kitsbench plan`` as a user types it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench

# Smallest detectable gaps by seeds 1, 2, 3, 5, 10 and unlimited, as the specification has them.
TABLE = {
    (42, 1, 0.01): [0.069, 0.056, 0.051, 0.047, 0.043, 0.039],
    (210, 5, 0.01): [0.031, 0.025, 0.023, 0.021, 0.019, 0.018],
    (210, 5, 0.02): [0.044, 0.033, 0.029, 0.025, 0.022, 0.018],
    (300, 5, 0.01): [0.028, 0.022, 0.020, 0.018, 0.016, 0.015],
    (489, 5, 0.01): [0.024, 0.019, 0.017, 0.015, 0.013, 0.011],
}


def plan(cases, folds, seeds, *arguments):
    design = ("--cases", cases, "--folds", folds, "--seeds", seeds)
    return call_kitsbench("plan", *design, *arguments)


def planned(*design):
    return plan(*design, "--json").json


@pytest.mark.parametrize("design", TABLE)
def test_the_table_of_the_specification(design):
    cases, folds, tau = design
    scenario = planned(cases, folds, 3, "--tau", tau)["scenarios"][0]
    gaps = {row["seeds"]: row["smallest_detectable_gap"] for row in scenario["by_seeds"]}
    assert list(gaps) == [1, 2, 3, 5, 10]
    found = [*gaps.values(), scenario["unlimited_seeds"]]
    assert [round(gap, 3) for gap in found] == TABLE[design]


def test_the_printed_table():
    output = plan(42, 1, 4).out
    assert "4 seeds *" in output
    row = next(line for line in output.splitlines() if line.startswith("│ 0.01"))
    assert "(0.069)" in row
    assert "scope L0" in output


@pytest.mark.parametrize(
    ("gap", "enough", "words"),
    [(0.021, True, "needs 5 seeds"), (0.01, False, "No number of seeds detects a gap of 0.01")],
)
def test_seeds_needed_for_a_gap(gap, enough, words):
    found = planned(210, 5, 3, "--gap", gap, "--tau", 0.01)["scenarios"][0]
    assert found["enough"] == enough
    assert found["seeds_needed"] == (5 if enough else None)
    assert words in plan(210, 5, 3, "--gap", gap, "--tau", 0.01).out


def test_one_seed_uses_the_fold_test():
    scenario = planned(210, 5, 1, "--tau", 0.01)["scenarios"][0]
    assert (scenario["test"], scenario["scope"]) == ("fold t", "L1")
    assert scenario["fold_test_gap"] > scenario["smallest_detectable_gap"]


def test_components_from_a_pilot(tmp_path):
    rng = np.random.default_rng(0)
    shape = (2, 5, 200, 4)  # architectures, folds, cases, seeds
    value = (
        0.5
        + rng.normal(0, 0.05, (2, 5, 200, 1))
        + rng.normal(0, 0.03, (2, 5, 1, 4))
        + rng.normal(0, 0.04, shape)
        + rng.normal(0, 0.06, (1, 5, 200, 1))
    ).clip(0, 1)
    m, f, c, s = np.indices(shape).reshape(4, -1)
    case = [f"case_{fold}_{index}" for fold, index in zip(f, c, strict=True)]
    table = {"architecture": m, "fold": f, "seed": s, "case": case, "value": value.ravel()}
    file = tmp_path / "pilot.csv"
    pd.DataFrame(table).assign(region="tumor", metric="dice").to_csv(file, index=False)
    scenarios = planned(210, 5, 3, "--pilot", file)["scenarios"]
    assert len(scenarios) == 1
    assert scenarios[0]["case_sd"] == pytest.approx(0.05, rel=0.1)
    assert scenarios[0]["noise_sd"] == pytest.approx(0.04, rel=0.05)
    assert scenarios[0]["seed_sd"] == pytest.approx(0.03, rel=0.3)


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ((0, 1, 1), "0 cases"),
        ((5, 6, 1), "6 folds for 5 cases"),
        ((5, 1, 0), "0 seeds"),
        ((5, 1, 1, "--gap", -1), "gap is -1"),
        ((5, 1, 1, "--power", 1), "power is 1"),
        ((5, 1, 1, "--tau", -0.1), "none may be negative"),
    ],
)
def test_impossible_designs_are_explained(design, message):
    done = plan(*design, "--json")
    assert (done.code, done.out) == (2, "")
    assert message in done.err
