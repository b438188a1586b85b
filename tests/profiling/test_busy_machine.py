"""Others on the machine: found by what really burns beside, and told from what is one's own."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from command_line import environment
from rows import row, times

from kitsbench.profiling.company import Company, Times, cores, is_busy, others

CPU = torch.device("cpu")
BURN = "while True: pass"


def test_shares_are_those_of_the_cores_that_may_be_used():
    count = len(cores())
    begin = Times(0.0, 100.0, 10.0)
    assert others(begin, Times(2.0, 100.0 + 2 * count, 10.0)) == 1.0
    assert others(begin, Times(2.0, 100.0 + count, 10.0 + count / 2)) == pytest.approx(0.25)
    # The two are not read at one moment.
    assert others(begin, Times(2.0, 100.0, 10.5)) == 0.0
    assert others(begin, begin) == 0.0


def test_the_machine_is_busy_where_others_take_more_than_they_were_given():
    calm = {"before": 0.2, "during": 0.05, "after": 0.2, "gpu_before": None, "gpu_during": None}
    assert not is_busy(calm)
    assert is_busy(calm | {"during": 0.4})
    assert not is_busy(calm | {"during": 0.4}, beside=0.5)
    assert is_busy(calm | {"after": 0.3})
    assert is_busy(calm | {"gpu_during": 0.3}, beside=0.5)


@pytest.mark.skipif(sys.platform == "win32", reason="needs the times of single cores")
def test_processes_that_burn_all_cores_are_seen():
    command = [sys.executable, "-S", "-c", BURN]
    burning = [subprocess.Popen(command, env=environment()) for _ in cores()]
    try:
        company = Company(CPU, 0.3)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:  # own work, which is not the others'
            sum(range(1000))
        shares = company.leave()
    finally:
        for process in burning:
            process.kill()
            process.wait()
    assert is_busy(shares)
    assert all(shares[when] > 0.1 for when in ("before", "during", "after"))
    assert shares["gpu_before"] is shares["gpu_during"] is None


def told(during, **fields):
    """What a measurement says beside which others took a share of the processor."""
    busy = is_busy({"during": during})
    return row(company={"before": 0.0, "during": during, "after": 0.0}, busy=busy, **fields)


@pytest.mark.parametrize(
    ("rows", "again", "kept"),
    [
        ([told(0.05)], True, (1, 0.05)),
        ([told(0.4), told(0.05)], True, (2, 0.05)),
        ([told(0.4), told(0.6)], True, (2, 0.4)),  # once, whatever comes
        ([told(0.4)], False, (1, 0.4)),
        # With data a step was faster than without: the machine changed its speed.
        ([told(0.01, **times("full_step_ms", 80.0)), told(0.05)], True, (2, 0.05)),
        ([told(0.4), told(0.01, **times("full_step_ms", 80.0))], True, (2, 0.01)),
    ],
)
def test_what_is_in_doubt_is_measured_once_more_and_the_better_is_kept(
    rows, again, kept, monkeypatch
):
    room, left = importlib.import_module("kitsbench.profiling.profile"), list(rows)
    monkeypatch.setattr(room, "measured_apart", lambda *asked: left.pop(0))
    found = room.profile(SimpleNamespace(again=again))
    assert (found["measured"], found["company"]["during"]) == kept
    assert not left


@pytest.mark.parametrize(
    ("during", "again", "kept"),
    [([0.05], True, 0.05), ([0.4, 0.05], True, 0.05), ([0.4, 0.6], True, 0.4), ([0.4], False, 0.4)],
)
def test_a_scan_beside_others_is_predicted_once_more(during, again, kept, monkeypatch):
    room = importlib.import_module("kitsbench.profiling.scan")
    left = [told(share) for share in during]
    monkeypatch.setattr(room, "measured_apart", lambda *asked: left.pop(0))
    found = room.profile_scan(SimpleNamespace(profile=SimpleNamespace(again=again)))
    assert found["company"]["during"] == kept
    assert not left


def test_of_two_scans_the_one_on_a_calm_machine_is_kept(monkeypatch):
    """Also where others were there before it alone."""
    room = importlib.import_module("kitsbench.profiling.scan")
    beside = {"company": {"before": 0.9, "during": 0.01, "after": 0.0}, "busy": True}
    left = [row(**beside), told(0.05)]
    monkeypatch.setattr(room, "measured_apart", lambda *asked: left.pop(0))
    found = room.profile_scan(SimpleNamespace(profile=SimpleNamespace(again=True)))
    assert not found["busy"]
