"""What a trial tells while it runs, and that telling changes nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from experiments.small_requests import small_request

from kitsbench.errors import Terminated
from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.logs.scalars import scalars_of
from kitsbench.experiments.records import DeviceUse, TrialProgress
from kitsbench.experiments.tables import CURVE
from kitsbench.experiments.trial import telling
from kitsbench.experiments.trial.run import run_trial
from kitsbench.experiments.trial.telling import live_curve


@pytest.fixture(scope="module")
def planned(plugin, phantom, tmp_path_factory):
    """A trial that can be run in any working directory."""
    workdir = tmp_path_factory.mktemp("planned") / "work"
    request = small_request(workdir, phantom, (plugin("alpha", "Smallest"),), steps=12)
    (task,) = plan_experiment(request, costs=False).tasks
    return task.absolute()


def eager(monkeypatch):
    """Let everything be told at every step, and keep what is told."""
    told, curves = [], []
    monkeypatch.setattr(telling, "EVERY", 0.0)
    monkeypatch.setattr(telling, "RARELY", 0.0)
    monkeypatch.setattr(telling, "LINE_EVERY", 0.0)
    written, forgotten = telling.replace_text, telling.forget_curve

    def write(path, text):
        written(path, text)
        told.append(TrialProgress.read(path))

    def forget(folder):
        if live_curve(folder).is_file():
            curves.append(live_curve(folder).read_text(encoding="utf-8"))
        forgotten(folder)

    monkeypatch.setattr(telling, "replace_text", write)
    monkeypatch.setattr(telling, "forget_curve", forget)
    return told, curves


@pytest.fixture(scope="module")
def told(planned, tmp_path_factory):
    """A trial that was told of at every step: its task, what it said, and its curve as it grew."""
    with pytest.MonkeyPatch.context() as patch:
        said, curves = eager(patch)
        task = replace(planned, workdir=tmp_path_factory.mktemp("told"))
        assert run_trial(task) == "finished"
    return task, said, curves


def test_every_step_and_case_is_told_in_order(told):
    task, said, _ = told
    stages = [one.stage for one in said]
    assert stages[0] == "start"
    assert list(dict.fromkeys(stages)) == ["start", "train", "score"]
    training = [one for one in said if one.stage == "train"]
    assert [one.step for one in training] == list(range(1, 13))
    assert [one.fraction for one in training] == pytest.approx([n / 12 for n in range(1, 13)])
    assert all({"loss", "gradient norm"} <= set(one.losses) for one in training)
    assert all(one.patches_per_s > 0 for one in training[1:])
    assert training[-1].left_s > 0
    assert "tumor:dice" in training[-1].scores  # of the cases that are watched along the budget
    assert [one.count for one in said] == list(range(1, len(said) + 1))
    assert {one.sitting for one in said} == {said[0].sitting}
    assert {one.trial for one in said} == {task.id}
    assert all(one.device.name == "cpu" for one in said)
    assert all(10**7 < one.device.memory_bytes < 10**12 for one in said)
    assert said[-1].scored == len(task.test_cases) - 1  # told before each case


def test_nothing_that_was_told_on_the_way_stays(told):
    folder = told[0].folder
    assert not folder.progress.exists()
    assert not live_curve(folder).exists()
    assert list(folder.path.glob(".*")) == []


def test_the_curve_as_it_grew_is_the_curve(told):
    task, _, curves = told
    rows = [json.loads(line) for line in curves[-1].splitlines()]
    grown = pd.DataFrame(rows, columns=list(CURVE)).astype(CURVE)
    pd.testing.assert_frame_equal(grown, pd.read_parquet(task.folder.curve).astype(CURVE))


def test_a_trial_that_is_told_of_trains_the_same(told, planned, tmp_path, monkeypatch):
    monkeypatch.setattr(telling, "EVERY", 1e9)
    quiet = replace(planned, workdir=tmp_path)
    assert run_trial(quiet) == "finished"
    for name in ("scores", "curve"):
        pair = [pd.read_parquet(getattr(task.folder, name)) for task in (told[0], quiet)]
        pair = [table.drop(columns="device_seconds", errors="ignore") for table in pair]
        pd.testing.assert_frame_equal(*pair, check_exact=True)


def test_its_log_says_what_it_did_when(told):
    lines = told[0].folder.log.read_text(encoding="utf-8").splitlines()
    assert all(line[:4].isdigit() and line[10] == "T" for line in lines)
    said = [line.split(" ", 1)[1] for line in lines]
    assert f"process {os.getpid()}" in said[0]
    assert said[1] == "trains 12steps"
    assert any(line.startswith("50%, step 5: loss ") and "lr " in line for line in said)
    watched = len(told[0].trial.context.curve_cases)
    assert any(line.startswith(f"at 50%, of {watched} watched case") for line in said)
    assert any(line.startswith("trained 12 steps in ") for line in said)
    assert f"predicts and scores {len(told[0].test_cases)} held-out cases" in said
    assert said[-1] == "finished"


def test_a_trial_that_goes_on_tells_no_step_twice(planned, tmp_path, monkeypatch):
    said, curves = eager(monkeypatch)
    task = replace(planned, workdir=tmp_path, checkpoint_every=0.0)

    def stop(stage, fraction):
        if stage == "train" and fraction > 0.6:
            raise Terminated

    with pytest.raises(Terminated):
        run_trial(task, stop)
    assert "failed: killed: It was interrupted" in task.folder.log.read_text(encoding="utf-8")
    assert not task.folder.progress.exists()
    assert run_trial(task) == "finished"
    assert len({one.sitting for one in said}) == 2
    rows = [json.loads(line) for line in curves[-1].splitlines()]
    steps = [row[0] for row in rows if row[4] == "loss"]
    assert steps == sorted(set(steps)) == list(range(12))
    assert "from its checkpoint at" in task.folder.log.read_text(encoding="utf-8")


def test_a_disk_that_is_full_ends_no_trial(planned, tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    eager(monkeypatch)
    monkeypatch.setattr(telling, "replace_text", full)
    monkeypatch.setattr(telling, "live_curve", lambda folder: folder.path / "no" / "such" / "file")
    assert run_trial(replace(planned, workdir=tmp_path)) == "finished"


def test_telling_takes_a_thousandth_of_the_time(told, monkeypatch):
    """By rule, not by a measurement: after a write of a second nothing is written for 1000 s."""
    task, passed = told[0], iter([0.0, 1.0])
    clocks = {"monotonic": lambda: 50.0, "process_time": lambda: 1.0}
    clock = SimpleNamespace(perf_counter=lambda: next(passed), **clocks)
    monkeypatch.setattr(telling, "time", clock)
    teller = telling.Teller(task)
    teller._tell(50.0)
    assert teller._due == 50.0 + 1000.0
    telling.forget_progress(task.folder)


def test_what_is_logged_of_a_trial_is_its_curve_and_its_scores(told):
    task = told[0]
    found = scalars_of(task)
    assert len({(one.tag, one.step) for one in found}) == len(found)
    assert [one.step for one in found] == sorted(one.step for one in found)
    curve = pd.read_parquet(task.folder.curve)
    losses = {one.step: one.value for one in found if one.tag == "loss/loss"}
    rows = curve[(curve["kind"] == "loss") & (curve["name"] == "loss")]
    assert losses == dict(zip(rows["step"], rows["value"], strict=True))
    scores = pd.read_parquet(task.folder.scores)
    own = scores[(scores["protocol"] == task.protocols[0]) & (scores["metric"] == "dice")]
    means = own.groupby("region")["value"].mean()
    told_means = {one.tag: one.value for one in found if one.tag.startswith("held_out/")}
    for region, value in means.items():
        assert told_means[f"held_out/{region}_dice"] == pytest.approx(value)
    assert {"lr", "gradient_norm", "patches_per_s", "score/tumor_dice"} <= {o.tag for o in found}


def test_of_a_gpu_its_load_and_what_the_allocator_holds_is_told(told, monkeypatch):
    """Once training has set it up; before, asking would wake it."""
    asked = []
    monkeypatch.setattr(telling, "gpu_load", lambda device: asked.append(str(device)) or 0.5)
    monkeypatch.setattr(telling.torch.cuda, "memory_reserved", lambda device: 2**30)
    teller = telling.Teller(replace(told[0], device="cuda:1"))
    assert teller._use(1.0) == DeviceUse(name="cuda:1", load=None, memory_bytes=None)
    assert asked == []
    teller._enter("train", 0.0, 1.0)
    assert teller._use(1.0) == DeviceUse(name="cuda:1", load=0.5, memory_bytes=2**30)
    assert asked == ["cuda:1"]
