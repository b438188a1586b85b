"""``kitsbench leaderboard``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir
from stored_files import damage

from kitsbench.experiments.tables import SCORES, read_table, write_table


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a board that was filled by the command."""
    folder = tmp_path_factory.mktemp("boards")
    plan = Plan({"a": 0.0, "b": 0.1}, folds=1, showcase=0, predictions=False)
    workdir = write_workdir(folder / "work", plan)
    done = call_kitsbench("leaderboard", "add", workdir, "--to", folder / "boards" / "phantom")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 2
    return folder


def test_add_check_render_in_a_row(root):
    checked = call_kitsbench("leaderboard", "check", root / "boards", "--json")
    assert checked.code == 0
    assert checked.json == {"entries": 2, "passed": True, "problems": []}
    rendered = call_kitsbench("leaderboard", "render", root / "boards")
    assert rendered.out.strip() == str(root / "boards" / "phantom.md")
    assert "Synthetic scans" in (root / "boards" / "phantom.md").read_text(encoding="utf-8")


def test_adding_twice_changes_nothing(root):
    board = root / "boards" / "phantom"
    done = call_kitsbench("leaderboard", "add", root / "work", "--to", board)
    assert (done.code, done.out) == (0, "")
    assert "already" in done.err


def test_a_broken_entry_ends_with_code_2(root, tmp_path):
    file = Path(shutil.copy(root / "boards" / "phantom" / "a.json", tmp_path))
    damage(file, lambda entry: entry.update(seeds=0))
    done = call_kitsbench("leaderboard", "check", tmp_path)
    assert done.code == 2
    assert "a.json: the key seeds is wrong" in done.out


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("value", 1.7, "dice lies between 0 and 1"),
        ("value", float("nan"), "is empty, but the status is ok"),
        ("value", float("inf"), "infinite, which none can be"),
        ("status", "great", "'great'"),
        ("status", "both_empty", "the status is both_empty"),
    ],
)
def test_a_score_that_can_be_none_is_told_with_its_file(tmp_path, column, value, words):
    """A value is damage as much as a key is: whatever rests on it says which file holds it."""
    plan = Plan({"a": 0.0, "b": 0.1}, 1, 1, 2, showcase=0, predictions=False, profiles=False)
    workdir = write_workdir(tmp_path / "work", plan)
    file = min(workdir.glob("trials/*/scores.parquet"))
    table = read_table(file, SCORES)
    table.loc[table["metric"] == "dice", column] = value
    write_table(file, table, SCORES)
    for verb in (("claims", workdir), ("leaderboard", "add", workdir, "--to", tmp_path / "board")):
        done = call_kitsbench(*verb)
        assert (done.code, done.out) == (2, "")
        first, second = done.err[done.err.index("Error: ") :].strip().splitlines()
        assert words in first
        assert str(file) in first
        assert second.startswith("Delete the folder of this trial")
    assert not (tmp_path / "board").exists()


def test_trials_that_contradict_each_other_are_told_with_their_folder(tmp_path):
    """Each may be right by itself, so neither file is blamed."""
    plan = Plan({"a": 0.0, "b": 0.1}, 1, 1, 2, showcase=0, predictions=False, profiles=False)
    workdir = write_workdir(tmp_path / "work", plan)
    file = min(workdir.glob("trials/*/scores.parquet"))
    table = read_table(file, SCORES)
    table["status"] = "both_empty"
    table["value"] = [1.0 if metric == "dice" else float("nan") for metric in table["metric"]]
    write_table(file, table, SCORES)
    for verb in (("claims", workdir), ("leaderboard", "add", workdir, "--to", tmp_path / "board")):
        done = call_kitsbench(*verb)
        assert done.code == 2
        first, second = done.err[done.err.index("Error: ") :].strip().splitlines()
        assert f"{workdir / 'trials'}: Case case_00000" in first
        assert second.startswith("Delete the folder of this trial")
