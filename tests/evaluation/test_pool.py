"""How many processes score a folder."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from kitsbench.evaluation import evaluate
from kitsbench.evaluation.pool import jobs_that_fit


def case(*shape):
    return SimpleNamespace(truth=SimpleNamespace(shape=shape))


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends a number of cores and GiB of free memory."""

    def pretend(cores, gib):
        monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(cores), raising=False)
        memory = SimpleNamespace(available=int(gib * 2**30))
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    return pretend


def test_jobs_are_bounded_by_cores_by_memory_and_by_eight(machine):
    scans = [case(512, 512, 100), case(512, 512, 1000)]
    machine(cores=4, gib=100)
    assert jobs_that_fit(scans) == 4
    machine(cores=64, gib=100)
    assert jobs_that_fit(scans) == 8
    # The largest scan has 250 MiB in a map; a process may need six times that.
    machine(cores=64, gib=8)
    assert jobs_that_fit(scans) == 3
    machine(cores=64, gib=1)
    assert jobs_that_fit(scans) == 1


def test_the_number_of_processes_can_be_left_open(folders, machine):
    machine(cores=1, gib=4)
    assert evaluate(*folders, "kits19", jobs=None).rows == evaluate(*folders, "kits19").rows
