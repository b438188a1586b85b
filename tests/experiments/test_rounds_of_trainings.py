"""Runs that stop by themselves and really train: killed, or on two executors, they look alike."""

from __future__ import annotations

import os
import signal
import time

import pytest
from command_line import SMALL, run_kitsbench, start_kitsbench

from kitsbench.experiments.records import LooksRecord, find_experiment

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive, pytest.mark.timeout(1800)]
# One thread for each trial, as a job of a cluster has: sums of two differ in their last bits.
JOBS = ("--jobs", str(os.cpu_count()))


@pytest.fixture(scope="module")
def words(plugin, phantom):
    """Three architectures on two folds, three seeds at most."""
    names = [plugin(*one) for one in (("alpha", "Smallest"), ("beta", "Regions"), ("eta", "Valid"))]
    budget = ("--budget", "12steps", "--endpoint", "kidney_and_tumor:dice", "--futility", "0")
    until = ("--until", "decided", "--max-seeds", "3")
    return ["run", *names, "--dataset", phantom, *SMALL, *budget, *until, "--json"]


def looks_of(workdir):
    return LooksRecord.file(workdir, find_experiment(workdir).id).read_bytes()


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """A run from beginning to end on this machine."""
    workdir = tmp_path_factory.mktemp("whole") / "work"
    done = run_kitsbench(*words, *JOBS, "--workdir", workdir)
    assert done.code == 0, done.err
    return workdir, done


def test_a_run_that_trains_takes_its_looks(whole):
    _, done = whole
    looks = done.json["looks"]
    assert looks["planned"] == [2, 3]
    assert [look["seeds"] for look in looks["taken"]] == [2, 3][: len(looks["taken"])]
    spared = [trial for trial in done.json["trials"] if trial["status"] == "spared"]
    assert len(spared) == looks["spared_trials"]
    assert looks["over"]
    assert "Look after 2 seeds: 3 pairs" in done.err


@pytest.mark.parametrize("after", [2, 7, 12, 13])
def test_a_run_that_is_killed_and_called_again_takes_the_same(words, whole, tmp_path, after):
    workdir = tmp_path / "work"
    process = start_kitsbench(*words, *JOBS, "--workdir", workdir, start_new_session=True)
    while process.poll() is None:
        ended = len([*workdir.glob("trials/*/scores.parquet")])
        if ended >= after:
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.05)
    process.communicate()
    done = run_kitsbench(*words, *JOBS, "--workdir", workdir)
    assert done.code == 0, done.err
    assert looks_of(workdir) == looks_of(whole[0])


def test_jobs_of_a_cluster_take_the_same_path(words, whole, tmp_path):
    pytest.importorskip("submitit")
    takes_the_same(words, whole, tmp_path, "slurm", "--executor-option", "cluster=local")


def test_a_ray_cluster_takes_the_same_path(ray_head, words, whole, tmp_path):
    takes_the_same(words, whole, tmp_path, "ray", "--ray", f"address={ray_head}")


def test_a_slurm_takes_the_same_path(slurm, words, whole, tmp_path):
    takes_the_same(words, whole, tmp_path, "slurm")


def takes_the_same(words, whole, tmp_path, executor, *options):
    """See that another executor takes the looks of the run on this machine, byte for byte."""
    workdir = tmp_path / "work"
    options = ("--executor", executor, *options, "--workdir", workdir)
    done = run_kitsbench(*words, *options, timeout=1200)
    assert done.code == 0, done.err
    assert looks_of(workdir) == looks_of(whole[0])
    own, other = ({t["id"]: t["status"] for t in one.json["trials"]} for one in (whole[1], done))
    assert own == other
