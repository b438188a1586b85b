"""Trials that begin with the weights of a file: named by what it holds, and free of it later."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace

import pytest
import torch
from command_line import call_kitsbench
from documented import example
from experiments.small_requests import small_request

from kitsbench.architecture import Task, configure
from kitsbench.errors import UsageError
from kitsbench.experiments.asked.again import RequestRecord
from kitsbench.experiments.experiment import plan_experiment, run_experiment
from kitsbench.experiments.predict import open_trials
from kitsbench.experiments.records import LedgerRecord, TrialRecord
from kitsbench.experiments.trial.run import run_trial
from kitsbench.registry import load
from kitsbench.training.budget import Budget


class Here:
    """An executor that runs trials in this process."""

    def execute(self, tasks, notify):
        for task in tasks:
            assert run_trial(task) == "finished", task.folder.read_status()


def save(file, seed):
    """Weights of the network of the plugin beside a file."""
    torch.manual_seed(seed)
    architecture = load(str(file.with_name("gamma.py"))).architecture
    spec = architecture.spec(configure(architecture), Task(patch=(16, 16, 16)))
    torch.save(architecture.build(spec).state_dict(), file)


@pytest.fixture(scope="module")
def run(phantom, tmp_path_factory):
    """A finished trial of the documented plugin whose file is gone, and its request."""
    folder = tmp_path_factory.mktemp("pretrained")
    (folder / "gamma.py").write_text(example("Initial weights"), encoding="utf-8")
    file = folder / "liver net.pt"
    save(file, 1)
    request = small_request(
        folder / "work",
        phantom,
        (f"{folder / 'gamma.py'}:weights={file}",),
        steps=2,
        command=f"kitsbench run 'gamma.py:weights={file}' --seeds 1",
    )
    experiment = plan_experiment(request)
    (task,) = experiment.tasks
    save(file, 2)
    (other,) = plan_experiment(request).tasks
    save(file, 1)
    typed = replace(request, architectures=(f"gamma.py:weights={file.name}",))
    with contextlib.chdir(folder):
        run_experiment(replace(experiment, request=typed), Here(), lambda event: None)
    file.unlink()
    return request, task, other, file


def test_the_trial_holds_the_hash_of_the_file_and_not_its_path(run):
    request, task, other, file = run
    assert other.id != task.id  # another file of the same name
    record = TrialRecord.read(task.folder.trial)
    content = record.identity.config["weights"]
    assert content.startswith("sha256:")
    assert record.name == f"gamma:weights={content[:19]}"
    assert record.identity.pretrained_on == "BTCV and MSD Spleen"
    for stored in request.workdir.rglob("*.json"):
        if stored.name == "request.json":
            # For whoever adds to the experiment here, from whatever folder.
            assert RequestRecord.read(stored).options["architectures"] == [*request.architectures]
            continue
        text = stored.read_text()
        assert file.name not in text, stored
        assert str(file.parent / file.stem) not in text, stored
    (experiment,) = (
        f for f in request.workdir.glob("experiments/*.json") if "latest" not in f.name
    )
    assert f"weights={content}" in json.loads(experiment.read_text())["command"]
    begun = LedgerRecord.read(task.folder.ledger).initial
    assert (begun.files, begun.n_missing, begun.share) == (["weights"], 0, 1.0)


def test_prediction_and_report_do_without_the_file(run, phantom, tmp_path):
    request, task, _, file = run
    scan = next(phantom.rglob("case_00000/imaging.nii.gz"))
    own = ("--workdir", request.workdir)
    code = file.with_name("gamma.py")
    done = call_kitsbench("predict", task.id, scan, "-o", tmp_path, *own, "--plugin", code)
    assert done.code == 0, done.err
    assert (tmp_path / "case_00000.nii.gz").is_file()
    done = call_kitsbench("report", request.workdir, "-o", tmp_path / "report")
    assert done.code == 0, done.err


def test_who_runs_it_again_gives_the_hash_in_place_of_the_file(run):
    request, task, _, file = run
    with pytest.raises(UsageError, match="there is no such file"):
        plan_experiment(request)
    content = task.trial.identity.config["weights"]
    again = replace(request, architectures=(f"{file.with_name('gamma.py')}:weights={content}",))
    (found,) = plan_experiment(again).tasks
    assert (found.id, found.name) == (task.id, task.name)
    with pytest.raises(UsageError, match=r"by its hash alone, but its trial .* is still to be"):
        plan_experiment(replace(again, budget=Budget(3, "steps")))


def test_more_is_added_where_the_file_is_gone_and_a_new_training_asks_for_it(run, tmp_path):
    request, task, _, file = run
    content, code = task.trial.identity.config["weights"], file.with_name("gamma.py")
    words = ("run", "--add", "--workdir", request.workdir, "--dry-run", "--json")
    more = call_kitsbench(*words, code)
    assert more.code == 0, more.err
    states = {trial["id"]: trial["status"] for trial in more.json["trials"]}
    assert sorted(states.values()) == ["finished", "pending"]
    assert states[task.id] == "finished"
    refused = call_kitsbench(*words, "--seeds", "2")
    assert refused.code == 2
    said = " ".join(refused.err.split())
    assert f"weights={content} names the file of {task.name} by its hash alone" in said
    assert f"give the path of the file, or put it back at {file}." in said
    # The same file at another place, whose name has what lists have between their parts.
    other = tmp_path / "a, b=c" / "liver.pt"
    other.parent.mkdir()
    save(file, 1)
    file.rename(other)
    given = call_kitsbench(*words, f'{code}:weights="{other}"', "--seeds", "2")
    assert given.code == 0, given.err
    assert {trial["architecture"] for trial in given.json["trials"]} == {task.name}
    assert sorted(t["status"] for t in given.json["trials"]) == ["finished", "pending"]


def test_other_packages_end_a_training_and_are_told_to_who_predicts(run, tmp_path):
    _, task, _, file = run
    identity = task.trial.identity.model_copy(update={"packages": {"monai": "1.6.1"}})
    trial = TrialRecord.of(identity, task.trial.context)
    other = replace(task, trial=trial, workdir=tmp_path)
    assert run_trial(other) == "failed"
    status = other.folder.read_status()
    assert status.reason == "plugin error"
    assert "(monai 1.6.1 -> none): install the same ones everywhere" in status.message
    shutil.copytree(task.folder.checkpoints, other.folder.checkpoints, dirs_exist_ok=True)
    # Another file of the same name is given as well; what is in them tells which is meant.
    (tmp_path / "gamma.py").write_text(file.with_name("gamma.py").read_text() + "# another\n")
    plugins = [tmp_path / "gamma.py", file.with_name("gamma.py")]
    opened = open_trials([other.folder.path], torch.device("cpu"), plugins=plugins)
    (remark,) = opened.remarks
    assert "have changed (monai 1.6.1 -> none), so its label maps may differ" in remark
    assert open_trials([task.folder.path], torch.device("cpu"), plugins=plugins).remarks == []
