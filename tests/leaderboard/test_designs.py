"""A board's design: written before the first trial, and never changed when answers are known."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir

from kitsbench.data.phantom.dataset import NOTE_ANATOMY
from kitsbench.errors import UsageError
from kitsbench.experiments.records import experiment_file, find_experiment, keep_experiment
from kitsbench.experiments.records.experiment import ExperimentRecord
from kitsbench.leaderboard import add_entries, check_boards, read_board, render_boards

PLAN = Plan({"a": 0.0, "b": 0.1}, folds=2, seeds=2, cases_per_fold=3, showcase=0, predictions=False)
TEXT = b"# What is asked\n\nWhether b is better than a.\n"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return write_workdir(tmp_path_factory.mktemp("work"), PLAN)


@pytest.fixture(scope="module")
def published(workdir, tmp_path_factory):
    boards = tmp_path_factory.mktemp("published")
    (boards / "asked").mkdir()
    (boards / "asked" / "design.md").write_bytes(TEXT)
    add_entries(workdir, boards / "asked")
    return boards


@pytest.fixture
def boards(published, tmp_path):
    return Path(shutil.copytree(published, tmp_path / "boards"))


def told(boards):
    return [problem.message for problem in check_boards(boards)[1]]


def test_a_design_waits_for_its_first_entry(tmp_path):
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "design.md").write_bytes(TEXT)
    (tmp_path / "asked" / "trials").mkdir()
    assert check_boards(tmp_path) == (0, [])
    assert render_boards(tmp_path) == []
    (tmp_path / "asked" / "design.md").unlink()
    assert "a board without entries" in told(tmp_path)[0]


def test_every_entry_has_the_hash_of_its_board_s_design(boards, workdir):
    entries = read_board(boards / "asked")
    assert {entry.design for entry in entries} == {hashlib.sha256(TEXT).hexdigest()}
    assert told(boards) == []
    assert add_entries(workdir, boards / "asked") == []
    add_entries(workdir, boards / "unasked")
    assert {entry.design for entry in read_board(boards / "unasked")} == {None}
    assert '"design"' not in (boards / "unasked" / "a.json").read_text(encoding="utf-8")


def test_a_design_that_was_changed_afterwards_is_named(boards, workdir):
    design = boards / "asked" / "design.md"
    design.write_bytes(TEXT.replace(b"better than", b"no worse than"))
    found = told(boards)
    assert len(found) == 2
    assert all("a design stays as it was before the first trial" in line for line in found)
    with pytest.raises(UsageError, match=r"stands on .* one design"):
        add_entries(write_workdir(boards.parent / "c", Plan(**{**vars(PLAN), "gaps": {"c": 0.0}})),
                    boards / "asked")  # fmt: skip
    design.unlink()
    assert all("the board has no design.md: restore it" in line for line in told(boards))


def test_entries_without_a_design_are_named_where_the_board_has_one(boards, workdir):
    add_entries(workdir, boards / "late")
    (boards / "late" / "design.md").write_bytes(TEXT)
    found = told(boards)
    assert len(found) == 2
    assert all("it has no key design" in line for line in found)
    assert add_entries(workdir, boards / "late", replace=True)
    assert told(boards) == []


def test_a_hash_that_somebody_writes_into_an_entry_breaks_its_seal(boards):
    file = boards / "asked" / "a.json"
    text = file.read_text(encoding="utf-8")
    other = hashlib.sha256(b"another").hexdigest()
    file.write_text(text.replace(hashlib.sha256(TEXT).hexdigest(), other), encoding="utf-8")
    (boards / "asked" / "design.md").write_bytes(b"another")
    assert any("seal" in line and "design" in line for line in told(boards))


def test_a_link_is_no_design(boards, tmp_path):
    design = boards / "asked" / "design.md"
    design.rename(tmp_path / "elsewhere.md")
    os.symlink(tmp_path / "elsewhere.md", design)
    assert any("a symbolic link" in line for line in told(boards))
    done = call_kitsbench("leaderboard", "add", tmp_path, "--to", boards / "asked")
    assert done.code == 2
    assert "a symbolic link" in done.err


def test_the_page_says_which_part_of_the_scans_is_made_up(tmp_path):
    work = write_workdir(tmp_path / "work", PLAN)
    old = find_experiment(work)
    note = NOTE_ANATOMY.format(name="kits19-masks-2mm")
    dataset = old.dataset.model_copy(update={"note": note})
    keep_experiment(work, old.model_copy(update={"dataset": dataset}))
    add_entries(work, tmp_path / "boards" / "masks")
    (page,) = render_boards(tmp_path / "boards")
    assert "**Synthetic images on real masks.** Only shapes, " in page.read_text(encoding="utf-8")


def test_a_planted_entrant_is_marked_in_its_entry_and_on_the_page(tmp_path):
    work = write_workdir(tmp_path / "work", PLAN)
    old = find_experiment(work)
    entrants = (old.entrants[0], old.entrants[1].model_copy(update={"planted": "a, once *more*"}))
    new = old.model_copy(update={"entrants": entrants})
    assert new.digest() == old.id  # what it is planted for changes no experiment
    keep_experiment(work, new)
    assert ExperimentRecord.read(experiment_file(work, old.id)).entrants[1].planted
    add_entries(work, tmp_path / "boards" / "phantom")
    assert [entry.planted for entry in read_board(tmp_path / "boards" / "phantom")] == [
        None,
        "a, once *more*",
    ]
    (page,) = render_boards(tmp_path / "boards")
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("Planted as controls") and "`b`. " in line]
    (row,) = [line for line in lines if line[:1] == "|" and "planted: a, once " in line]
    assert "`b`" in row
    assert "*more*" not in row.replace("\\*", "")
