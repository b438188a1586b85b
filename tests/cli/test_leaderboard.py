"""``kitsbench leaderboard``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from reporting.workdirs import Plan, write_workdir

from kitsbench.cli import cli


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a board that was filled by the command."""
    folder = tmp_path_factory.mktemp("boards")
    plan = Plan({"a": 0.0, "b": 0.1}, folds=1, showcase=0, predictions=False)
    workdir = write_workdir(folder / "work", plan)
    result = CliRunner().invoke(
        cli, ["leaderboard", "add", str(workdir), "--to", str(folder / "boards" / "phantom")]
    )
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 2
    return folder


def test_add_check_render_in_a_row(root):
    checked = CliRunner().invoke(cli, ["leaderboard", "check", str(root / "boards"), "--json"])
    assert checked.exit_code == 0
    assert json.loads(checked.stdout) == {"entries": 2, "passed": True, "problems": []}
    rendered = CliRunner().invoke(cli, ["leaderboard", "render", str(root / "boards")])
    assert rendered.output.strip() == str(root / "boards" / "phantom.md")
    assert "Synthetic scans" in (root / "boards" / "phantom.md").read_text(encoding="utf-8")


def test_adding_twice_changes_nothing(root):
    board = root / "boards" / "phantom"
    result = CliRunner().invoke(cli, ["leaderboard", "add", str(root / "work"), "--to", str(board)])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "already" in result.stderr


def test_a_broken_entry_ends_with_code_2(root, tmp_path):
    entry = json.loads((root / "boards" / "phantom" / "a.json").read_text())
    entry["seeds"] = 0
    (tmp_path / "a.json").write_text(json.dumps(entry))
    result = CliRunner().invoke(cli, ["leaderboard", "check", str(tmp_path)], standalone_mode=False)
    assert result.return_value == 2
    assert "a.json: seeds: " in result.stdout
