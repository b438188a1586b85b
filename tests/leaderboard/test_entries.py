"""Entries: what they hold, and what is refused."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from reporting.workdirs import Plan, write_workdir
from stored_files import change, damage

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.records import Status
from kitsbench.leaderboard import Entry, add_entries, check_boards, read_board, render_boards
from kitsbench.leaderboard.markdown import render_board
from kitsbench.leaderboard.parts import Score
from kitsbench.leaderboard.schema import file_name
from kitsbench.statistics import read_scores

FAILED = ("b:width=0.5", 1, 0, "out-of-memory")
GAPS = {"a": 0.0, "b:width=0.5": 0.1}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    plan = Plan(GAPS, folds=2, failed=(FAILED,), showcase=0, predictions=False)
    return write_workdir(tmp_path_factory.mktemp("work"), plan)


@pytest.fixture(scope="module")
def board(workdir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("boards") / "phantom"
    add_entries(workdir, folder)
    return folder


@pytest.fixture
def content(board):
    return json.loads((board / "a.json").read_text(encoding="utf-8"))


def test_an_entry_and_a_table_an_architecture(board):
    assert sorted(file.name for file in board.iterdir()) == [
        "a.json",
        "a.scores.csv.gz",
        "b-width=0.5.json",
        "b-width=0.5.scores.csv.gz",
        "board.toml",
    ]


def test_the_table_is_a_long_score_table_of_equal_bytes_whenever_it_is_written(
    workdir, board, tmp_path
):
    add_entries(workdir, tmp_path / "again")
    for file in board.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    text = gzip.decompress((board / "a.scores.csv.gz").read_bytes())
    (tmp_path / "a.csv").write_bytes(text)
    scores = read_scores(tmp_path / "a.csv")
    chosen = scores[(scores["protocol"] == "kits19") & (scores["region"] == "tumor")]
    dice = chosen[chosen["metric"] == "dice"]
    assert dice.groupby("case")["value"].mean().mean() == pytest.approx(
        read_board(board)[0].score("tumor:dice").mean
    )


def test_an_entry_holds_scores_cost_and_provenance(board):
    entry = read_board(board)[0]
    assert entry.name == "a"
    assert entry.synthetic
    score = entry.score("tumor:dice")
    assert score.n_cases == 8
    assert score.ci_low < score.mean < score.ci_high
    assert entry.score("kidney:recall", "labels") is not None
    assert entry.cost.steps == 120
    assert entry.provenance.environment.packages["torch"] == "2.6.0"
    assert entry.provenance.kitsbench == "0.1.0"
    assert entry.trials.finished == 4
    assert entry.rank.scope == "L1"


def test_failed_trials_are_declared_with_their_reason(board):
    entry = read_board(board)[1]
    assert entry.trials.failed == 1
    assert entry.trials.reasons == {"out-of-memory": 1}
    assert entry.score("tumor:dice").n_failed == 4


def test_adding_again_writes_nothing(workdir, board):
    assert add_entries(workdir, board) == []


def test_another_result_of_the_same_name_needs_replace(workdir, board, tmp_path):
    folder = tmp_path / "phantom"
    other = write_workdir(
        tmp_path / "other",
        Plan({**GAPS, "a": 0.2}, folds=2, failed=(FAILED,), showcase=0, predictions=False),
    )
    add_entries(workdir, folder)
    before = (folder / "a.json").read_text()
    with pytest.raises(UsageError, match="--replace"):
        add_entries(other, folder)
    assert (folder / "a.json").read_text() == before
    written = add_entries(other, folder, replace=True)
    assert folder / "a.json" in written
    assert (folder / "a.json").read_text() != before


def test_other_conditions_are_refused(board, tmp_path):
    plan = Plan({"c": 0.0, "d": 0.0}, folds=2, showcase=0, budget=("40s", 40.0, "seconds"))
    other = write_workdir(tmp_path, plan)
    with pytest.raises(UsageError, match="its budget is '40s', that of 'a' '20s'"):
        add_entries(other, board)
    assert len(list(board.iterdir())) == 5


def test_unfinished_experiments_are_refused(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, showcase=0))
    change(next(workdir.glob("trials/*/status.json")), Status, status="running", finished=None)
    with pytest.raises(DataError, match="1 of 2 trials"):
        add_entries(workdir, tmp_path / "board")
    assert not (tmp_path / "board").exists()


def test_a_published_board_passes_its_own_check(board):
    assert check_boards(board.parent) == (2, [])
    assert check_boards(board) == (2, [])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e: e.update(seeds=3), "need 6 trials, 4 are listed"),
        (lambda e: e.update(synthetic=False), "disagree on whether the scans are synthetic"),
        (lambda e: e.update(extra=1), "extra"),
        (lambda e: e.pop("provenance"), "provenance"),
        (lambda e: e["scores"][0].update(mean=1.2, ci_high=2), "between 0 and 1"),
        (
            lambda e: e["scores"][0].update(metric="hd95_mm", mean=-2, ci_low=-3),
            "must lie at or above 0",
        ),
        (lambda e: e["scores"][0].update(mean=0.0, ci_low=0.1), "outside its own interval"),
        (lambda e: e["trials"].update(failed=1), "do not make"),
        (lambda e: e.update(endpoint="tumor:hd95_mm"), "no score for the endpoint"),
    ],
)
def test_rules_of_the_schema(board, tmp_path, spoil, message):
    file = Path(shutil.copy(board / "a.json", tmp_path))
    Entry.read(file)
    damage(file, spoil)
    with pytest.raises(DataError, match=message) as refused:
        Entry.read(file)
    assert str(file) in str(refused.value)
    assert "Restore it" in str(refused.value)


def test_check_names_every_problem(board, content, tmp_path):
    for file in board.iterdir():
        shutil.copy(file, tmp_path)
    content["name"] = "c"
    content["budget"]["text"] = "40s"
    (tmp_path / "wrong.json").write_text(json.dumps(content))
    (tmp_path / "z.json").write_text("{")
    count, problems = check_boards(tmp_path)
    assert count == 4
    assert {problem.file.name for problem in problems} == {"wrong.json", "z.json"}
    messages = " ".join(p.message for p in problems)
    assert "is no JSON" in messages
    assert "belongs into c.json" in messages
    assert "its budget is '40s'" in messages
    with pytest.raises(DataError, match=r"z\.json"):
        read_board(tmp_path)


def test_nothing_is_no_board(tmp_path):
    with pytest.raises(DataError, match="holds no entries; `kitsbench leaderboard add"):
        check_boards(tmp_path)
    with pytest.raises(DataError, match="holds no entries"):
        render_boards(tmp_path)
    (tmp_path / "phantom").mkdir()
    assert [problem.file.name for problem in check_boards(tmp_path)[1]] == ["phantom"]
    with pytest.raises(DataError, match="phantom: a board without entries"):
        render_boards(tmp_path)
    assert not (tmp_path / "phantom.md").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        check_boards(tmp_path / "nowhere")


def test_the_page_is_ordered_and_honest(board):
    page = render_boards(board.parent)[0]
    assert page == board.parent / "phantom.md"
    text = page.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert "`a`" in rows[1]  # its rival failed on half of the cases
    assert "3/4 (failures)" in rows[2]
    assert "1 × out-of-memory" in text
    assert "say nothing about patients" in text
    assert render_boards(board.parent)[0].read_text(encoding="utf-8") == text


@pytest.mark.parametrize("metric", ["hd95_mm", "lesion_false_positives"])
def test_the_smaller_stands_first_where_less_is_better(board, tmp_path, metric):
    file, entries = Path(shutil.copy(board / "a.json", tmp_path)), []
    for name, mean in (("far", 7.0), ("near", 2.0)):
        score = Score(protocol="kits19", region="tumor", metric=metric, mean=mean, n_cases=8)
        endpoint = f"tumor:{metric}"
        entries.append(
            change(file, Entry, name=name, endpoint=endpoint, scores=(score,), rank=None)
        )
    page = render_board("phantom", entries)
    assert page.index("`near`") < page.index("`far`")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unet3d", "unet3d.json"),
        ("SCAU:attention=off,width=0.5", "scau-attention=off-width=0.5.json"),
        ("../../etc/passwd", "etc-passwd.json"),
        ("日本", "entry.json"),
    ],
)
def test_file_names_stay_in_their_folder(name, expected):
    assert file_name(name) == expected
