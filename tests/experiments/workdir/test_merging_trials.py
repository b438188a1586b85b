"""Merging: what is there comes if it is what its name says; what has finished here stays."""

from __future__ import annotations

import math
import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from command_line import call_kitsbench
from stored_files import change, damage, put

from kitsbench.experiments.asked.again import RequestRecord
from kitsbench.experiments.records import (
    Status,
    experiment_file,
    find_experiment,
    request_file,
)
from kitsbench.experiments.results import load_results
from kitsbench.experiments.tables import SCORES, read_table, write_table
from kitsbench.experiments.trial.lease import Lease
from kitsbench.experiments.workdir.inventory import take_inventory
from kitsbench.experiments.workdir.merge import merge, plan_merge


def merged(other, work, *words):
    return call_kitsbench("trials", "merge", other, "--workdir", work, *words)


def content(folder):
    """Every file of a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def what(done):
    return {row["id"]: row["what"] for row in done.json["trials"]}


@pytest.fixture
def two(work, tmp_path):
    """A working directory, and one in which the first two of its trials are missing."""
    here = shutil.copytree(work, tmp_path / "here")
    missing = [trial.id for trial in find_experiment(work).trials[:2]]
    for name in missing:
        shutil.rmtree(here / "trials" / name)
    return work, here, missing


def test_what_is_missing_comes_as_it_is(two):
    there, here, missing = two
    (there / "splits").mkdir()
    (there / "splits" / "feedbeeffeedbeef.json").write_text("{}")
    (there / "cases").mkdir()
    (there / "cases" / "0123456789abcdef.json").write_text("{}")
    before, source = content(here), content(there)
    told = merged(there, here)
    assert (told.code, content(here)) == (0, before)
    assert "Nothing was copied. Say --yes" in told.out
    size = sum(
        len(data) for name, data in source.items() if name.split("/")[1:2] in [[m] for m in missing]
    )
    assert f"2 trials would come: {size:,} bytes" in told.out
    done = merged(there, here, "--yes", "--json")
    assert done.code == 0, done.err
    assert sorted(one for one, how in what(done).items() if how == "new") == sorted(missing)
    assert sorted(what(done).values()) == ["new", "new", "same", "same"]
    assert content(here) == source == content(there)
    again = merged(there, here, "--yes", "--json")
    assert set(what(again).values()) == {"same"}


def test_names_of_any_letters_are_names(work, tmp_path):
    odd = tmp_path / "a, b='c' \"d\" [ä]* $x"
    there, here = shutil.copytree(work, odd / "there,yes=1"), odd / "here, --workdir"
    request = RequestRecord(experiment=find_experiment(work).id, options={})
    file = request_file(there, request.experiment)
    file.parent.mkdir(exist_ok=True)
    request.write(file)
    done = merged(there, here, "--yes", "--json")
    assert done.code == 0, done.err
    assert set(what(done).values()) == {"new"}
    assert content(here / "trials") == content(work / "trials")
    kept = RequestRecord.read(request_file(here, request.experiment))
    assert kept.merged_from == str(there.resolve())
    assert len(call_kitsbench("trials", here, "--json").json["trials"]) == 4


def test_a_folder_that_is_not_there_becomes_a_working_directory(work, tmp_path):
    new = tmp_path / "new"
    assert not merged(work, new).err
    assert not new.exists()
    own = find_experiment(work)
    request_file(work, own.id).parent.mkdir(exist_ok=True)
    RequestRecord(experiment=own.id, options={}).write(request_file(work, own.id))
    assert merged(work, new, "--yes").code == 0
    assert find_experiment(new) == own
    assert request_file(new, own.id).is_file()
    assert load_results(new).scores.equals(load_results(work).scores)


def test_what_failed_here_and_finished_there_is_taken(two):
    there, here, _ = two
    name = next(t.id for t in find_experiment(here).trials[2:])
    file = here / "trials" / name / "status.json"
    change(file, Status, status="failed", reason="timeout", message="slow")
    (here / "trials" / name / "log.txt").write_text("ours")
    done = merged(there, here, "--yes", "--json")
    (row,) = (row for row in done.json["trials"] if row["id"] == name)
    assert (row["what"], row["why"]) == (
        "replaces",
        "it is failed: timeout here, and finished there",
    )
    assert content(here / "trials" / name) == content(there / "trials" / name)
    assert list((here / "trials").glob(".*")) == []


def test_a_link_to_what_failed_here_is_replaced_and_what_it_leads_to_stays(two):
    there, here, _ = two
    place = here / "trials" / next(t.id for t in find_experiment(here).trials[2:])
    change(place / "status.json", Status, status="failed", reason="timeout", message="slow")
    place.rename(here / "elsewhere")
    place.symlink_to(here / "elsewhere")
    before = content(here / "elsewhere")
    assert merged(there, here, "--yes").code == 0
    assert content(here / "elsewhere") == before
    assert not place.is_symlink()
    assert content(place) == content(there / "trials" / place.name)
    assert list((here / "trials").glob(".*")) == []
    assert merged(there, here, "--yes").code == 0


def test_other_scores_of_one_trial_are_told_and_ours_stay(two):
    there, here, _ = two
    name = next(t.id for t in take_inventory(here).trials if t.state == "finished")
    file = there / "trials" / name / "scores.parquet"
    table = read_table(file, SCORES)
    chosen = table.index[table["metric"] == "dice"][:2]
    table.loc[chosen, "value"] += pd.Series([0.01, -0.02], index=chosen)
    write_table(file, table, SCORES)
    before = content(here / "trials" / name)
    done = merged(there, here, "--yes", "--json")
    assert done.code == 0
    (row,) = (row for row in done.json["trials"] if row["id"] == name)
    assert row["what"] == "conflict"
    assert f"2 of {len(table)} scores differ, by up to 0.02; what is here stays" in row["why"]
    assert content(here / "trials" / name) == before


def agreement(here, there, name, index, there_value, here_value):
    """What is said where both have one score, and other values for it."""
    for folder, value in ((there, there_value), (here, here_value)):
        file = folder / "trials" / name / "scores.parquet"
        table = read_table(file, SCORES)
        table.loc[index, "value"] = value
        write_table(file, table, SCORES)
    trials = plan_merge(here, there).trials
    return next((one.what, one.why) for one in trials if one.id == name)


def test_scores_that_there_are_none_of_agree_with_none_alone(two):
    there, here, _ = two
    name = next(t.id for t in take_inventory(here).trials if t.state == "finished")
    told = partial(agreement, here, there, name, 0)
    assert told(math.nan, math.nan) == ("same", "it has the same scores here")
    what, why = told(math.nan, 0.5)
    assert what == "conflict"
    assert "and 1 of " in why
    assert "scores differ; what is here stays" in why
    assert told(0.5, math.nan)[0] == "conflict"
    told(0.5, 0.5)
    file = there / "trials" / name / "scores.parquet"
    write_table(file, read_table(file, SCORES).drop(index=0), SCORES)
    (one,) = (one for one in plan_merge(here, there).trials if one.id == name)
    assert one.what == "conflict"
    assert "and 1 of " in one.why


def test_what_is_not_what_its_name_says_is_left_out(two):
    there, here, (one, two_) = two
    damage(there / "trials" / one / "trial.json", lambda content: put(content, "identity.seed", 77))
    (there / "trials" / two_ / "predictions").symlink_to(there.parent)
    done = merged(there, here, "--yes", "--json")
    assert done.code == 1
    why = {row["id"]: row["why"] for row in done.json["trials"]}
    assert "which is not the hash of identity" in why[one]
    assert "is no file but a link" in why[two_]
    assert not {one, two_} & {path.name for path in (here / "trials").iterdir()}


def test_weights_that_are_damaged_are_left_out(two):
    there, here, (one, _) = two
    (weights,) = (there / "trials" / one).glob("checkpoint/*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    done = merged(there, here, "--yes")
    assert done.code == 1
    assert "has no whole" in done.out
    assert not (here / "trials" / one).exists()
    assert list((here / "trials").glob(".*")) == []


def test_what_is_worked_on_is_left_out_there_and_stays_here(two):
    there, here, (one, _) = two
    with Lease(there / "trials" / one / "lease.json"):
        done = merged(there, here, "--yes", "--json")
    assert (done.code, what(done)[one]) == (1, "left out")
    assert not (here / "trials" / one).exists()
    file = here / "trials" / find_experiment(here).trials[2].id / "status.json"
    change(file, Status, status="running", finished=None)
    with Lease(file.parent / "lease.json"):
        done = merged(there, here, "--yes", "--json")
    assert what(done)[file.parent.name] == "conflict"


def test_a_trial_that_is_begun_or_changed_after_the_plan_is_left_out(two, monkeypatch):
    there, here, (one, two_) = two
    plan = plan_merge(here, there)
    copied = shutil.copyfile

    def meanwhile(source, target):
        copied(source, target)
        if Path(source).parent.name == two_:
            (there / "trials" / two_ / "log.txt").write_text("scored once more")

    monkeypatch.setattr(shutil, "copyfile", meanwhile)
    with Lease(there / "trials" / one / "lease.json"):
        faults = {coming.id: why for coming, why in merge(plan)}
    assert faults[one] == "a process has begun to work on it"
    assert "has changed while it was copied" in faults[two_]
    assert not {one, two_} & {path.name for path in (here / "trials").iterdir()}


class Killed(BaseException):
    """What a kill leaves is what an error nobody catches leaves."""


def test_a_kill_in_the_middle_leaves_no_half_of_a_trial(two, monkeypatch):
    there, here, missing = two
    before = {path.name for path in (here / "trials").iterdir()}
    copied = []

    def killed(source, target):
        copied.append(target)
        if len(copied) == 3:
            raise Killed
        Path(target).write_bytes(Path(source).read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", killed)
        with pytest.raises(Killed):
            merge(plan_merge(here, there))
    shown = {path.name for path in (here / "trials").iterdir() if path.name[0] != "."}
    assert shown == before
    assert merged(there, here, "--yes").code == 0
    assert {*missing} < {path.name for path in (here / "trials").iterdir()}
    assert list((here / "trials").glob(".*")) == []


def test_experiments_come_too_and_damaged_ones_are_left_out(work, tmp_path):
    own = find_experiment(work)
    experiment_file(work, own.id).write_text("{")
    done = merged(work, tmp_path / "new", "--yes", "--json")
    assert done.code == 1
    assert [row["what"] for row in done.json["experiments"]] == ["left out"]
    assert len(take_inventory(tmp_path / "new").trials) == 4


@pytest.mark.parametrize("name", ["", "absent", "empty"])
def test_what_is_no_other_working_directory_is_refused(work, tmp_path, name):
    (tmp_path / "empty").mkdir()
    done = merged(tmp_path / name if name else work, work, "--yes")
    assert done.code == 2
    said = "is the working directory itself" if not name else "holds neither trials nor"
    assert said in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_a_disk_without_room_is_told_before_anything_is_copied(two, monkeypatch):
    there, here, _ = two
    monkeypatch.setattr("kitsbench.experiments.workdir.merge.ROOM", 2**62)
    before = content(here)
    done = merged(there, here, "--yes")
    assert (done.code, content(here)) == (2, before)
    assert "has room for" in done.err
