"""What ``run --add``, ``run --experiment`` and ``trials retry`` take from what was kept."""

from __future__ import annotations

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir
from stored_files import change, replan

from kitsbench.errors import UsageError
from kitsbench.experiments import experiment
from kitsbench.experiments.asked.again import RequestRecord, keep_request
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.records import find_experiment, request_file

PLAN = Plan(
    {"a": 0.0}, folds=2, seeds=1, showcase=0, predictions=False, profiles=False,
    failed=(("a", 1, 0, "out-of-memory"),),
)  # fmt: skip
KEPT = {"cpus": 3, "time": "4h"}


@pytest.fixture
def work(tmp_path):
    """A run on a cluster, and what it asked for."""
    folder = write_workdir(tmp_path / "work", PLAN)
    own = find_experiment(folder).id
    request = Request(folder, executor="slurm", executor_options=KEPT)
    keep_request(request_file(folder, own), own, request, [("unet3d", {})])
    return folder


@pytest.fixture
def planned(monkeypatch):
    """Requests that were planned; planning ends there."""
    requests = []

    def plan(request, *_, **__):
        requests.append(request)
        raise UsageError("far enough")

    monkeypatch.setattr(experiment, "plan_experiment", plan)
    return requests


@pytest.mark.parametrize(
    ("words", "executor", "options"),
    [
        (["--add", "vnet", "--slurm", "time=8h"], "slurm", {"cpus": 3, "time": "8h"}),
        (["--experiment", "", "--slurm", "time=8h"], "slurm", {"cpus": 3, "time": "8h"}),
        (["--add", "vnet", "--executor-option", "cpus=4"], "slurm", {"cpus": "4", "time": "4h"}),
        (["--add", "vnet"], "slurm", KEPT),
        (["--add", "vnet", "--executor", "local"], "local", {}),
    ],
)
def test_words_of_a_cluster_go_to_the_executor_of_before(work, planned, words, executor, options):
    words = [word or find_experiment(work).id for word in words]
    done = call_kitsbench("run", *words, "--workdir", work, "--dry-run")
    assert "far enough" in done.err
    (request,) = planned
    assert (request.executor, request.executor_options) == (executor, options)


def test_words_of_another_cluster_are_refused(work):
    done = call_kitsbench("run", "--add", "vnet", "--ray", "num_cpus=2", "--workdir", work)
    assert done.code == 2
    assert "--ray num_cpus=2 is for --executor ray; the executor is slurm" in done.err


def test_a_trial_of_another_experiment_is_not_left_out_without_a_word(work):
    first = find_experiment(work)
    failed = next(trial.id for trial in first.trials if trial.fold == 1)
    others = tuple(trial for trial in first.trials if trial.id != failed)
    second = replan(work, trials=others, endpoint="kidney_and_tumor:dice")
    for more in ([], ["--all"]):
        words = ("trials", "retry", failed[:9], *more, "--experiment", second.id[:9])
        done = call_kitsbench(*words, "--workdir", work)
        said = " ".join(done.err.split())
        assert done.code == 2
        assert f"Trial {failed} is none of experiment {second.id}" in said
        assert f"experiments that plan it: {first.id}. Leave --experiment out" in said


def test_what_was_merged_goes_on_with_what_is_named_here(work, planned, tmp_path, monkeypatch):
    own = find_experiment(work).id
    file = request_file(work, own)
    request = Request(work, executor="slurm", executor_options={"setup": "touch ran"})
    keep_request(file, own, request, [("/there/net.py", {"width": "0.5"})])
    change(file, RequestRecord, merged_from="/mnt/other")
    monkeypatch.chdir(tmp_path)
    words = ("net.py", "--executor", "slurm", "--slurm", "time=8h", "--workdir", work)
    done = call_kitsbench("run", "--experiment", own, *words)
    assert "far enough" in done.err
    (request,) = planned
    assert request.architectures == (f"{tmp_path / 'net.py'}:width=0.5",)
    assert request.executor_options == {"time": "8h"}
