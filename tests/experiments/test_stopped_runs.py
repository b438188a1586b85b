"""Runs that are told to stop, and runs in which any process may die at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections import Counter

import pandas as pd
import pytest
from command_line import SMALL, environment, run_kitsbench, start_kitsbench
from experiments.test_hostile_plugins import processes_with
from experiments.trial.test_kills import KINDS, SIGNALS, Disturber

from kitsbench.experiments.trial.folder import TrialFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")

SLOW = """
import subprocess
import time
from architectures import Regions, Smallest


class Slow({base}):
    title = "Slow"

    def loss(self, outputs, targets, progress, spec):
        if progress.step == 0:
            subprocess.Popen(["sleep", "600"])
        time.sleep({nap})
        return super().loss(outputs, targets, progress, spec)
"""


def slow(folder, name, base, nap):
    path = folder / f"{name}.py"
    path.write_text(SLOW.format(base=base, nap=nap))
    return path


def statuses(workdir):
    folders = [TrialFolder(workdir, path.name) for path in workdir.glob("trials/*")]
    return [folder.read_status() for folder in folders]


def wait_for(condition, seconds=120.0):
    """Wait for something that has to come; whoever asked looks whether it came."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "times"),
    [("SIGTERM", 1), pytest.param("SIGHUP", 1, marks=pytest.mark.exhaustive), ("SIGINT", 2)],
)
def test_a_run_that_is_told_to_stop_says_so_of_the_trials_that_ran(phantom, tmp_path, name, times):
    number = getattr(signal, name)
    workdir, mark = tmp_path / "work", uuid.uuid4().hex
    files = [slow(tmp_path, name, "Smallest", 0.5) for name in ("one", "two")]
    arguments = ("run", *files, "--dataset", phantom, *SMALL, "--folds", "0", "--seeds", "1")
    arguments += ("--budget", "500steps", "--workdir", workdir, "--jobs", "2")
    # Tests that run in the background may have been told to ignore it, and children inherit that.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        process = start_kitsbench(*arguments, env={**environment(), "KITSBENCH_MARK": mark})
    finally:
        signal.signal(number, before)
    both = lambda: [s.status for s in statuses(workdir)] == ["running"] * 2  # noqa: E731
    assert wait_for(both)
    for _ in range(times):  # as by somebody who is impatient
        process.send_signal(number)
        time.sleep(0.05)
    _, said = process.communicate(timeout=120)
    # A signal that comes while Python ends by itself ends it at once.
    assert process.returncode in (128 + number, *([-number] if times > 1 else []))
    assert ("Stopped." if name == "SIGINT" else f"Stopped by {number.name}") in said
    assert times > 1 or "Traceback" not in said  # one more may meet the end of Python
    for status in statuses(workdir):
        assert (status.status, status.reason) == ("running", None)  # and nobody works on it
        assert "the same command goes on from" in status.message
    assert wait_for(lambda: not processes_with(mark), 20)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_sixty_signals_to_any_process_of_a_run_change_no_score(phantom, tmp_path):
    mark = uuid.uuid4().hex
    surroundings = {"env": {**environment(), "KITSBENCH_MARK": mark}}
    files = [slow(tmp_path, "one", "Smallest", 0.3), slow(tmp_path, "two", "Regions", 0.3)]
    arguments = ("run", *files, "--dataset", phantom, *SMALL, "--seeds", "3", "--budget", "30steps")
    whole, workdir = tmp_path / "whole", tmp_path / "work"
    done = run_kitsbench(*arguments, "--workdir", whole, timeout=1500, **surroundings)
    assert done.code == 0, done.err
    sent, seed = [], 0
    while len(sent) < 60:
        seed += 1
        process = start_kitsbench(
            *arguments, "--workdir", workdir, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            **surroundings,
        )  # fmt: skip
        disturber = Disturber(seed, 60 - len(sent), root=process.pid, longest=4.0)
        disturber.start()
        _, said = process.communicate(timeout=1500)
        disturber.over.set()
        disturber.join()
        sent += disturber.sent
        assert "Traceback" not in said, said
        finished = [s for s in statuses(workdir) if s.status == "finished"]
        assert len(finished) < 12 or len(sent) >= 60, f"all finished after {len(sent)} signals"
    print(Counter(sent))
    assert {kind for kind, _ in sent} == set(KINDS)
    assert {name for _, name in sent} == {number.name for number in SIGNALS}
    done = run_kitsbench(*arguments, "--workdir", workdir, "--json", timeout=1500, **surroundings)
    assert done.code == 0, done.err
    assert {t["status"] for t in done.json["trials"]} == {"finished"}
    assert len(done.json["trials"]) == 12
    for folder in (whole / "trials").iterdir():
        pair = [
            pd.read_parquet(where / "trials" / folder.name / "scores.parquet")
            for where in (whole, workdir)
        ]
        pd.testing.assert_frame_equal(*pair, check_exact=True)
    assert wait_for(lambda: not processes_with(mark), 30)
