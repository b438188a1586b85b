"""``kitsbench leaderboard``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir
from stored_files import damage


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
