"""Light copies: what reports and boards need of trials, small enough to be committed."""

from __future__ import annotations

import shutil

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir
from stored_files import change

from kitsbench.experiments.asked.again import RequestRecord
from kitsbench.experiments.records import (
    ExperimentRecord,
    Status,
    TrialRecord,
    experiment_file,
    find_experiment,
    keep_experiment,
    request_file,
)
from kitsbench.experiments.results import load_results
from kitsbench.experiments.workdir.inventory import take_inventory
from kitsbench.experiments.workdir.light import LIGHT, waiting_for_ensembles
from kitsbench.leaderboard import add_entries, check_boards

THREE = Plan(
    {"one": 0.0, "two": 0.1, "both": 0.05}, folds=2, seeds=1, showcase=0, predictions=False,
    profiles=False,
)  # fmt: skip


def lightened(other, kept, *words):
    return call_kitsbench("trials", "merge", other, "--workdir", kept, "--light", *words)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def states(done):
    return {row["id"]: row["what"] for row in done.json["trials"]}


def test_finished_trials_come_without_what_is_large_or_says_where_it_was(work, tmp_path):
    own = find_experiment(work)
    for trial in own.trials:
        place = work / "trials" / trial.id
        (place / "predictions").mkdir(exist_ok=True)
        (place / "predictions" / "case.nii.gz").write_bytes(b"0" * 1000)
        (place / "log.txt").write_text("here")
    request_file(work, own.id).parent.mkdir(exist_ok=True)
    RequestRecord(experiment=own.id, options={"dataset": "/home/ann/data"}).write(
        request_file(work, own.id)
    )
    kept = tmp_path / "kept"
    told = lightened(work, kept)
    assert (told.code, "would come: at most " in told.out) == (0, True)
    assert not kept.exists()
    done = lightened(work, kept, "--yes", "--json")
    assert done.code == 0, done.err
    failed = next(t.id for t in take_inventory(work).trials if t.state == "failed")
    assert states(done).pop(failed) == "waits"
    assert {path.name for path in (kept / "trials").iterdir()} == set(states(done)) - {failed}
    assert {name.split("/")[-1] for name in files(kept / "trials")} <= {*LIGHT}
    size = sum(path.stat().st_size for path in (kept / "trials").rglob("*") if path.is_file())
    assert done.json["bytes"] == size < 40_000 * len(states(done))
    for trial in (kept / "trials").iterdir():
        assert Status.read(trial / "status.json").host is None
        assert "/" not in TrialRecord.read(trial / "trial.json").context.location
    record = ExperimentRecord.read(experiment_file(kept, own.id))
    assert record.dataset.path == own.dataset.name
    assert not request_file(kept, own.id).exists()
    assert set(states(lightened(work, kept, "--yes", "--json")).values()) == {"same", "waits"}


def test_reports_and_boards_of_a_light_copy_are_those_of_the_whole(tmp_path):
    plan = Plan({"a": 0.0, "b": 0.1}, folds=2, seeds=2, cases_per_fold=3, showcase=0)
    work, kept = write_workdir(tmp_path / "work", plan), tmp_path / "kept"
    assert lightened(work, kept, "--yes").code == 0
    whole, light = load_results(work), load_results(kept)
    assert light.scores.equals(whole.scores)
    assert light.ledger.equals(whole.ledger)
    assert set(light.curves["kind"]) == {"score"}
    rows = whole.curves[whole.curves["kind"] == "score"].reset_index(drop=True)
    assert light.curves.reset_index(drop=True).equals(rows)
    add_entries(work, tmp_path / "boards" / "whole")
    assert add_entries(kept, tmp_path / "boards" / "whole") == []  # the same entries, word for word
    assert check_boards(tmp_path / "boards")[1] == []


def test_a_working_directory_that_takes_it_over_has_nothing_left_to_do(work, tmp_path):
    kept, new = tmp_path / "kept", tmp_path / "new"
    lightened(work, kept, "--yes")
    assert call_kitsbench("trials", "merge", kept, "--workdir", new, "--yes").code == 0
    finished = {t.id for t in take_inventory(work).trials if t.state == "finished"}
    assert {t.id for t in take_inventory(new).trials if t.state == "finished"} == finished


