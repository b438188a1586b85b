"""Runs on one working directory are told of each other, and each has its own result."""

from __future__ import annotations

import io
import json
import os
import socket
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from command_line import SMALL, call_kitsbench
from experiments.small_requests import small_request

from kitsbench.cli.views.run_view import conclude
from kitsbench.experiments.accounts.clock import Clock
from kitsbench.experiments.executors.choose import choose_executor
from kitsbench.experiments.executors.company import Company
from kitsbench.experiments.experiment import plan_experiment, run_experiment
from kitsbench.experiments.records import LeaseRecord
from kitsbench.experiments.trial.lease import machine

ONE, OTHER = "0" * 16, "1" * 16


def test_two_runs_are_told_of_each_other_once(tmp_path):
    first, second = [], []
    with Company(tmp_path, ONE, first.append) as earlier:
        assert first == []
        with Company(tmp_path, OTHER, second.append) as later:
            earlier.look()
            for one in (earlier, later):
                one.look()
        earlier.look()
    where = f"process {os.getpid()} on {socket.gethostname()}, experiment"
    assert [line.split(". ")[0] for line in second] == [
        f"Another run works in {tmp_path}: {where} {ONE}"
    ]
    assert [line.split(". ")[0] for line in first] == [
        f"Another run works in {tmp_path}: {where} {OTHER}"
    ]
    assert list((tmp_path / "running").iterdir()) == []


def lease(**updates) -> LeaseRecord:
    own = LeaseRecord(
        machine=machine(), host="here", pid=2**22 + 1, born=1, token="x", experiment=OTHER, beat="0"
    )
    return own.model_copy(update=updates)


def test_a_run_that_was_killed_is_forgotten(tmp_path):
    file = tmp_path / "running" / "left.json"
    lease().write(file)
    told = []
    with Company(tmp_path, ONE, told.append):
        assert not file.exists()
    assert told == []


def test_a_run_elsewhere_is_told_of_when_it_shows_that_it_lives(tmp_path):
    file, told = tmp_path / "running" / "other.json", []
    away = lease(machine="another", host="node7")
    away.write(file)
    with Company(tmp_path, ONE, told.append) as company:
        company.look()
        assert told == []
        away.model_copy(update={"beat": "1"}).write(file)
        company.look()
        company.look()
    assert [line.split(". ")[0] for line in told] == [
        f"Another run works in {tmp_path}: process {2**22 + 1} on node7, experiment {OTHER}"
    ]


@pytest.mark.exhaustive
def test_each_of_two_requests_at_once_reports_its_own(plugin, phantom, tmp_path):
    """The second begins while the first trains, shares one trial with it, and ends before it."""
    workdir = tmp_path / "work"
    alpha, beta = str(plugin("alpha", "Smallest")), str(plugin("beta", "Regions"))
    request = small_request(workdir, phantom, (alpha, beta), steps=4, jobs=1)
    second = []

    def notify(event):
        if event.kind == "started" and not second:
            options = [*SMALL, "--folds", "0", "--seeds", "1", "--jobs", "1", "--budget", "4steps"]
            options += ["--protocol", "kits21", "--workdir", workdir, "--json"]
            second.append(call_kitsbench("run", alpha, "--dataset", phantom, *options))

    told = []
    experiment = plan_experiment(request)
    with Company(workdir, experiment.record.id, told.append) as company:
        done = run_experiment(experiment, choose_executor(request, experiment.machine), notify)
        company.look()
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        assert conclude(done, as_json=True, clock=Clock()) == 0
    mine, other = json.loads(out.getvalue()), second[0].json
    assert second[0].code == 0, second[0].err
    assert [t["architecture"] for t in mine["trials"]] == ["alpha", "beta"]
    assert [t["architecture"] for t in other["trials"]] == ["alpha"]
    assert mine["trials"][0]["id"] == other["trials"][0]["id"]
    assert {t["status"] for t in mine["trials"] + other["trials"]} == {"finished"}
    for found in (mine, other):
        page = (Path(found["report"]).parent / "report.md").read_text(encoding="utf-8")
        assert found["report"] == str(
            workdir / "experiments" / found["experiment"] / "report" / "index.html"
        )
        assert ("beta" in page) == (found is mine)
        assert ("kits21" in page) == (found is other)
    assert (workdir / "report").resolve() == Path(mine["report"]).parent
    assert f"experiment {experiment.record.id}. Each trial" in second[0].err
    # The shared trial was trained by one of them, from its beginning to its end.
    for folder in (workdir / "trials").iterdir():
        assert json.loads((folder / "ledger.json").read_text())["resumed"] == 0
    assert len(list((workdir / "trials").iterdir())) == 2
