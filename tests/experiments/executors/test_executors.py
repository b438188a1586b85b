"""Trials end with the same files whatever runs them, and move between executors."""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import TESTS, call_kitsbench

from kitsbench.devices.choose import choose_devices
from kitsbench.errors import UsageError
from kitsbench.experiments.asked.search_space import read_tuning
from kitsbench.experiments.executors import carry_out as carrying
from kitsbench.experiments.executors import local
from kitsbench.experiments.executors.choose import choose_executor
from kitsbench.experiments.executors.cluster import ClusterExecutor, Ended
from kitsbench.experiments.executors.events import Event
from kitsbench.experiments.executors.on_ray import (
    _said_of,
    _telling_line,
    quiet,
    see_that_it_answers,
)
from kitsbench.experiments.executors.options import RayOptions, read_options, split_pairs
from kitsbench.experiments.executors.slurm_options import SlurmOptions
from kitsbench.experiments.experiment import plan_experiment, run_experiment
from kitsbench.experiments.machines.machine import Node, this_machine
from kitsbench.experiments.records import LedgerRecord, TrialRecord, Unscored
from kitsbench.experiments.trial.log import keep_short
from kitsbench.experiments.trial.run import run_trial
from kitsbench.isolation.messages import to_json
from kitsbench.training.budget import Budget


def carry_out(request):
    """Run a request; returns the experiment and the events."""
    events = []
    experiment = plan_experiment(request)
    executor = choose_executor(request, experiment.machine)
    return run_experiment(experiment, executor, events.append), events


@pytest.mark.slow
def test_half_of_an_experiment_runs_here_and_the_rest_as_jobs(base, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.chdir(tmp_path)
    request = replace(base, workdir=Path("work"))
    carry_out(replace(request, folds=(0,)))
    workdir = tmp_path / "work"
    before = {file: file.stat().st_mtime_ns for file in workdir.glob("trials/*/*.json")}
    jobs = replace(request, executor="slurm", executor_options={"cluster": "local"})
    done, events = carry_out(jobs)
    assert {task.folder.read_status().status for task in done.tasks} == {"finished"}
    assert {file: file.stat().st_mtime_ns for file in before} == before
    (moved,) = {event.task.id for event in events}
    here = next(task.id for task in done.tasks if task.id != moved)
    files = [{f.name for f in (workdir / "trials" / name).iterdir()} for name in (here, moved)]
    assert files[0] == files[1]
    # What was a job gives the same scores when it is trained here.
    other = replace(request, workdir=tmp_path / "other", folds=(1,))
    carry_out(other)
    found = [
        pd.read_parquet(f / "trials" / moved / "scores.parquet") for f in (workdir, other.workdir)
    ]
    pd.testing.assert_frame_equal(*found, check_exact=True)


class Unreliable:
    """A backend whose first workers vanish without a word, or after they were told to end."""

    lasting = False

    def __init__(self, losses, told=False):
        self.losses, self.told, self.submitted = losses, told, []

    def submit(self, work, trials):
        self.submitted += work
        return list(work)

    def poll(self, work):
        if len(self.submitted) <= self.losses and self.told:
            work.task.folder.set_status("failed", "killed", "the node is gone")
            return Ended(("failed", "the node is gone"))
        if len(self.submitted) <= self.losses:
            return Ended(None, "the node is gone")
        return Ended(work())

    def cancel(self, work):
        pass

    def forget(self, work):
        pass


@pytest.mark.parametrize(
    ("losses", "retries", "told"), [(1, 2, False), (3, 1, False), (1, 1, True)]
)
def test_a_trial_whose_worker_vanishes_is_tried_again_or_recorded(
    base, tmp_path, losses, retries, told
):
    request = replace(base, workdir=tmp_path / "work", folds=(0,))
    experiment = plan_experiment(request)
    backend, events = Unreliable(losses, told), []
    run_experiment(experiment, ClusterExecutor(backend, "cpu", retries=retries), events.append)
    (task,) = experiment.tasks
    status = task.folder.read_status()
    kinds = [event.kind for event in events if event.kind in ("retried", "failed", "finished")]
    if losses <= retries:
        assert kinds == ["retried"] * losses + ["finished"]
        assert [work.again for work in backend.submitted] == [False] + [True] * losses
    else:
        assert kinds == ["retried"] * retries + ["failed"]
        assert (status.status, status.reason) == ("failed", "killed")
        assert "vanished 2 times: the node is gone" in status.message


def test_a_node_without_the_working_directory_or_of_another_class_is_refused(base, tmp_path):
    request = replace(base, workdir=tmp_path / "work", folds=(0,), budget=Budget(3, "seconds"))
    experiment = plan_experiment(request)
    executor = ClusterExecutor(Unreliable(0), "cpu")
    with pytest.raises(UsageError, match="does not see"):
        executor.execute(experiment.tasks, lambda event: None)
    (task,) = experiment.tasks
    assert task.folder.read_status().status == "pending"
    identity = task.trial.identity.model_copy(update={"device_class": "cpu: an abacus, 1 threads"})
    foreign = replace(task, trial=TrialRecord.of(identity, task.trial.context))
    experiment = replace(experiment, tasks=[foreign])
    run_experiment(experiment, ClusterExecutor(Unreliable(0), "cpu"), lambda event: None)
    status = foreign.folder.read_status()
    assert (status.status, status.reason) == ("failed", "wrong device")
    assert "an abacus" in status.message


def gpus(monkeypatch, *names):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(
        torch.cuda, "get_device_name", lambda device: names[torch.device(device).index or 0]
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))


