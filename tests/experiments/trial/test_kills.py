"""Trials that are killed at any moment end as if they had not been."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.executors import local
from kitsbench.experiments.executors.carry_out import carry_out
from kitsbench.experiments.executors.local import LocalExecutor
from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.records import LedgerRecord
from kitsbench.experiments.trial.run import run_trial
from kitsbench.files import read_json, write_json
from kitsbench.isolation import process_context
from kitsbench.training.budget import Budget
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint, load_checkpoint

# Two stages, a plateau rule in one of them, averaged weights, and dropout: whatever has a state.
PLUGIN = """
import time
from dataclasses import replace

from torch import nn

from architectures import PATCH, Shared, Staged
from kitsbench.recipe import Optimiser, Recipe, Schedule, Transform


class Restless(Staged):
    title = "Restless"
    nap = {nap}

    def spec(self, config, task):
        spec = super().spec(config, task)
        plateau = Schedule("plateau", patience=0.02, factor=0.5)
        first = replace(spec.stages[0], optimiser=Optimiser("adam", lr=0.02), schedule=plateau)
        paper = Recipe(
            "own", spacing=(9.0, 9.0, 9.0), patch=PATCH, average=0.8,
            augmentation=(Transform("noise", 1.0), Transform("mirror", 0.5)),
            optimiser=Optimiser("adamw", lr=0.01),
        )
        return replace(spec, stages=(first, spec.stages[1]), paper=paper)

    def build(self, spec):
        network = Shared(spec)
        network.trunk.append(nn.Dropout3d(0.2))
        return network

    def loss(self, outputs, targets, progress, spec):
        time.sleep(self.nap)
        total, parts = super().loss(outputs, targets, progress, spec)
        return total + 0.5 * progress.step, parts  # rises, so that a plateau is found
