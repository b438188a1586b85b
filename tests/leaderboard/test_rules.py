"""What a board demands of its entries, written beside them."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir

from kitsbench.errors import DataError, UsageError
from kitsbench.leaderboard import (
    add_entries,
    check_boards,
    read_board,
    read_rules,
    render_boards,
    written_rules,
)
from kitsbench.leaderboard.rules import _toml

PLAN = Plan({"a": 0.0, "b": 0.1}, folds=2, seeds=2, cases_per_fold=3, showcase=0, predictions=False)
FAILED = ("b", 1, 0, "out-of-memory")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return write_workdir(tmp_path_factory.mktemp("work"), PLAN)


@pytest.fixture(scope="module")
def published(workdir, tmp_path_factory):
    board = tmp_path_factory.mktemp("published") / "phantom"
    add_entries(workdir, board)
    return board


@pytest.fixture
def board(published, tmp_path):
    return Path(shutil.copytree(published, tmp_path / "phantom"))


def change(board: Path, key: str, value: str) -> None:
    """Write another value of a key into a board's file."""
    file = board / "board.toml"
    text = file.read_text(encoding="utf-8")
    new = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
    assert new != text
    file.write_text(new, encoding="utf-8")


def told(board: Path) -> list[str]:
    """What `check` says of it."""
    return [problem.message for problem in check_boards(board)[1]]


def test_the_first_entries_bring_the_conditions(board):
    entry, rules = read_board(board)[0], read_rules(board)
    assert rules.conditions.budget == entry.budget.text == "20s"
    assert rules.conditions.seeds == 2
    assert rules.conditions.folds == (0, 1)
    assert rules.conditions.dataset == entry.dataset.fingerprint
    assert rules.conditions.synthetic
    assert told(board) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset", '"ffffffffffffffff"'),
        ("protocol", '"kits23"'),
        ("endpoint", '"kidney:dice"'),
        ("recipe", '"paper"'),
        ("tuning", '"0123456789abcdef"'),
        ("budget", '"2h"'),
        ("split", '"0000000000000000"'),
        ("folds", "[0, 1, 2]"),
        ("seeds", "3"),
        ("synthetic", "false"),
    ],
)
def test_an_entry_under_another_condition_is_named(board, key, value):
    change(board, key, value)
    found = told(board)
    assert len(found) == 2
    assert all(line.startswith(f"its {key} is ") and "board.toml says" in line for line in found)


def test_who_may_not_enter_is_refused(board, tmp_path):
    change(board, "failures", "false")
    assert told(board) == []
    for file in board.glob("*.*.gz"):
        file.unlink()
    for file in board.glob("*.json"):
        file.unlink()
    failed = write_workdir(tmp_path / "work", Plan(**{**vars(PLAN), "failed": (FAILED,)}))
    with pytest.raises(UsageError, match=r"'b' cannot enter .*failed runs.*allowed\.failures"):
        add_entries(failed, board)
    assert [file.name for file in board.iterdir()] == ["board.toml"]


def test_an_experiment_under_another_condition_cannot_enter_an_empty_board(board, workdir):
    for file in [*board.glob("*.gz"), *board.glob("*.json")]:
        file.unlink()
    change(board, "budget", '"2h"')
    with pytest.raises(UsageError, match=r"its budget is '20s', and board\.toml says '2h'"):
        add_entries(workdir, board)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = two", "no TOML|TOML"),
        ("title = 'x'", "conditions"),
        ("heading = 'x'\n[conditions]", "conditions"),
        ("", "conditions"),
    ],
)
def test_a_damaged_file_is_told_and_nothing_is_added(board, workdir, text, said):
    (board / "board.toml").write_text(text, encoding="utf-8")
    (found,) = told(board)
    assert re.search(said, found)
    with pytest.raises(DataError, match=r"board\.toml"):
        add_entries(workdir, board, replace=True)
    with pytest.raises(DataError, match=r"board\.toml"):
        render_boards(board)


def test_a_board_without_the_file_says_how_to_write_it(board):
    before = (board / "board.toml").read_text(encoding="utf-8")
    (board / "board.toml").unlink()
    (found,) = told(board)
    assert "kitsbench leaderboard conditions" in found
    shown = call_kitsbench("leaderboard", "conditions", board)
    assert shown.code == 0
    assert shown.out == before
    assert written_rules(read_board(board)) == before


def test_title_and_sentence_stand_on_the_page_as_text(board):
    change(board, "title", '"Two hours <b>each</b>"')
    change(board, "about", '"What | a board *is*."')
    (page,) = render_boards(board)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Two hours ")
    assert "<b>" not in text
    assert "What" in text.splitlines()[4]
    assert "*is*" not in text.splitlines()[4].replace("\\*", "")


@pytest.mark.parametrize("value", ["\U0001fac1 \x7f \u2028 \"'\\ \n", True, 3, [0, 2]])
def test_what_is_written_as_toml_reads_back(value):
    assert tomllib.loads(f"key = {_toml(value)}") == {"key": value}


def test_a_date_in_the_file_is_told(board):
    file = board / "board.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("folds = [", "folds = [2026-11-27, "), encoding="utf-8")
    with pytest.raises(DataError, match=r"conditions\.folds\.0: .*integer"):
        read_rules(board)
