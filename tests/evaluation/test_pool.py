"""How many processes score a folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
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


def test_a_script_without_a_guard_is_told_so_and_not_to_get_more_memory(folders, tmp_path):
    """Each process reads the script again, and Python ends it there."""
    for folder in folders:  # fewer than four cases take one process
        shutil.copy(folder / "case_00000.nii.gz", folder / "case_00003.nii.gz")
    script = tmp_path / "mine.py"
    script.write_text(
        "from kitsbench.evaluation import evaluate\n"
        f"found = evaluate(*{[str(one) for one in folders]!r}, 'kits19', jobs=2)\n"
        "print(found.problems[0].reason)\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "its process ended with exit code 1" in done.stdout
    assert "__main__" in done.stdout
    assert "memory" not in done.stdout