def test_a_light_copy_reports_the_experiment_that_was_run_last(work, tmp_path):
    """Sittings come one after another; what is made of the copy is made of the last."""
    kept = tmp_path / "kept"
    assert lightened(work, kept, "--yes").code == 0
    first = find_experiment(work)
    same = set(ExperimentRecord.model_fields) - {"schema_version", "id", "plan"}
    fewer = {"entrants": first.entrants[:1], "trials": ()}
    last = ExperimentRecord.of(**{**{key: getattr(first, key) for key in same}, **fewer})
    keep_experiment(work, last)
    assert find_experiment(work).id == last.id != first.id
    assert lightened(work, kept, "--yes").code == 0
    assert find_experiment(kept).id == last.id
    # Who runs experiments of their own keeps the latest of theirs.
    own = write_workdir(tmp_path / "own", THREE)
    latest = find_experiment(own).id
    assert call_kitsbench("trials", "merge", work, "--workdir", own, "--yes").code == 0
    assert find_experiment(own).id == latest


def with_members(work, name, members):
    """Write an experiment in which one entrant combines others, and return it."""
    old = find_experiment(work)
    combined = {"members": members, "combine": "mean"}
    entrants = tuple(e.model_copy(update=combined if e.name == name else {}) for e in old.entrants)
    same = set(ExperimentRecord.model_fields) - {"schema_version", "id", "plan", "entrants"}
    new = ExperimentRecord.of(**{key: getattr(old, key) for key in same}, entrants=entrants)
    experiment_file(work, old.id).unlink()
    keep_experiment(work, new)
    return new


def test_members_wait_for_their_ensemble(tmp_path):
    work, kept = write_workdir(tmp_path / "work", THREE), tmp_path / "kept"
    own = with_members(work, "both", ("one", "two"))
    ensemble = next(t for t in own.trials if t.name == "both" and t.fold == 1)
    change(work / "trials" / ensemble.id / "status.json", Status, status="pending", finished=None)
    members = {t.id for t in own.trials if t.fold == 1 and t.name in ("one", "two")}
    assert waiting_for_ensembles(take_inventory(work)) == dict.fromkeys(members, "both")
    done = lightened(work, kept, "--yes", "--json")
    assert done.code == 0
    waiting = {row["id"]: row["why"] for row in done.json["trials"] if row["what"] == "waits"}
    assert set(waiting) == {*members, ensemble.id}
    assert all(waiting[member] == "both still needs its weights" for member in members)
    change(work / "trials" / ensemble.id / "status.json", Status, status="finished", finished="x")
    assert set(states(lightened(work, kept, "--yes", "--json")).values()) == {"new", "same"}


def test_an_experiment_that_was_given_up_holds_nothing(tmp_path):
    work = write_workdir(tmp_path / "work", THREE)
    old = with_members(work, "both", ("one", "two"))
    ensemble = next(t for t in old.trials if t.name == "both" and t.fold == 1)
    shutil.rmtree(work / "trials" / ensemble.id)
    assert set(waiting_for_ensembles(take_inventory(work)).values()) == {"both"}
    same = set(ExperimentRecord.model_fields) - {"schema_version", "id", "plan", "created"}
    kept = {key: getattr(old, key) for key in same} | {"created": "2199-01-01T00:00:00+00:00"}
    kept["entrants"] = tuple(e for e in old.entrants if e.name != "both")
    kept["trials"] = tuple(t for t in old.trials if t.name != "both")
    keep_experiment(work, ExperimentRecord.of(**kept))
    assert waiting_for_ensembles(take_inventory(work)) == {}


def test_a_curve_that_is_damaged_is_told_and_leaves_no_half_of_a_trial(work, tmp_path):
    first = next(t.id for t in take_inventory(work).trials if t.state == "finished")
    (work / "trials" / first / "curve.parquet").write_bytes(b"no table")
    done = lightened(work, tmp_path / "kept", "--yes", "--json")
    assert done.code == 1
    assert states(done)[first] == "failed"
    (why,) = (row["why"] for row in done.json["trials"] if row["id"] == first)
    assert "curve.parquet cannot be read as a table" in why
    assert first not in {path.name for path in (tmp_path / "kept" / "trials").iterdir()}
    assert list((tmp_path / "kept" / "trials").glob(".*")) == []


@pytest.mark.parametrize("words", [(), ("--light",)])
def test_what_is_damaged_there_is_left_out_of_either_copy(work, tmp_path, words):
    (work / "trials" / find_experiment(work).trials[0].id / "ledger.json").write_text("{")
    done = call_kitsbench(
        "trials", "merge", work, "--workdir", tmp_path / "kept", *words, "--yes", "--json"
    )
    assert done.code == 1
    assert list(states(done).values()).count("left out") == 1
