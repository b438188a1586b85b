"""What surrounds training, as finished trials tell it, or operations and voxels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from reporting.workdirs import Plan, trial_record, write_workdir

from kitsbench.experiments.plan import surroundings
from kitsbench.experiments.plan.surroundings import EFFICIENCY, PASSES, START, VOXELS, Surroundings
from kitsbench.experiments.records import LedgerRecord, Sitting
from kitsbench.experiments.records.accounts import PARTS
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.recipe import Inference

PLAN = Plan({"a": 0.1, "b": 0.0}, folds=1, seeds=1, cases_per_fold=4, predictions=False)
SPENT = {
    "start_s": 3.0,
    "training_s": 20.0,
    "loader_wait_s": 1.0,
    "evaluation_s": 6.0,
    "prediction_s": 8.0,
    "scoring_s": 4.0,
    "rest_s": 2.0,
}


def task_of(name: str, plan: Plan = PLAN, **known):
    """What is planned of an architecture on the plan's cases."""
    trial = trial_record(plan, name, 0, 0)
    usual = {"trial": trial, "name": name, "threads": 1, "members": (), "elsewhere": False}
    usual |= {"test_cases": trial.context.test_cases, "protocols": ("kits19", "labels")}
    usual |= {"recipe": trial.context.recipe, "keep_predictions": True}
    return SimpleNamespace(**usual | known)


@pytest.fixture
def workdir(tmp_path) -> Path:
    """Two trials have finished; of the first is known where its wall time went."""
    folder = write_workdir(tmp_path / "work", PLAN)
    ledger = TrialFolder(folder, trial_record(PLAN, "a", 0, 0).id).ledger
    parts = {**dict.fromkeys(PARTS, 0.0), **SPENT}
    own = Sitting(began="2026-11-21T10:00:00.000+00:00", wall_s=sum(parts.values()), **parts)
    LedgerRecord.read(ledger).model_copy(update={"sittings": (own,)}).write(ledger)
    return folder


def test_a_trial_like_a_finished_one_takes_what_that_took(workdir):
    found = Surroundings(workdir)
    curve = bool(trial_record(PLAN, "a", 0, 0).context.curve_cases)
    seconds, basis = found.seconds(task_of("a"), 20.0)
    assert basis == "trials like it"
    assert seconds == pytest.approx(3 + 2 + 8 + 4 + 1 + (6 if curve else 0))
    # Twice the training waits twice as long, and all else stays.
    assert found.seconds(task_of("a"), 40.0)[0] == pytest.approx(seconds + 1)


def test_of_an_ensemble_nothing_is_trained(workdir):
    seconds, _ = Surroundings(workdir).seconds(task_of("a", members=(task_of("a"),)), None)
    assert seconds == pytest.approx(3 + 2 + 8 + 4)


def test_another_network_on_the_same_scans_is_told_by_others(workdir, tmp_path):
    found = Surroundings(workdir)
    other = task_of("a")
    identity = other.trial.identity.model_copy(update={"spec": "0" * 16})
    other.trial = other.trial.model_copy(update={"identity": identity})
    assert found.seconds(other, 20.0)[1] == "other trials"
    elsewhere = identity.model_copy(update={"dataset": "0" * 16})
    other.trial = other.trial.model_copy(update={"identity": elsewhere})
    assert found.seconds(other, 20.0) == (None, "none")
    assert Surroundings(tmp_path / "empty").seconds(task_of("a"), 20.0) == (None, "none")


@pytest.fixture
def scans(monkeypatch):
    """Prepared scans of 40 voxels a side, of 2 million voxels on the disk."""
    case = SimpleNamespace(image=np.empty((40, 40, 40)), native={"shape": (125, 100, 160)})
    store = SimpleNamespace(case=lambda name: case)
    monkeypatch.setattr(surroundings, "PreparedStore", SimpleNamespace(open=lambda folder: store))
    grid = SimpleNamespace(name="image", shape=(20, 20, 40))
    recipe = replace(task_of("a").recipe, inference=Inference(overlap=0.5, mirror=(2,)))
    return {
        "spec": SimpleNamespace(grids=(grid,)),
        "stores": {"image": Path("store")},
        "recipe": recipe,
    }


def test_operations_and_voxels_tell_it_roughly(scans, tmp_path):
    task = task_of("a", **scans)
    asked = []

    def speed() -> float:
        asked.append(1)
        return 50.0

    found = Surroundings(tmp_path, {"a": 10**9}, speed)
    passes = 3 * 3 * 1 * 2  # tiles along each axis, and one mirror image of each
    case = passes * 1e9 / (50e9 * EFFICIENCY)
    case += VOXELS * 2
    tests = len(task.test_cases)
    curve = len(task.trial.context.curve_cases)
    wanted = START + (tests + PASSES * curve) * case
    seconds, basis = found.seconds(task, 0.0)
    assert basis == "rough"
    assert seconds == pytest.approx(wanted)
    found.seconds(task, 0.0)
    assert len(asked) == 1  # to measure the device takes seconds
    assert Surroundings(tmp_path, {"a": None}, speed).seconds(task, 0.0) == (None, "none")


def test_a_profile_tells_a_pass_better_than_operations(scans, tmp_path):
    task = task_of("a", **scans)
    found = Surroundings(tmp_path, profiled=lambda task: 0.1)
    seconds, basis = found.seconds(task, 0.0)
    assert basis == "profile"
    assert seconds > len(task.test_cases) * 18 * 0.1


def test_disk_is_what_such_trials_left_or_weights_and_label_maps(scans, workdir, tmp_path):
    folder = TrialFolder(workdir, trial_record(PLAN, "a", 0, 0).id).path
    left = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    both = Surroundings(workdir).disk([task_of("a"), task_of("a")], {})
    assert both >= 2 * left * 0.5
    counted = Surroundings(tmp_path).disk([task_of("a", **scans)], {"a": 10**6})
    weights = 3 if task_of("a").recipe.optimiser.name.startswith("adam") else 2
    assert counted > 4e6 * weights
    assert Surroundings(tmp_path).disk([task_of("a", **scans)], {}) is None