"""


@pytest.fixture(scope="module")
def plan(phantom, tmp_path_factory):
    """Plan trials of the restless plugin; they checkpoint after every step."""

    def make(steps: int, nap: float = 0.0, every: float = 0.0, names=("restless",), **fields):
        folder = tmp_path_factory.mktemp("plan")
        for name in names:
            (folder / f"{name}.py").write_text(PLUGIN.format(nap=nap), encoding="utf-8")
        request = Request(
            workdir=folder / "work",
            architectures=tuple(str(folder / f"{name}.py") for name in names),
            dataset=str(phantom),
            recipe="paper",
            budget=Budget(steps, "steps"),
            split="2",
            device="cpu",
            jobs=1,
            **fields,
        )
        return [replace(t, checkpoint_every=every) for t in plan_experiment(request).tasks]

    return make


def work(tasks):
    """Body of a process that runs trials one after the other."""
    for task in tasks:
        run_trial(task)


def work_until(task, name):
    """Run a trial up to where one of its files, whole already, gets its name."""
    rename = os.replace

    def stop(temporary, path):
        if Path(path).name == name:
            os._exit(9)
        rename(temporary, path)

    os.replace = stop
    run_trial(task)


def work_under_quota(task, largest):
    """Run a trial where no file may grow beyond some bytes."""
    sys.dont_write_bytecode = True  # Python would keep a compiled module that was cut short
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.exit(run_trial(task) != "failed")


def work_beside_others(tasks):
    """Run trials, and come back to those that another process works on."""
    while tasks:
        tasks = [task for task in tasks if run_trial(task) == "taken"]
        time.sleep(0.05)


def start(*arguments, body=work):
    process = process_context().Process(target=body, args=arguments)
    process.start()
    return process


def exit_code(process) -> int:
    process.join()
    return process.exitcode


def kill(process) -> None:
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def remains(task):
    """Everything that a finished trial leaves and that no clock has a hand in."""
    folder = task.folder
    model, optimiser, _ = load_checkpoint(latest_checkpoint(folder.checkpoints))
    curve = pd.read_parquet(folder.curve).drop(columns="device_seconds")
    ledger = LedgerRecord.read(folder.ledger)
    stages = [replace(row, from_seconds=0.0, device_seconds=0.0) for row in ledger.stages]
    return {
        "model": model,
        "moments": [v for s in optimiser["state"].values() for v in s.values()],
        "scores": pd.read_parquet(folder.scores),
        "curve": curve,
        "spent": [ledger.steps, ledger.patches, ledger.voxels, ledger.flops],
        "told": (stages, ledger.lr_reductions),
        "maps": {
            p.name: np.asanyarray(nib.load(p).dataobj) for p in folder.predictions.glob("*.nii.gz")
        },
    }


def assert_same(task, undisturbed) -> None:
    assert task.folder.read_status().status == "finished"
    found, expected = remains(task), remains(undisturbed)
    assert found["model"].keys() == expected["model"].keys()
    assert all(torch.equal(found["model"][k], expected["model"][k]) for k in expected["model"])
    pairs = zip(found["moments"], expected["moments"], strict=True)
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)
    pd.testing.assert_frame_equal(found["scores"], expected["scores"], check_exact=True)
    pd.testing.assert_frame_equal(found["curve"], expected["curve"], check_exact=True)
    assert found["spent"] == expected["spent"]
    assert found["told"] == expected["told"]
    assert found["maps"].keys() == expected["maps"].keys()
    assert all(np.array_equal(found["maps"][k], expected["maps"][k]) for k in expected["maps"])


def undisturbed(tasks, folder):
    """The same trials in a working directory where nobody kills them, and how long they took."""
    whole = [replace(task, workdir=folder) for task in tasks]
    process = start(whole)
    while process.is_alive() and not (whole[0].folder.path / "lease.json").exists():
        time.sleep(0.005)
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return whole, time.monotonic() - began


def kill_at_random(task, duration, kills, seed) -> int:
    """Start a trial and kill it, again and again, after part of the time that it takes."""
    rng, done = random.Random(seed), 0
    while done < kills and task.folder.read_status().status != "finished":
        process = start([task])
        while process.is_alive() and not (task.folder.path / "lease.json").exists():
            time.sleep(0.002)
        # The first comes early: the machine may have become faster since it was timed.
        process.join(rng.uniform(0, duration if done else duration / 4))
        done += process.is_alive()
        kill(process)
    return done


@pytest.mark.exhaustive
def test_a_trial_killed_at_random_moments_ends_as_if_it_had_not_been(plan, tmp_path):
    (task,) = plan(steps=10, folds=(0,), seeds=1)
    (whole,), duration = undisturbed([task], tmp_path)
    assert LedgerRecord.read(whole.folder.ledger).lr_reductions
    assert kill_at_random(task, duration, kills=5, seed=time.time_ns()) >= 1
    assert run_trial(task) == "finished"
    assert_same(task, whole)


@pytest.mark.slow
def test_a_kill_between_any_two_files_of_the_end_loses_nothing(plan, tmp_path):
    (task,) = plan(steps=3, folds=(0,), seeds=1)
    (whole,), _ = undisturbed([task], tmp_path)
    for name in ("curve.parquet", "scores.parquet", "ledger.json"):
        assert exit_code(start(task, name, body=work_until)) == 9
        assert task.folder.read_status().status == "running"
    trained = latest_checkpoint(task.folder.checkpoints).stat().st_mtime_ns
    assert run_trial(task) == "finished"
    assert latest_checkpoint(task.folder.checkpoints).stat().st_mtime_ns == trained
    assert not task.folder.partial_scores.exists()
    assert_same(task, whole)


def test_scores_of_other_weights_and_missing_predictions_are_made_anew(plan, tmp_path):
    (task,) = plan(steps=3, folds=(0,), seeds=1)
    (whole,), _ = undisturbed([task], tmp_path)
    assert exit_code(start(task, "scores.parquet", body=work_until)) == 9
    kept = read_json(task.folder.partial_scores)
    for row in [row for rows in kept["scored"].values() for row in rows]:
        row["value"] = 0.123
    write_json(task.folder.partial_scores, {**kept, "weights": ["of another network"]})
    next(task.folder.predictions.glob("*.nii.gz")).unlink()
    assert run_trial(task) == "finished"
    assert_same(task, whole)


@pytest.mark.exhaustive
def test_a_quota_hit_in_the_middle_loses_nothing_and_is_named(plan):
    finished, task = plan(steps=3, seeds=1)
    assert run_trial(finished) == "finished"
    before = {p: p.stat().st_mtime_ns for p in finished.folder.path.rglob("*")}
    # A status fits, weights do not.
    assert exit_code(start(task, 5000, body=work_under_quota)) == 0
    status = task.folder.read_status()
    assert (status.status, status.reason) == ("failed", "disk error")
    assert "quota was full" in status.message
    assert "run the same command again" in status.message
    assert run_trial(task) == "finished"
    assert run_trial(finished) == "finished"
    assert {p: p.stat().st_mtime_ns for p in finished.folder.path.rglob("*")} == before


@pytest.mark.exhaustive
def test_two_processes_on_the_same_trials_train_each_once(plan):
    tasks = plan(steps=8, seeds=2, nap=0.02)
    orders = (tasks, tasks[::-1])
    processes = [start(order, body=work_beside_others) for order in orders]
    assert [exit_code(process) for process in processes] == [0, 0]
    for task in tasks:
        assert task.folder.read_status().status == "finished"
        ledger = LedgerRecord.read(task.folder.ledger)
        assert (ledger.steps, ledger.resumed) == (8, 0)
        assert not (task.folder.path / "lease.json").exists()


SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGSTOP")
    if name in dir(signal)
)


# By how many processes stand between them and the one that was started.
KINDS = ("the run", "server of processes", "keeper", "trial", "started by a trial")


class Disturber(threading.Thread):
    """Sends signals to processes that this one has started, at random moments, until told.

    Attributes
    ----------
    sent : list of (str, str)
        To which kind of process each signal went, and which it was.
    """

    def __init__(self, seed, kills, root=None, longest=1.0):
        super().__init__(daemon=True)
        self.rng, self.kills, self.root = random.Random(seed), kills, root or os.getpid()
        self.longest, self.sent, self.over = longest, [], threading.Event()
        self.begun = root is None
        # The server of processes takes its time to start again; whole runs lose it in other tests.
        self.spared = {self.root, *self.tree()} if root is None else set()

    def tree(self):
        """Processes with their kinds: those below the root, and the root itself."""
        found, layer = {}, [self.root]
        for kind in KINDS:
            below = [child for pid in layer for child in children(pid)]
            found |= dict.fromkeys(layer, kind)
            layer = below
        return found

    def run(self):
        while len(self.sent) < self.kills and not self.over.wait(
            self.rng.uniform(0.05, self.longest)
        ):
            tree = {pid: kind for pid, kind in self.tree().items() if pid not in self.spared}
            # Before a trial runs there is nothing to disturb but a run that begins.
            self.begun |= "trial" in tree.values()
            if not tree or not self.begun:
                continue
            # The kind first, since there are more of some.
            kind = self.rng.choice(sorted(set(tree.values())))
            pid = self.rng.choice([pid for pid, own in tree.items() if own == kind])
            number = self.rng.choice(SIGNALS)
            try:
                os.kill(pid, number)
            except OSError:
                continue
            self.sent.append((kind, number.name))
            if pid == self.root and number == signal.SIGSTOP:
                # Nobody else can wake the one that watches over all others.
                self.over.wait(1.0)
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGCONT)


def children(pid) -> list[int]:
    """Processes below another that have not ended."""
    try:
        below = psutil.Process(pid).children()
        return [one.pid for one in below if one.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:
        return []


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")
def test_signals_to_the_processes_of_a_run_change_no_score(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "STOPPED_FOR", 1.0)
    tasks = plan(steps=6, nap=0.05, seeds=1)
    whole = [replace(task, workdir=tmp_path) for task in tasks]
    LocalExecutor(slots=(("cpu",),) * 2).execute(whole, lambda event: None)
    disturber = Disturber(time.time_ns(), kills=5)
    disturber.start()
    try:
        for _ in range(12):
            carry_out(tasks, LocalExecutor(slots=(("cpu",),) * 2), lambda event: None)
            reasons = {task.folder.read_status().reason for task in tasks}
            assert reasons <= {None, "killed"}, disturber.sent
            if reasons == {None}:
                break
    finally:
        disturber.over.set()
        disturber.join()
    assert disturber.sent
    for task, expected in zip(tasks, whole, strict=True):
        assert_same(task, expected)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(6))
def test_a_trial_killed_at_many_random_moments_ends_as_if_it_had_not_been(plan, tmp_path, seed):
    (task,) = plan(steps=24, folds=(0,), seeds=1)
    (whole,), duration = undisturbed([task], tmp_path)
    kill_at_random(task, min(duration, 0.5), kills=10, seed=seed)
    assert run_trial(task) == "finished"
    assert_same(task, whole)


@pytest.mark.exhaustive
def test_fifty_kills_over_twelve_trials_change_no_score(plan, tmp_path):
    tasks = plan(steps=10, nap=0.15, every=0.3, names=("restless", "twitchy"), seeds=3)
    assert len(tasks) == 12
    whole, _ = undisturbed(tasks, tmp_path)
    rng, kills, finished = random.Random(5), 0, {}

    def look():
        for task in tasks:
            if task.folder.read_status().status == "finished":
                newest = latest_checkpoint(task.folder.checkpoints)
                state = (
                    task.folder.ledger.stat().st_mtime_ns,
                    newest.name,
                    newest.stat().st_mtime_ns,
                )
                # What was finished once is never touched again.
                assert finished.setdefault(task.id, state) == state

    while kills < 50:
        # Two processes share the working directory, and die by turns.
        processes = [start(tasks), start(tasks[::-1])]
        processes[0].join(rng.uniform(0.3, 2.5))
        for process in processes:
            kills += process.is_alive()
            kill(process)
        look()
        assert len(finished) < len(tasks) or kills >= 50, f"all finished after {kills} kills"
    process = start(tasks)
    process.join()
    look()
    assert len(finished) == 12
    for task, expected in zip(tasks, whole, strict=True):
        assert_same(task, expected)
