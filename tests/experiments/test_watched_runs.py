"""A run at a terminal, and whoever watches it: through the command line, with all that is real."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from command_line import SMALL, call_kitsbench
from pseudo_terminal import CONTROLS, lines_of, terminal_here

from kitsbench.cli import main
from kitsbench.cli.views import watched
from kitsbench.experiments.records import find_experiment, request_file
from kitsbench.experiments.results import load_results
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.first_screen.answer import amiss

PAGE = Path(__file__).resolve().parents[2] / "docs" / "watch.md"


def call_at_terminal(monkeypatch, columns, names, *arguments):
    with terminal_here(monkeypatch, columns, *names) as seen, pytest.raises(SystemExit) as exited:
        main([*map(str, arguments)])
    return exited.value.code, b"".join(seen).decode()


@pytest.mark.slow
def test_a_run_shows_a_table_at_a_terminal_and_logs_for_tensorboard(
    plugin, phantom, tmp_path, monkeypatch
):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    workdir = tmp_path / "work"
    arguments = ["run", plugin("alpha", "Smallest"), "--dataset", phantom, *SMALL]
    arguments += ["--folds", "0", "--seeds", "1", "--budget", "600steps"]
    config = tmp_path / "run.toml"
    config.write_text('log = ["tensorboard"]\n', encoding="utf-8")
    arguments += ["--workdir", workdir, "--config", config]
    code, seen = call_at_terminal(monkeypatch, 80, ("stderr",), *arguments)
    assert code == 0, seen
    said = "\n".join(lines_of(seen))
    assert re.search(r"trial +fold seed state +done", said)
    assert re.search(r"alpha +0 +0 (starting|training|scoring)", said)
    assert "1 finished; score: tumor:dice" in said
    rows = [line for line in lines_of(seen) if re.match(r"(alpha|trial) ", line)]
    assert max(map(len, rows)) <= 80
    (folder,) = (workdir / "tensorboard").iterdir()
    found = reader.EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    steps = [event.step for event in found.Scalars("loss/loss")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 599
    assert "held_out/tumor_dice" in found.Tags()["scalars"]
    # It stays asked for, and is no part of what a trial is.
    record = find_experiment(workdir)
    assert '"log"' in request_file(workdir, record.id).read_text(encoding="utf-8")
    plain = [word for word in map(str, arguments) if word not in ("--config", str(config))]
    plan = call_kitsbench(*plain, "--dry-run", "--json")
    assert {one["id"] for one in plan.json["trials"]} == {one.id for one in record.trials}
    # Whoever watches afterwards sees what has ended, and waits for nothing.
    code, seen = call_at_terminal(monkeypatch, 60, ("stdout", "stderr"), "watch", workdir)
    assert code == 0
    rows = [line for line in lines_of(seen) if line.startswith("alpha ")]
    assert all("finished" in row and len(row) <= 60 for row in rows)
    assert f"Experiment {record.id}: 1 finished." in "\n".join(lines_of(seen))
    for folder in (workdir / "trials").iterdir():
        assert "finished" in (folder / "log.txt").read_text(encoding="utf-8").splitlines()[-1]


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "kitsbench-work")
    return tmp_path / "kitsbench-work"


def test_the_commands_of_the_page_work(copied, monkeypatch):
    monkeypatch.chdir(copied.parent)
    text = PAGE.read_text(encoding="utf-8")
    commands = re.findall(r"^\$ kitsbench (watch .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        done = call_kitsbench(*shlex.split(command))
        assert done.code == 0, done.err
        assert not CONTROLS.search(done.out + done.err)
        if "--json" not in command:
            assert "8 finished." in done.out
    assert len(done.json["trials"]) == 8
    assert all(trial["score"] is not None for trial in done.json["trials"])
    assert done.json["over"]


def test_a_failure_and_who_is_gone_are_told_and_decide_the_exit_code(copied):
    one, two = (TrialFolder(copied, trial.id) for trial in find_experiment(copied).trials[:2])
    one.set_status("failed", "out-of-memory", "[/red] 12 GiB\x1b[2J")
    two.set_status("running")  # and nobody holds its lease
    done = call_kitsbench("watch", copied, "--once")
    assert done.code == 1
    assert re.search(r"is failed: out-of-memory: \[/red\] 12 GiB\\x1b", done.out)
    assert "is dead: the process that worked on it is gone" in done.out
    assert "1 failed, 1 dead." in done.out
    assert "No `kitsbench run` works on it" in done.out
    assert "\x1b" not in done.out
    states = call_kitsbench("watch", copied, "--json").json["states"]
    assert states == {"failed": 1, "dead": 1, "finished": 6}


def test_without_a_terminal_a_line_tells_each_change(copied, monkeypatch):
    one = TrialFolder(copied, find_experiment(copied).trials[0].id)
    one.set_status("pending")
    monkeypatch.setattr(watched.time, "sleep", lambda seconds: one.set_status("finished"))
    done = call_kitsbench("watch", copied)
    lines = done.out.splitlines()
    assert done.code == 0
    assert "7 finished, 1 waiting" in lines[0]
    assert len(lines) == 10
    assert re.fullmatch(r"alpha fold . seed .: finished, score [0-9.]+", lines[-2])
    assert "8 finished." in lines[-1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere",), "nowhere holds no experiment"),
        (("kitsbench-work", "--experiment", "zzz"), "has no experiment 'zzz'"),
        (("kitsbench-work", "--interval", "0"), "--interval"),
        (("kitsbench-work", "--interval", "nan"), "--interval"),
    ],
)
def test_what_cannot_be_watched_is_told(copied, monkeypatch, words, says):
    monkeypatch.chdir(copied.parent)
    done = call_kitsbench("watch", *words)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_a_missing_package_ends_a_run_before_anything_is_prepared(
    plugin, phantom, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    workdir = tmp_path / "work"
    done = call_kitsbench(
        "run", plugin("alpha", "Smallest"), "--dataset", phantom, "--workdir", workdir,
        "--log", "tensorboard",
    )  # fmt: skip
    assert done.code == 2
    assert "pip install 'kitsbench[tensorboard]'" in done.err
    assert not workdir.exists()


def test_a_report_of_a_run_that_goes_on_says_what_is_missing(copied):
    planned = find_experiment(copied).trials
    folder = TrialFolder(copied, planned[0].id)
    folder.set_status("running")
    shutil.rmtree(copied / "trials" / planned[-1].id)
    for name in ("scores", "ledger"):
        getattr(folder, name).unlink()
    analysis = analyse(load_results(copied))
    said = amiss(analysis)
    assert "2 of 8 trials are not finished: this report is preliminary." in said
    for trial in (planned[0], planned[-1]):
        assert f"{trial.name} fold {trial.fold} seed {trial.seed}" in said
    assert analysis.ranking  # of what has finished