def finish_and_linger(outbox, task):
    """Body of a trial's process that has said how it ended and does not come to its end."""
    end = run_trial(task)
    outbox.send(to_json(stage="score", fraction=1.0))
    outbox.send(to_json(end=end))
    time.sleep(600)


def test_a_finished_trial_stays_finished_though_its_process_has_to_be_stopped(
    base, tmp_path, monkeypatch
):
    experiment = plan_experiment(replace(base, workdir=tmp_path / "work", folds=(0,)))
    (task,) = experiment.tasks
    monkeypatch.setattr(local, "_child", finish_and_linger)
    executor, events = local.LocalExecutor(timeout=600), []

    def notify(event):
        events.append(event)
        if event.kind == "progress":  # its time is over while it takes its leave
            executor._running[0].deadline = 0.0

    executor.execute([task], notify)
    assert events[-1].kind == "finished"
    assert task.folder.read_status().status == "finished"


def say_nothing(outbox, task):
    """Body of a trial's process that hangs."""
    time.sleep(600)


class Unfit(Unreliable):
    """A backend whose nodes are none for the trial."""

    def poll(self, work):
        return Ended(("unfit", "The node gave no GPU."))


def test_what_is_trained_stays_so_however_its_scoring_is_cut_short(base, tmp_path, monkeypatch):
    experiment = plan_experiment(replace(base, workdir=tmp_path / "work", folds=(0,)))
    (task,), events = experiment.tasks, []
    folder = task.folder
    assert run_trial(task) == "finished"
    before, scores = folder.read_status(), folder.scores.read_bytes()
    folder.scores.unlink()
    monkeypatch.setattr(local, "_child", say_nothing)
    for executor, reason in (
        (local.LocalExecutor(timeout=0.0), "timeout"),
        (ClusterExecutor(Unfit(0), "cpu"), "wrong device"),
        (Telling("lost", "lost"), "disk error"),
    ):
        carrying.carry_out([task], executor, events.append)
        assert events[-1].kind == "failed"
        assert events[-1].message.startswith(f"{reason}: ")
        assert folder.read_status() == before
        assert Unscored.read(folder.unscored).reason == reason
    assert run_trial(task) == "finished"
    assert folder.scores.read_bytes() == scores
    assert folder.read_status() == before


class Telling:
    """An executor that tells of one event of a trial at each call."""

    def __init__(self, *kinds):
        self.kinds = list(kinds)

    def execute(self, tasks, notify):
        for task in tasks:
            notify(Event(task, self.kinds.pop(0)))


def test_a_lost_lease_is_no_other_process_and_nobody_is_waited_for_for_ever(
    base, tmp_path, monkeypatch
):
    monkeypatch.setattr(carrying, "ASK_AGAIN", 0.0)
    monkeypatch.setattr(carrying, "PATIENCE", 3)
    (task,) = plan_experiment(replace(base, workdir=tmp_path / "work", folds=(0,))).tasks
    folder = task.folder

    def told(*kinds):
        events = []
        carrying.carry_out([task], Telling(*kinds), events.append)
        return [event.kind for event in events], folder.read_status()

    # Somebody who holds it and is gone without a word.
    kinds, _ = told("taken", "finished")
    assert kinds == ["taken", "finished"]
    kinds, status = told("lost", "finished")
    assert kinds == ["retried", "finished"]
    kinds, status = told("lost", "lost")
    assert kinds == ["retried", "failed"]
    assert (status.status, status.reason) == ("failed", "disk error")
    assert "by no other run, 2 times" in status.message
    # Somebody who holds the lease and never renews it.
    (folder.path / "lease.json").write_text("{}")
    kinds, status = told(*["taken"] * 9)
    assert kinds == ["taken"] * 4 + ["failed"]
    assert "does not renew it" in status.message


