"""Entries of unusual experiments are honest too: mirrored networks, tuned recipes, lost trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reporting.workdirs import Plan, write_workdir

from kitsbench.experiments.plan.tuning import with_settings
from kitsbench.experiments.records import Range
from kitsbench.leaderboard import Entry, add_entries, read_board
from kitsbench.leaderboard.numbers import counts_of
from kitsbench.leaderboard.parts import Trials, TuningNote
from kitsbench.leaderboard.proof import entry_faults, identity_of
from kitsbench.leaderboard.schema import file_name


@pytest.fixture(scope="module")
def entry(tmp_path_factory) -> Entry:
    folder = tmp_path_factory.mktemp("proof")
    plan = Plan({"a": 0.0}, 2, 1, 2, showcase=0, predictions=False, profiles=False)
    add_entries(write_workdir(folder / "work", plan), folder / "board")
    return read_board(folder / "board")[0]


def with_runs(entry: Entry, changes: dict[str, object], name: str = "a", **other) -> Entry:
    """The entry, had its trials been others: with their ids, and with seals."""
    identity = entry.identity.model_copy(update=other)
    runs = tuple(run.model_copy(update=changes) for run in entry.trials.runs)
    runs = tuple(run.model_copy(update={"id": identity_of(identity, run).digest()}) for run in runs)
    identity = identity_of(identity, runs[0])
    environment = entry.provenance.environment.model_copy(update={"trial": runs[0].id})
    found = entry.model_copy(
        update={
            "name": name,
            "identity": identity,
            "provenance": entry.provenance.model_copy(update={"environment": environment}),
            "trials": Trials(runs=runs, **counts_of(runs)),
        }
    )
    return sealed(found)


def sealed(entry: Entry) -> Entry:
    return entry.model_copy(update={"seals": entry.sealed()})


def faults(entry: Entry) -> list[str]:
    return entry_faults(entry, Path(file_name(entry.name)))


def test_mirrored_networks_were_trained_by_the_shared_recipe(entry):
    recipe = entry.recipe.full
    mirrored = replace(recipe, inference=replace(recipe.inference, mirror=(2,)))
    changes = {"recipe": mirrored.digest(), "members": ("0" * 16,)}
    right = with_runs(entry, changes, "a+mirror", tta=((2,),))
    assert faults(right) == []
    assert right.conditions == entry.conditions
    assert "the key name" in faults(with_runs(entry, changes, "a", tta=((2,),)))[0]
    assert "is no hash of recipe.full" in faults(with_runs(entry, {"recipe": "0" * 16}))[0]


def test_a_tuned_recipe_differs_in_what_was_tuned_alone(entry):
    space = {"lr_factor": Range(low=0.1, high=10.0, log=True)}
    tuning = TuningNote(trials=8, budget=None, space=space)

    def trained_by(recipe) -> Entry:
        note = entry.recipe.model_copy(update={"tuning": tuning, "tuned": (recipe,)})
        runs = with_runs(entry, {"recipe": recipe.digest()})
        return sealed(runs.model_copy(update={"recipe": note}))

    right = trained_by(with_settings(entry.recipe.full, {"lr_factor": 2.0}))
    assert faults(right) == []
    assert right.conditions != entry.conditions
    wrong = trained_by(replace(entry.recipe.full, batch=7))
    assert faults(wrong) == ["the key recipe.tuned.0 differs from recipe.full in what is not tuned"]


def test_a_trial_that_was_lost_before_it_said_anything_can_be_published(entry):
    lost = {"state": "failed", "reason": "killed", "kitsbench": (), "spent": None}
    runs = with_runs(entry, lost)
    cost = dict.fromkeys(
        ("device_seconds", "steps", "voxels", "flops", "patches_per_s", "peak_memory_bytes")
    )
    silent = runs.model_copy(
        update={
            "identity": None,
            "cost": entry.cost.model_copy(update={**cost, "device": ""}),
            "provenance": entry.provenance.model_copy(
                update={"kitsbench": "", "environment": None}
            ),
        }
    )
    assert faults(sealed(silent)) == []
    assert "identity is null" in faults(sealed(entry.model_copy(update={"identity": None})))[0]


def test_an_entry_of_a_file_may_have_its_folders_in_its_name(entry):
    assert faults(with_runs(entry, {}, "mine/of/a")) == []
    assert "the key name" in faults(with_runs(entry, {}, "mine/of/b"))[0]


def test_a_file_called_plugin_is_shown_by_the_name_of_its_package(entry):
    assert faults(with_runs(entry, {}, "my_net", architecture="plugin")) == []
    assert faults(with_runs(entry, {}, "mine/of/my_net", architecture="plugin")) == []
    assert "the key name" in faults(with_runs(entry, {}, "my_net", architecture="other"))[0]
    assert (
        "no way to another" in faults(with_runs(entry, {}, "../my_net", architecture="plugin"))[0]
    )


def test_pretraining_and_packages_cannot_be_left_out_unnoticed(entry):
    right = with_runs(entry, {}, pretrained_on="BTCV", packages={"monai": "1.6.1"})
    assert faults(right) == []
    for key, value in (("pretrained_on", ""), ("packages", {}), ("packages", {"monai": "1.7.0"})):
        identity = right.identity.model_copy(update={key: value})
        forged = sealed(right.model_copy(update={"identity": identity}))
        assert "trials.runs.0.id" in faults(forged)[0]
