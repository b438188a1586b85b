"""What a request comes to: asked for or default, phantom or dataset, CPU or GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import call_kitsbench

from kitsbench.architecture import KITS19, KITS21
from kitsbench.errors import UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import is_timed, resolve
from kitsbench.experiments.asked.search_space import read_tuning
from kitsbench.training.budget import Budget
from kitsbench.training.recipes import MATCHED_CPU, MATCHED_GPU

STEPS = Budget(100, "steps")


def resolved(kind="cpu", labels=KITS21, **asked):
    return resolve(Request(Path("none"), **asked), dict(labels), kind)


@pytest.mark.parametrize("phantom", [None, "phantom"])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_phantom_is_a_quick_look_that_no_machine_changes(phantom, kind):
    found = resolved(kind, dataset=phantom)
    assert (found.split, found.folds, found.seeds) == ("4", (0,), 1)
    assert found.budget == found.tuning_budget
    assert found.budget.unit == "steps"
    assert not is_timed(Request(Path("none"), dataset=phantom))
    assert found.curve_cases == 1


@pytest.mark.parametrize(("kind", "budget"), [("cpu", "5min"), ("cuda", "2h")])
def test_a_dataset_is_trained_on_in_every_fold_and_three_times(kind, budget):
    found = resolved(kind, dataset="kits")
    assert (found.split, found.folds, found.seeds) == ("5", "all", 3)
    assert str(found.budget) == str(found.tuning_budget) == budget
    assert found.curve_cases == 2


@pytest.mark.parametrize("dataset", [None, "kits"])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_what_is_asked_for_goes_before_every_default(dataset, kind):
    found = resolved(
        kind,
        dataset=dataset,
        split="nnunet",
        folds=(1, 3),
        seeds=2,
        budget=STEPS,
        size="small",
        protocol="kits21",
        endpoint="mass:surface_dice",
        patch=(16, 16, 16),
        spacing=(9.0, 9.0, 9.0),
        batch=4,
    )
    assert (found.split, found.folds, found.seeds) == ("nnunet", (1, 3), 2)
    assert found.budget == found.tuning_budget == STEPS
    assert found.size == "small"
    assert found.protocols == ("kits21", "labels")
    assert found.endpoint == "mass:surface_dice"
    recipe = found.matched
    assert (recipe.patch, recipe.spacing, recipe.batch) == ((16, 16, 16), (9.0, 9.0, 9.0), 4)


def test_a_split_of_the_phantom_that_was_asked_for_is_run_in_all_its_folds():
    assert resolved(split="3").folds == "all"
    assert resolved(split="3", folds=(2,)).folds == (2,)
    assert resolved(folds="all").folds == "all"
    assert resolved(folds="all").split == "4"


@pytest.mark.parametrize(
    ("kind", "recipe", "size"), [("cpu", MATCHED_CPU, "tiny"), ("cuda", MATCHED_GPU, "paper")]
)
def test_the_device_decides_size_and_shared_recipe(kind, recipe, size):
    found = resolved(kind)
    assert (found.matched, found.size) == (recipe, size)
    partly = resolved(kind, batch=7).matched
    assert (partly.batch, partly.patch, partly.spacing) == (7, recipe.patch, recipe.spacing)


def test_a_search_has_a_budget_of_its_own_or_that_of_the_trials():
    of_its_own = read_tuning(2, {"budget": "7steps"})
    assert resolved(budget=STEPS, tuning=of_its_own).tuning_budget == Budget(7, "steps")
    assert resolved(budget=STEPS, tuning=read_tuning(2, {})).tuning_budget == STEPS


@pytest.mark.parametrize(
    ("labels", "asked", "protocols"),
    [
        (KITS19, None, ("kits19", "labels")),
        (KITS21, None, ("kits23", "labels")),
        (KITS21, "kits19", ("kits19", "labels")),
        (KITS21, "labels", ("labels",)),
    ],
)
def test_the_labels_decide_the_protocol_and_each_is_scored_by_itself_too(labels, asked, protocols):
    found = resolved(labels=labels, protocol=asked)
    assert found.protocols == protocols
    assert found.protocol == protocols[0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"endpoint": "tumor"}, "one region and one metric"),
        ({"endpoint": "mass:dice"}, "protocol kits19 has no region 'mass'; it has kidney_and"),
        ({"endpoint": "tumor:surface_dice"}, "protocol kits19 has no metric 'surface_dice'"),
        ({"protocol": "kits-19"}, "no protocol 'kits-19'. Did you mean 'kits19'?"),
    ],
)
def test_an_endpoint_that_nothing_will_be_scored_by_is_refused(asked, words):
    with pytest.raises(UsageError) as refused:
        resolved(labels=KITS19, **asked)
    assert words in str(refused.value)


def test_an_endpoint_has_one_spelling():
    assert resolved(endpoint="tumor : dice").endpoint == "tumor:dice"


@pytest.mark.parametrize(
    ("asked", "timed"),
    [
        ({}, False),
        ({"dataset": "kits"}, True),
        ({"budget": Budget(60, "seconds")}, True),
        ({"budget": STEPS}, False),
        ({"budget": STEPS, "tuning": read_tuning(2, {})}, False),
        ({"budget": STEPS, "tuning": read_tuning(2, {"budget": "20s"})}, True),
    ],
)
def test_seconds_count_in_trials_and_in_the_search_before_them(asked, timed):
    assert is_timed(Request(Path("none"), **asked)) is timed


def test_a_plan_shows_the_defaults(plugin, phantom, tmp_path):
    """The six scans as a folder, so as a dataset: all five folds, three seeds, five minutes."""
    done = call_kitsbench(
        *("run", plugin("alpha", "Smallest"), "--dataset", phantom, "--workdir", tmp_path),
        *("--device", "cpu", "--spacing", "9", "--patch", "16", "--dry-run", "--json"),
    )
    assert done.code == 0, done.err
    trials = [(trial["seed"], trial["fold"]) for trial in done.json["trials"]]
    assert trials == [(seed, fold) for seed in range(3) for fold in range(5)]
    assert {trial["budget"] for trial in done.json["trials"]} == {"5min"}
