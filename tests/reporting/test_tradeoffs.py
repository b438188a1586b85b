"""Quality against costs: who is on the front, and what is said about the bound."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from kitsbench.reporting import costs, tradeoffs
from kitsbench.reporting.sections import sections
from kitsbench.reporting.tradeoffs import MARK, Tradeoff, front


def row(name, quality, cost):
    return Tradeoff(name, quality, {"flops": cost})


def test_the_front_holds_whom_nobody_dominates():
    rows = [row("best", 0.9, 9.0), row("cheap", 0.5, 1.0), row("between", 0.7, 3.0)]
    dominated = [row("dear", 0.7, 4.0), row("bad", 0.4, 1.0), row("unknown", 1.0, None)]
    assert front([*rows, *dominated], "flops", "dice") == {"best", "cheap", "between"}
    # Who is equal in both dominates nobody.
    assert front([*rows, row("twin", 0.9, 9.0)], "flops", "dice") >= {"best", "twin"}


def test_of_a_distance_less_is_better():
    rows = [row("near", 2.0, 5.0), row("far", 9.0, 5.0), row("far and cheap", 9.0, 1.0)]
    assert front(rows, "flops", "hd95_mm") == {"near", "far and cheap"}


def test_the_table_marks_the_front_of_each_cost(analysis):
    table = tradeoffs.table(analysis)
    assert table.head[2:] == [
        "Training, device time",
        "Prediction of a scan",
        "Peak memory",
        "FLOPs of a step",
        "Parameters",
    ]
    cells = {line[0]: dict(zip(table.head, line, strict=True)) for line in table.rows}
    # The first has the fewest parameters, and the best is on every front.
    assert MARK in cells["unet3d"]["Parameters"]
    best = table.rows[0][0]
    assert all(MARK in cells[best][key] for key in table.head[2:] if cells[best][key] != "–")


def test_a_planted_control_is_no_choice_between_quality_and_cost(analysis, planted):
    with_control, control = planted
    table = tradeoffs.table(with_control)
    before = [line[0] for line in tradeoffs.table(analysis).rows]
    assert control in before
    assert [line[0] for line in table.rows] == [name for name in before if name != control]
    assert table.caption.endswith(f" Without {control}, planted as controls.")


def test_the_section_shows_table_figure_and_bounds(analysis):
    profiles = {
        name: profile.model_copy(
            update={"loader_wait": 0.31, "patches_per_s_loader": 9.0, "busy": True}
            | {"company": {"before": 0.5, "during": 0.6, "after": 0.5}, "measured": 1}
        )
        for name, profile in analysis.results.profiles.items()
    }
    results = dataclasses.replace(analysis.results, profiles=profiles)
    (cost,) = [
        section
        for section in sections(dataclasses.replace(analysis, results=results))
        if section.key == "cost"
    ]
    headings = [block.heading for block in cost.blocks]
    assert "Quality against cost" in headings
    (drawn,) = (b.picture for b in cost.blocks if b.picture and b.picture.name == "tradeoff")
    assert "$" not in drawn.svg  # labels of its axes are numbers, not formulas shown as text
    lines = next(b.lines for b in cost.blocks if b.heading == "What bounds training")
    assert "unet3d: loader-bound: the device waits 31 %." in lines
    # Before any of the tables, once, that no time of them is sure.
    above = cost.blocks[0].lines
    assert above[0].startswith("4 of 4 profiles were measured while other processes used the mach")
    assert any("the machine was busy: other processes took 50 % before" in one for one in lines)


def test_the_time_of_a_scan_is_what_its_prediction_took(analysis):
    spent = [t.ledger.prediction_s for t in analysis.results.trials
             if t.name == "unet3d" and t.state == "finished"]  # fmt: skip
    scans = len({*analysis.results.scores["case"]}) * analysis.results.experiment.seeds
    assert tradeoffs.scan_seconds(analysis, "unet3d") == pytest.approx(sum(spent) / scans)
    assert tradeoffs.scan_seconds(analysis, "nobody") is None


def test_times_of_one_network_under_two_names_tell_how_wrong_times_are(analysis):
    assert not any("equal scores" in told for told in tradeoffs.warnings(analysis))
    results = analysis.results
    first, second = "unet3d", "msff_net"
    scores = results.scores
    twin = scores[scores["architecture"] == first].assign(architecture=second)
    trials = [
        dataclasses.replace(t, ledger=t.ledger.model_copy(
            update={"device_seconds": t.ledger.device_seconds * 2}))
        if t.name == second and t.ledger is not None else t
        for t in results.trials
    ]  # fmt: skip
    changed = dataclasses.replace(
        results, trials=trials, scores=pd.concat([scores[scores["architecture"] != second], twin])
    )
    (told,) = [one for one in tradeoffs.warnings(dataclasses.replace(analysis, results=changed))
               if "equal scores" in one]  # fmt: skip
    assert "times here differ by a factor of 2 for the same work" in told


def test_a_speed_that_cannot_be_is_marked(analysis):
    step = {"full_step_ms": 0.1, "full_step_ms_low": 0.1, "full_step_ms_high": 0.1}
    wrong = {"patches_per_s_full": 99.0, **step}
    profiles = {**analysis.results.profiles}
    profiles["unet3d"] = profiles["unet3d"].model_copy(update=wrong)  # without data fewer
    results = dataclasses.replace(analysis.results, profiles=profiles)
    table = costs.cost(dataclasses.replace(analysis, results=results))
    column = table.head.index("Patches/s, with data")
    marked = {row[0].split("\n")[0]: row[column].endswith("†") for row in table.rows}
    assert marked == {name: name == "unet3d" for name in marked}
    assert "† Faster than without data by more than noise" in table.caption
    assert "†" not in costs.cost(analysis).caption


def test_one_architecture_is_set_against_nobody(analysis):
    alone = dataclasses.replace(analysis, comparison={"ranking": analysis.ranking[:1]})
    assert tradeoffs.table(alone) is None
    assert tradeoffs.figure(alone) is None


@pytest.mark.parametrize("key", tradeoffs.COSTS)
def test_every_cost_has_a_unit(key):
    assert key in tradeoffs.SCALES


@pytest.mark.parametrize("key", tradeoffs.COSTS)
def test_a_cost_that_nobody_knows_is_a_dash(key):
    assert tradeoffs._cell(key, None, marked=False) == "–"