def test_paths_mean_the_same_wherever_a_plugin_goes(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (task,) = plan_experiment(replace(base, workdir=Path("work"), folds=(0,))).tasks
    assert task.workdir == tmp_path / "work"
    paths = [*task.stores.values(), *(case.image for case in task.cases.values())]
    assert all(path.is_absolute() for path in paths)


def test_a_log_has_a_limit_and_keeps_its_beginning_and_its_end(tmp_path):
    file = tmp_path / "log.txt"
    keep_short(file)
    with open(file, "a") as log:
        for number in range(400_000):
            log.write(f"line {number}\n")
        log.flush()
        keep_short(file)
        log.write("the last line\n")
    kept = file.read_text()
    assert len(kept) < 2**20
    assert kept.startswith("line 0\nline 1\n")
    assert kept.endswith("line 399999\nthe last line\n")
    assert "bytes were left out here" in kept


def test_devices_are_shared_out_among_trials(base, monkeypatch):
    gpus(monkeypatch, "A", "A", "A", "A")
    every = replace(base, device="auto")
    assert this_machine(every).slots == (("cuda:0",), ("cuda:1",), ("cuda:2",), ("cuda:3",))
    two = replace(base, device="cuda:1,cuda:3")
    assert this_machine(two).slots == (("cuda:1",), ("cuda:3",))
    pairs = this_machine(replace(every, world_size=2))
    assert pairs.slots == (("cuda:0", "cuda:1"), ("cuda:2", "cuda:3"))
    assert pairs.threads * 4 <= max(os.cpu_count() or 1, 4)
    shared = this_machine(replace(two, jobs=3))
    assert shared.slots == (("cuda:1",), ("cuda:3",), ("cuda:1",))
    with pytest.raises(UsageError, match="share a GPU"):
        this_machine(replace(two, jobs=3, budget=Budget(60, "seconds")))
    with pytest.raises(UsageError, match="share a GPU"):
        this_machine(replace(two, jobs=3, tuning=read_tuning(2, {"budget": "20s"})))
    with pytest.raises(UsageError, match="wants 8 GPUs"):
        this_machine(replace(every, world_size=8))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("cuda:7", "cuda:7"),
        ("cuda:0,cuda:0", "twice"),
        ("tpu", "cannot be read"),
        ("cuda:0;cuda:1", "cannot be read"),
    ],
)
def test_devices_that_are_not_there_are_named(monkeypatch, wish, words):
    gpus(monkeypatch, "A", "A")
    with pytest.raises(UsageError, match=words):
        choose_devices(wish)


def test_a_trial_on_the_phantom_has_one_thread_on_every_machine(base, monkeypatch):
    monkeypatch.setattr("kitsbench.experiments.machines.machine.usable_cores", lambda: 64)
    on_files = replace(base, device="cpu")
    assert this_machine(on_files).threads == 16
    assert this_machine(replace(on_files, dataset=None)).threads == 1
    assert this_machine(replace(on_files, dataset="phantom", jobs=1)).threads == 1


def test_networks_are_computed_in_what_the_devices_are_made_for(base, monkeypatch):
    assert this_machine(replace(base, device="cpu")).precision == "float32"
    with pytest.raises(UsageError, match="needs a GPU"):
        this_machine(replace(base, device="cpu", precision="float16"))
    gpus(monkeypatch, "A", "A")
    every = replace(base, device="auto")
    assert this_machine(every).precision == "float16"
    assert this_machine(replace(every, precision="float32")).precision == "float32"
    assert this_machine(replace(every, device="cpu")).precision == "float32"
    with pytest.raises(UsageError, match="capability 8"):
        this_machine(replace(every, precision="bfloat16"))


def test_unequal_devices_do_not_share_an_experiment(base, monkeypatch):
    gpus(monkeypatch, "A", "B")
    with pytest.raises(UsageError, match="differ"):
        this_machine(replace(base, device="cuda"))


def test_devices_of_unequal_power_share_no_time(base, monkeypatch):
    gpus(monkeypatch, "A", "A")
    monkeypatch.setattr(
        "kitsbench.experiments.machines.machine.device_class",
        lambda device, threads: f"cuda: A, {300 + 100 * device.index} W",
    )
    timed = replace(base, device="cuda", budget=Budget(60, "seconds"))
    with pytest.raises(UsageError, match=r"differ \(cuda: A, 300 W; cuda: A, 400 W\)"):
        this_machine(timed)
    assert this_machine(replace(timed, device="cuda:1")).device_class == "cuda: A, 400 W"
    assert len(this_machine(replace(timed, budget=Budget(9, "steps"))).slots) == 2


