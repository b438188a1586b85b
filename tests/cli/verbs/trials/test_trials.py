"""``kitsbench trials``: what a working directory holds, whole or damaged."""

from __future__ import annotations

import os
import shutil

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir
from stored_files import change, replan

from kitsbench.experiments.records import (
    ExperimentRecord,
    LeaseRecord,
    Status,
    experiment_file,
    find_experiment,
)
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.lease import Lease

PLAN = Plan(
    {"a": 0.0, "b:width=0.5": 0.1}, folds=2, seeds=1, showcase=0, predictions=False,
    profiles=False, failed=(("b:width=0.5", 1, 0, "out-of-memory"),),
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A working directory that tests copy."""
    return write_workdir(tmp_path_factory.mktemp("kept") / "work", PLAN)


@pytest.fixture
def work(written, tmp_path):
    return shutil.copytree(written, tmp_path / "work")


def listed(workdir, *words):
    done = call_kitsbench("trials", workdir, *words, "--json")
    assert done.code == 0, done.err
    return {row["id"]: row for row in done.json["trials"]}, done.json


def size_of(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(len(path.read_bytes()) for path in files)


def hold(file, **other):
    """Write the lease of a process that lives on another machine."""
    known = {"machine": "elsewhere", "host": "node7", "pid": 1, "born": None, "token": "t"}
    record = LeaseRecord(**{**known, "experiment": None, "beat": "0", **other})
    file.parent.mkdir(exist_ok=True)
    file.write_text(record.model_dump_json())


def test_every_trial_is_a_row_with_its_state_size_and_experiments(work):
    first = find_experiment(work)
    second = replan(work, trials=first.trials[:2], endpoint="kidney_and_tumor:dice")
    rows, document = listed(work)
    assert set(rows) == {trial.id for trial in first.trials}
    for trial in first.trials:
        row = rows[trial.id]
        assert (row["architecture"], row["fold"], row["seed"]) == (trial.name, trial.fold, 0)
        assert row["bytes"] == size_of(work / "trials" / trial.id)
        both = trial in second.trials
        assert set(row["experiments"]) == {first.id, second.id} if both else {first.id}
        assert row["age_s"] > 0
    states = [row["state"] for row in rows.values()]
    assert (states.count("finished"), states.count("failed")) == (3, 1)
    (row,) = (row for row in rows.values() if row["state"] == "failed")
    assert (row["architecture"], row["reason"]) == ("b:width=0.5", "out-of-memory")
    assert document["bytes"] == sum(row["bytes"] for row in rows.values())
    kept = {one["id"]: one for one in document["experiments"]}
    assert kept[first.id]["states"] == {"finished": 3, "failed": 1}
    assert [kept[one.id]["latest"] for one in (first, second)] == [False, True]
    assert call_kitsbench("trials", "experiments", work, "--json").json == document["experiments"]
    (only,) = listed(work, "--state", "failed")[0]
    assert only == row["id"]
    some = listed(work, "--experiment", second.id[:8])[0]
    assert set(some) == {trial.id for trial in second.trials}


def test_what_is_shown_fits_a_terminal(work):
    own = find_experiment(work)
    done = call_kitsbench("trials", work)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    for words in ("out-of-memory", "4 trials (3 finished, 1 failed)", own.id[:8], "20s a trial"):
        assert words in done.out
    assert done.out == call_kitsbench("trials", "list", work).out


def test_a_damaged_trial_is_a_row_with_what_to_do(work):
    ledger, owner, gone = (trial.id for trial in find_experiment(work).trials[:3])
    (work / "trials" / ledger / "ledger.json").write_text("{")
    shutil.copy(work / "trials" / ledger / "trial.json", work / "trials" / owner / "trial.json")
    (work / "trials" / gone / "trial.json").unlink()
    (work / "trials" / "notes").mkdir()
    (work / "trials" / "a\x1b[31mfile").write_text("mine")
    rows, _ = listed(work)
    for name, said in (
        (ledger, "ledger.json is no JSON"),
        (owner, "which is not its folder's name"),
        (gone, "trial.json cannot be read"),
        ("notes", "no trial has this name"),
        ("a\x1b[31mfile", "no trial has this name"),
    ):
        assert rows[name]["state"] == "damaged", name
        assert said in rows[name]["message"]
        assert len(rows[name]["message"].splitlines()) == 2
    done = call_kitsbench("trials", work)
    assert f"{ledger}: Delete the folder of this trial" in done.out
    assert "\x1b" not in done.out


def test_who_works_on_a_trial_is_told_by_its_lease(work):
    names = [trial.id for trial in find_experiment(work).trials[:3]]
    for name in names:
        file = work / "trials" / name / "status.json"
        change(file, Status, status="running", reason=None, message=None, finished=None)
    hold(work / "trials" / names[1] / "lease.json")
    with Lease(TrialFolder(work, names[0]).path / "lease.json"):
        rows, _ = listed(work)
    assert [rows[name]["state"] for name in names] == ["running", "running", "interrupted"]
    assert rows[names[0]]["holder"].startswith(f"process {os.getpid()} on ")
    assert rows[names[1]]["holder"] == "process 1 on node7"
    assert "The next run goes on with it" in rows[names[2]]["message"]


def test_a_trial_without_its_scores_says_how_to_get_them(work):
    name = find_experiment(work).trials[0].id
    (work / "trials" / name / "scores.parquet").unlink()
    row = listed(work)[0][name]
    assert (row["state"], row["reason"]) == ("unscored", "scores are missing")
    assert "run the same command again" in row["message"]


def test_a_damaged_experiment_is_a_row(work):
    own = find_experiment(work)
    experiment_file(work, own.id).write_text("[]")
    rows, document = listed(work)
    assert {tuple(row["experiments"]) for row in rows.values()} == {()}
    (row,) = document["experiments"]
    assert "holds a list" in row["problem"]
    assert ExperimentRecord.remedy in row["problem"]
    assert "damaged" in call_kitsbench("trials", "experiments", work).out


def test_a_log_is_shown_as_it_was_printed_but_for_what_a_terminal_obeys(work):
    state = next(row for row in listed(work)[0].values() if row["reason"])
    folder = work / "trials" / state["id"]
    (folder / "log.txt").write_bytes("first [red]\nsecond \x1b[2J\nthird é\n".encode() + b"\xff")
    (folder / "hang.txt").write_text("Thread 1 in forward\n")
    done = call_kitsbench("trials", "log", state["id"][:9], "--workdir", work)
    assert done.code == 0, done.err
    for words in (
        state["id"], "b:width=0.5", "Reason: out-of-memory", "out-of-memory in step 3",
        "Thread 1 in forward", "first [red]\nsecond \\x1b[2J\nthird é\n",
    ):  # fmt: skip
        assert words in done.out
    found = call_kitsbench("trials", "log", folder, "--workdir", work, "--tail", "2", "--json").json
    assert found["log"] == "third é\n\ufffd"
    assert found["message"] == "out-of-memory in step 3"
    other = next(trial.id for trial in find_experiment(work).trials if trial.id != state["id"])
    assert "has printed nothing" in call_kitsbench("trials", "log", other, "--workdir", work).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("log", "nothing"), "There is no trial 'nothing' in"),
        (("log", ""), "There is no trial '' in"),
        (("lgo", "x"), "Did you mean 'log'?"),
        (("list", "nowhere"), "holds neither trials nor experiments"),
        (("nowhere", "--state", "lost"), "'lost' is not one of"),
    ],
)
def test_what_is_not_there_is_told(work, words, said):
    words = [*words, *(("--workdir", work) if words[0] == "log" else ())]
    done = call_kitsbench("trials", *words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_letters_that_fit_several_are_told(work):
    for number in range(2):
        (work / "trials" / f"zz{number}").mkdir()
    done = call_kitsbench("trials", "log", "zz", "--workdir", work)
    assert (done.code, "fits 2 trials" in done.err) == (2, True)


def test_what_cannot_be_run_again_is_told(work):
    """Of an experiment of an earlier kitsbench nobody knows what was asked for."""
    own = find_experiment(work)
    done = call_kitsbench("trials", "retry", "--workdir", work)
    assert (done.code, "or say --reason REASON or --all" in done.err) == (2, True)
    for words in (
        ("trials", "retry", "--all", "--workdir", work),
        ("run", "--add", "--seeds", "2", "--workdir", work),
        ("run", "--experiment", own.id, "--workdir", work),
    ):
        done = call_kitsbench(*words)
        assert done.code == 2
        assert "request.json is missing" in done.err
        assert f"Its command was: {own.command}" in done.err
        assert "Traceback" not in done.err
    replan(work, trials=own.trials[:1])
    rest = [trial.id for trial in own.trials]
    experiment_file(work, own.id).unlink()
    done = call_kitsbench("trials", "retry", *rest, "--workdir", work)
    assert (done.code, "No experiment plans all 4 of these trials" in done.err) == (2, True)
