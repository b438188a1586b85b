"""``kitsbench plan`` as a user types it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, trained_elsewhere, write_workdir


def plan(cases, folds, seeds, *arguments):
    design = ("--cases", cases, "--folds", folds, "--seeds", seeds)
    return call_kitsbench("plan", *design, *arguments)


def planned(*design):
    return plan(*design, "--json").json


def test_json_and_headline_say_the_same(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    found, output = planned(210, 5, 4), plan(210, 5, 4).out
    assert "4 seeds *" in output
    assert found["smallest_detectable_gap"] == found["scenarios"][0]["smallest_detectable_gap"]
    for scenario in found["scenarios"]:
        row = next(r for r in output.splitlines() if r.startswith(f"│ {scenario['seed_sd']:.3g}"))
        gaps = [line["smallest_detectable_gap"] for line in scenario["by_seeds"]]
        assert [line["seeds"] for line in scenario["by_seeds"]] == [1, 2, 3, 4, 5, 10]
        assert gaps == sorted(gaps, reverse=True)
        for gap in [*gaps, scenario["unlimited_seeds"]]:
            assert f"{gap:.3f}" in row


@pytest.mark.parametrize(("folds", "seeds"), [(1, 1), (1, 2), (3, 1)])
def test_a_design_without_verdicts_promises_nothing(folds, seeds, tmp_path):
    found = planned(90, folds, seeds)
    assert found["smallest_detectable_gap"] is None
    assert found["scenarios"][0]["scope"] == "L0"
    output = plan(90, folds, seeds).out
    assert "allows no verdict on architectures" in output
    assert found["advice"] in " ".join(output.split())
    figure = tmp_path / "power.svg"
    done = plan(90, folds, seeds, "--figure", figure)
    assert (done.code, figure.exists()) == (2, False)


@pytest.mark.parametrize(("gap", "enough"), [(0.022, True), (0.01, False)])
def test_seeds_needed_for_a_gap(gap, enough):
    found = planned(210, 5, 3, "--gap", gap, "--tau", 0.01)["scenarios"][0]
    output = plan(210, 5, 3, "--gap", gap, "--tau", 0.01).out
    assert found["enough"] == enough
    assert f"{100 * found['power_at_gap']:.0f} % power" in output
    if not enough:
        assert found["seeds_needed"] is None
        assert "No number of seeds detects a gap of 0.01" in output
        return
    needed = found["seeds_needed"]
    assert f"needs {needed} seeds" in output
    power = {
        seeds: planned(210, 5, seeds, "--gap", gap, "--tau", 0.01)["scenarios"][0]["power_at_gap"]
        for seeds in (needed - 1, needed)
    }
    assert power[needed - 1] < 0.8 <= power[needed]


def test_one_seed_uses_the_fold_test():
    scenario = planned(210, 5, 1, "--tau", 0.01)["scenarios"][0]
    assert (scenario["test"], scenario["scope"]) == ("fold t", "L1")
    assert scenario["smallest_detectable_gap"] > 2.85 * scenario["se"]


def test_more_architectures_make_it_harder():
    gaps = [
        planned(210, 5, 3, "--architectures", k, "--tau", 0.01)["smallest_detectable_gap"]
        for k in (2, 5, 12)
    ]
    assert gaps == sorted(gaps)


def test_hours_and_the_figure(tmp_path):
    figure = tmp_path / "plots" / "power.svg"
    done = plan(210, 5, 3, "--architectures", 4, "--run-hours", 2, "--figure", figure)
    assert "120 device hours (60 runs)" in done.out
    assert figure.read_text().startswith("<")
    assert planned(210, 5, 3)["device_hours"] is None
    other = plan(210, 5, 3, "--figure", tmp_path / "power.png")
    assert (other.code, "'power.png' must end in .svg" in other.err) == (2, True)
    wrong = plan(210, 5, 3, "--run-hours", 0)
    assert (wrong.code, "give a positive number" in wrong.err) == (2, True)


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


@pytest.mark.exhaustive
def test_scores_near_1_scatter_less_where_one_is_ahead():
    design = (210, 5, 1, "--tau", 0.02, "--architectures", 3)
    plain, bounded = (
        planned(*design, *more)["scenarios"][0]["smallest_detectable_gap"]
        for more in ((), ("--mean", 0.83))
    )
    assert 0.8 * plain < bounded < 0.98 * plain
    assert "Mean score 0.83; with a mean m" in plan(*design, "--mean", 0.83).out
    far = plan(*design, "--mean", 0.98, "--gap", 0.05)
    assert (far.code, "lies beyond 1" in far.err) == (2, True)
    assert planned(40, 5, 1, "--mean", 0.95)["smallest_detectable_gap"] is None
    wrong = plan(*design, "--mean", 83)
    assert (wrong.code, "mean score is 83.0; it must lie between 0 and 1" in wrong.err) == (2, True)


def test_a_pilot_of_a_metric_of_another_tool(tmp_path):
    rng = np.random.default_rng(0)
    m, f, c, s = np.indices((2, 2, 10, 3)).reshape(4, -1)
    case = [f"case_{fold}_{index}" for fold, index in zip(f, c, strict=True)]
    table = {"architecture": m, "fold": f, "seed": s, "case": case, "value": rng.random(len(m))}
    rows = pd.DataFrame(table).assign(region="tumor", metric="ece", status="ok")
    rows.loc[0, ["value", "status"]] = [np.nan, "failed"]
    rows.to_csv(tmp_path / "pilot.csv", index=False)
    asked = ("--pilot", tmp_path / "pilot.csv", "--endpoint", "tumor:ece")
    refused = plan(20, 2, 3, *asked)
    assert (refused.code, "declare it: --lower-is-better" in refused.err) == (2, True)
    declared = planned(20, 2, 3, *asked, "--lower-is-better", "--range", "0:1")["scenarios"][0]
    rows.loc[0, ["value", "status"]] = [1.0, "ok"]
    rows.to_csv(tmp_path / "pilot.csv", index=False)
    assert planned(20, 2, 3, *asked, "--declare", "ece:lower:0:1")["scenarios"][0] == declared


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ((0, 1, 1), "0 cases"),
        ((5, 6, 1), "6 folds for 5 cases"),
        ((5, 1, 0), "0 seeds"),
        ((5, 1, 1, "--gap", -1), "gap is -1"),
        ((5, 1, 1, "--power", 1), "power is 1"),
        ((5, 1, 1, "--tau", -0.1), "none may be negative"),
        ((5, 1, 1, "--architectures", 1), "1 architectures"),
        ((5, 1, 1, "--architectures", 900), "900 architectures"),
    ],
)
def test_impossible_designs_are_explained(design, message):
    done = plan(*design, "--json")
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_hours_are_those_of_trials_that_train(tmp_path):
    outside, few = {"made": trained_elsewhere()}, {"predictions": False, "profiles": False}
    both = write_workdir(tmp_path / "a", Plan({"a": 0, "made": 0}, elsewhere=outside, **few))
    alone = write_workdir(tmp_path / "b", Plan({"made": 0}, elsewhere=outside, **few))
    hours = planned(10, 3, 2, "--hours-of", both)["device_hours"]
    assert hours == pytest.approx(2 * 3 * 2 * 20 / 3600)
    done = plan(10, 3, 2, "--hours-of", alone)
    assert done.code == 2
    assert "No trial in" in done.err
    assert "that trains has finished" in done.err