def test_options_of_executors_are_checked():
    assert read_options("ray", {"cpus": "4", "memory": "2GiB"}) == RayOptions(cpus=4, memory="2GiB")
    assert read_options("slurm", {"time": "2h", "partition": "gpu"}).minutes == 120
    assert isinstance(read_options("slurm", {}), SlurmOptions)
    assert split_pairs(("partition=gpu", "setup=export A=1")) == {
        "partition": "gpu",
        "setup": "export A=1",
    }
    for executor, given, words in [
        ("ray", {"partition": "gpu"}, "no option 'partition'"),
        ("local", {"cpus": 1}, "has no options"),
        ("slurm", {"cpus": "many"}, "cpus=many"),
        ("slurm", {"time": "soon"}, "soon"),
        ("slurm", {"memory": "much"}, "much"),
        ("slurm", {"cluster": "cloud"}, "cloud"),
    ]:
        with pytest.raises(UsageError, match=words):
            read_options(executor, given)
    with pytest.raises(UsageError, match="key=value"):
        split_pairs(("partition",))


def test_a_configuration_file_describes_the_cluster_and_a_plan_names_its_cost(
    base, tmp_path, monkeypatch
):
    file = tmp_path / "run.toml"
    file.write_text(
        f'architectures = ["{base.architectures[0]}"]\ndataset = "{base.dataset}"\n'
        'spacing = 9\npatch = 16\nsplit = 2\nseeds = 1\nfolds = [0]\nbudget = "7s"\n'
        'device = "cpu"\n[executor]\nname = "slurm"\ncluster = "local"\ncpus = 1\n'
    )
    pytest.importorskip("submitit")
    done = call_kitsbench(
        "run", "--config", file, "--workdir", tmp_path / "work", "--dry-run", "--json"
    )
    assert done.code == 0, done.err
    assert done.json["executor"] == "slurm"
    assert done.json["trials"][0]["estimate"] == {"device_seconds": 7.0, "basis": "budget"}
    assert done.json["estimate"]["open_trials"] == 1
    # The class of the device was asked of a worker, and is kept.
    (probe,) = (tmp_path / "work" / "machines").glob("*.json")
    assert Node.read(probe).kind == "cpu"


def test_a_plan_learns_from_trials_that_have_finished(base, tmp_path, monkeypatch):
    from kitsbench.experiments.plan.estimate import estimate

    request = replace(base, workdir=tmp_path / "work", folds=(0,))
    before = plan_experiment(request)
    assert {e["basis"] for e in estimate(before.tasks).values()} == {"none"}
    carry_out(request)
    longer = plan_experiment(replace(request, budget=Budget(40, "steps")))
    (found,) = estimate(longer.tasks).values()
    ledger = LedgerRecord.read(before.tasks[0].folder.ledger)
    assert found["basis"] == "finished trials"
    assert found["device_seconds"] == pytest.approx(10 * ledger.device_seconds)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.0.0.1", "write HOST:PORT"),
        ("ray://10.0.0.1", "write HOST:PORT"),
        ("10.0.0.1:99999999", "write HOST:PORT"),
        (f"{'a' * 70}.invalid:6379", "There is no Ray cluster at"),
        ("127.0.0.1:{free}", "There is no Ray cluster at '127.0.0.1:{free}' (Connection refused)"),
        ("ray://[::1]:{free}", "There is no Ray cluster at 'ray://[::1]:{free}'"),
    ],
)
def test_a_place_where_no_cluster_can_be_is_refused_before_ray_is_asked(address, words):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        free = one.getsockname()[1]
    with pytest.raises(UsageError, match=re.escape(words.replace("{free}", str(free)))):
        see_that_it_answers(address.replace("{free}", str(free)))


def test_what_ray_does_not_say_of_a_cluster_is_said(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert "RAY_AUTH_MODE=token here too" in _said_of("10.0.0.1:6379")
    assert "Ray takes 127.0.0.1 for this machine's own address" in _said_of("ray://127.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert _said_of("10.0.0.1:6379") == ""


def test_what_a_node_lacks_is_told_and_not_where_ray_met_it():
    met = "\x1b[36mray::call()\x1b[39m (pid=7, ip=10.0.0.2)\n  File x\n"
    met += "ray.exceptions.RaySystemError: System error: No module named 'kitsbench'\n"
    met += "traceback: Traceback (most recent call last):\n"
    assert _telling_line(met + "ModuleNotFoundError: No module named 'kitsbench'\n") == (
        "ModuleNotFoundError: No module named 'kitsbench'"
    )
    assert _telling_line("The worker died unexpectedly.\nCheck its log.") == (
        "The worker died unexpectedly."
    )


def test_somebody_who_listens_is_left_to_ray():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        see_that_it_answers(f"127.0.0.1:{listener.getsockname()[1]}")
    see_that_it_answers("auto")


def test_what_ray_prints_past_python_while_it_connects_is_dropped(capfd):
    with quiet():
        os.write(2, b"DNS resolution failed")
    os.write(2, b"afterwards")
    assert capfd.readouterr().err == "afterwards"
