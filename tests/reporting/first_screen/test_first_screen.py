"""The first screen: its figure and its steps say what the statistics say, and no more."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from reporting.workdirs import Plan, write_workdir
from stored_files import replan

from kitsbench.experiments.asked.again import RequestRecord
from kitsbench.experiments.records import request_file
from kitsbench.experiments.results import load_results
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.first_screen.curves import still_rising
from kitsbench.reporting.first_screen.leading import leaders
from kitsbench.reporting.first_screen.next_steps import next_steps
from kitsbench.reporting.first_screen.screen import first_screen
from kitsbench.reporting.first_screen.standing import standing

GAPS = {"a": 0.1, "b": 0.099, "c": -0.1, "d": -2.0}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """One training run each."""
    plan = Plan(GAPS, folds=1, seeds=1, cases_per_fold=6, showcase=0, predictions=False)
    return write_workdir(tmp_path_factory.mktemp("single"), plan)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Runs enough for verdicts on architectures."""
    plan = Plan(GAPS, cases_per_fold=6, showcase=0, predictions=False)
    return analyse(load_results(write_workdir(tmp_path_factory.mktemp("several"), plan)))


def test_a_line_crosses_that_of_the_first_unless_the_statistics_separate_them(several):
    found = standing(several)
    assert found.together
    first, *others = found.places
    assert (first.state, first.low) == ("first", None)
    assert {place.state for place in others} == {"level", "behind", "lost"}
    better = {frozenset((p["a"], p["b"])): p["better"] for p in several.pairs}
    for place in others:
        crosses = place.low < first.mean < place.high
        assert crosses is (better[frozenset((first.name, place.name))] is None)
        assert place.low <= place.mean <= place.high
    assert [p.name for p in found.places if p.state in ("first", "level")] == leaders(several)


def test_a_line_that_was_separated_narrowly_ends_at_the_first(tmp_path):
    plan = Plan({**GAPS, "b": 0.09}, cases_per_fold=6, showcase=0, predictions=False)
    found = standing(analyse(load_results(write_workdir(tmp_path, plan))))
    first, second = found.places[:2]
    assert second.state == "behind"
    assert second.high == pytest.approx(first.mean)


def test_with_one_run_each_the_lines_are_of_the_networks_and_say_so(single):
    analysis = analyse(load_results(single))
    found = standing(analysis)
    assert not found.together
    assert "of these trained networks only" in found.legend
    for place, row in zip(found.places, analysis.ranking, strict=True):
        assert place.low == pytest.approx(max(row["ci_low"], 0.0))
        assert place.high == pytest.approx(min(row["ci_high"], 1.0))
    assert [place.state for place in found.places] == ["plain", "plain", "plain", "lost"]


def test_it_says_what_was_compared_on_what_under_which_budget(single):
    first = first_screen(analyse(load_results(single)))
    for words in (
        "4 architectures, each trained once for 20 s by one shared recipe",
        "to find kidney and tumour, and tested on 6 synthetic CT scans",
        "6 synthetic CT scans of the dataset phantom that the network had not seen",
        "mean tumour Dice (overlap with the truth: 0 none, 1 perfect)",
    ):
        assert words in first.compared
    assert "3 of 4 entrants have learned to find the tumour" in " ".join(first.remarks)


@pytest.mark.parametrize(
    ("values", "rises"),
    [
        ([0.1, 0.2, 0.3, 0.33], True),
        ([0.1, 0.2, 0.3, 0.315], False),  # less than the margin of 0.02
        ([0.1, 0.6, 0.3, 0.4], False),  # not its highest point
        ([0.3, 0.3, 0.3, 0.3], False),
        ([0.3], False),
    ],
)
def test_a_curve_rises_that_ends_a_margin_above_its_last_points(single, values, rises):
    analysis = analyse(load_results(single))
    trial = next(trial for trial in analysis.results.trials if trial.name == "b")
    rows = [
        {
            **{"trial": trial.id, "architecture": "b", "fold": 0, "seed": 0, "step": 10 * place},
            **{"fraction": 1 - 0.25 * (len(values) - place), "device_seconds": 5.0 * place},
            **{"kind": "score", "name": "tumor:dice", "value": value},
        }
        for place, value in enumerate(values, start=1)
    ]
    results = dataclasses.replace(analysis.results, curves=pd.DataFrame(rows))
    analysis = dataclasses.replace(analysis, results=results)
    assert still_rising(analysis) == ["b"] * rises
    told = " ".join(first_screen(analysis).remarks)
    assert ("Still rising when the budget ended: b;" in told) is rises
    # By which rule, on how many scans, and which.
    rule = "the last is the highest, and by 0.02 or more above the one before; seen on 2 scans (of"
    assert (rule in told) is rises


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("kitsbench run --all", "kitsbench run --all --seeds 3"),
        ("kitsbench run --all --seeds 1", "kitsbench run --all --seeds 3"),
        ("kitsbench run --add --seeds 2 --jobs 1", "kitsbench run --add --seeds 3"),
        ("kitsbench run --seeds=1 unet3d", "kitsbench run unet3d --seeds 3"),
        ("kitsbench run 'my net.py'", "kitsbench run 'my net.py' --seeds 3"),
        ("kitsbench run 'open", "kitsbench run --all --seeds 3"),
        ("kitsbench run " + "unet3d " * 30, "(the same command) --seeds 3"),
    ],
)
def test_a_step_is_the_command_of_this_run_with_what_it_lacks(single, given, asked):
    replan(single, command=given)
    step = next_steps(analyse(load_results(single)))[0]
    assert step.command == asked
    # Two more runs of four entrants; each trial took 26 s and 1 s of prediction, one at a time.
    assert step.time == "about 3.6 min here"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ("kitsbench run --all", ""),
        ("kitsbench run --all --workdir 'my work' --yes", "--workdir 'my work' "),
        ("kitsbench run a b --workdir=w", "--workdir=w "),
        ("kitsbench run " + "unet3d " * 30, ""),
    ],
)
def test_where_the_request_is_kept_a_step_trains_nobody_who_was_installed_since(
    tmp_path, given, where
):
    plan = Plan(
        GAPS, folds=1, seeds=1, cases_per_fold=4, showcase=0, failed=(("b", 0, 0, "timeout"),)
    )
    folder = write_workdir(tmp_path, plan)
    replan(folder, command=given)
    results = load_results(folder)
    own = results.experiment.id
    RequestRecord(experiment=own, options={}).write(request_file(folder, own))
    first, second, *_ = next_steps(analyse(results))
    assert first.purpose == "Finish what is missing or failed"
    assert first.command == f"kitsbench run --experiment {own[:8]} {where}".strip()
    assert second.command == f"kitsbench run --add --experiment {own[:8]} {where}--seeds 3"


def test_longer_training_is_priced_by_its_longer_part(single):
    replan(single, command="kitsbench run --all --budget 20s")
    steps = {step.command: step.time for step in next_steps(analyse(load_results(single)))}
    # Four trials of 27 s, and of 20 s of training once more.
    assert steps["kitsbench run --all --budget 40s"] == "about 3.1 min here"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.7, [0, 0.2, 0.4, 0.6]),
        (0.78, 0.84, [0.78, 0.8, 0.82, 0.84]),
        (0.0, 34.0, [0, 10, 20, 30]),
        (-0.1, 0.3, [-0.1, 0, 0.1, 0.2, 0.3]),
    ],
)
def test_the_axis_has_round_numbers(single, low, high, expected):
    found = dataclasses.replace(standing(analyse(load_results(single))), low=low, high=high)
    assert found.ticks == pytest.approx(expected)
