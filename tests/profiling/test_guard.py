"""The guard of a plugin's tests: what costs more fails, and what is meant is accepted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from rows import row, times

from kitsbench.errors import UsageError
from kitsbench.profiling.guard import Baseline

BUSY = {"before": 0.0, "during": 0.9, "after": 0.0}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "kitsbench_profile.json"


def check(file, found, slower=1.3, more=1.1):
    return Baseline(file).check("net", found, slower, more)


def test_what_is_new_is_noted_and_what_stays_passes(file):
    assert check(file, row()) == []
    assert check(file, row(**times("train_step_ms", 125.0))) == []
    assert json.loads(file.read_text())["net"]["counts"]["flops_step"] == 6_000_000


def test_more_is_told(file):
    check(file, row())
    assert check(file, row(flops_step=7_000_000)) == ["flops_step is 7000000 and was 6000000"]
    assert check(file, row(**times("train_step_ms", 150.0))) == [
        "train_step_ms is 1.50 times what it was (at most 1.3)"
    ]
    assert check(file, row(**times("train_step_ms", 150.0, 0.5))) == []  # quartiles overlap
    assert check(file, row(**times("train_step_ms", 150.0)), slower=2.0) == []
    assert check(file, row(peak_memory_bytes=400 * 2**20)) == [
        "peak memory is 1.33 times what it was (at most 1.1)"
    ]


def test_times_of_another_machine_say_nothing(file):
    check(file, row())
    other = row(device_name="Another processor", **times("train_step_ms", 900.0))
    assert check(file, other) == []
    assert len(json.loads(file.read_text())["net"]["machines"]) == 2


def test_times_of_a_busy_machine_are_neither_compared_nor_kept(file):
    busy = {"busy": True, "company": BUSY}
    assert check(file, row(**busy)) == []
    kept = json.loads(file.read_text())["net"]
    assert kept["counts"]["parameters"] == 1000
    assert kept["machines"] == {}
    check(file, row())
    assert check(file, row(**busy, **times("train_step_ms", 900.0))) == []


@pytest.mark.parametrize("busy", [{}, {"busy": True, "company": BUSY}])
def test_a_network_that_is_meant_to_be_another_leaves_no_times_of_the_old_one(file, busy):
    elsewhere = row(device_name="Another processor")
    for one in (row(), elsewhere):
        check(file, one)
    larger = {"flops_step": 7_000_000, "peak_memory_bytes": 400 * 2**20}
    larger |= times("train_step_ms", 900.0)
    Baseline(file).note("net", row(**larger, **busy))
    # Neither here nor on a machine that has not met the new one.
    assert check(file, row(**larger)) == []
    assert check(file, row(**larger, device_name="Another processor")) == []
    assert check(file, row(**larger | times("train_step_ms", 1900.0))) != []


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"net": 3}', '{"net": {"counts": {}, "machines": {"a": {}}}}']
)
def test_another_file_is_refused(file, content):
    file.write_text(content)
    with pytest.raises(UsageError, match="delete it, and the next run"):
        Baseline(file)


def test_the_plugin_of_pytest_imports_nothing_heavy():
    code = (
        "import sys, kitsbench.pytest_plugin\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


WRITTEN = """
import pytest


@pytest.mark.kitsbench_profile
def test_cost(kitsbench_profile):
    row = kitsbench_profile("{plugin}", patch=(16, 16, 16), batch=1)
    assert row["parameters"] == 227
"""


@pytest.mark.exhaustive
def test_a_written_test_fails_where_the_network_grows_and_passes_where_that_is_accepted(tmp_path):
    plugin = tmp_path / "mine.py"
    source = (
        "from torch import nn\n"
        "from kitsbench.architecture import Architecture, Plain\n\n\n"
        "class Mine(Architecture):\n    title = 'Mine'\n\n    def build(self, spec):\n"
        "        return Plain(nn.Sequential(nn.Conv3d(1, WIDTH, 3, padding=1), "
        "nn.Conv3d(WIDTH, spec.classes, 1)))\n"
    )
    plugin.write_text(source.replace("WIDTH", "7"))
    test = tmp_path / "test_mine.py"
    parameters = 7 * 27 + 7 + 7 * 3 + 3
    test.write_text(WRITTEN.format(plugin=plugin).replace("227", str(parameters)))

    def run(*words):
        command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p"]
        command += ["kitsbench.pytest_plugin", "-p", "no:cacheprovider", *words, str(test)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    first = run()
    assert first.returncode == 0, first.stdout
    kept = json.loads((tmp_path / "kitsbench_profile.json").read_text())
    assert kept[str(plugin)]["counts"]["parameters"] == parameters
    plugin.write_text(source.replace("WIDTH", "8"))
    grown = run()
    assert grown.returncode == 1
    assert f"parameters is {8 * 27 + 8 + 8 * 3 + 3} and was {parameters}" in grown.stdout
    assert "--kitsbench-profile-update" in grown.stdout
    left_out = run("-m", "not kitsbench_profile")
    assert "1 deselected" in left_out.stdout
