"""Systems and label maps on a board: apart from what was trained, and proven where they can be."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call_kitsbench
from pydantic import ValidationError
from reporting.workdirs import Plan, trained_elsewhere, write_workdir
from stored_files import put

from kitsbench.leaderboard import Entry, add_entries, check_boards, read_board, render_boards
from kitsbench.leaderboard.beside import beside
from kitsbench.leaderboard.board import read_filed
from kitsbench.leaderboard.elsewhere_proof import elsewhere_faults
from kitsbench.leaderboard.markdown import render_board
from kitsbench.leaderboard.peers import Filed, board_faults
from kitsbench.leaderboard.proof import entry_faults
from kitsbench.leaderboard.table_proof import read_scores

NOBODY = "nobody says what it was trained on, so it may know the scans of the test"
OUTSIDE = {
    "maps": trained_elsewhere(trained_on=("another hospital", "MSD"), hours=12.5),
    "seer": trained_elsewhere(kind="system", trained_on=("unknown",), leak=NOBODY),
}
TRAINED = Plan({"a": 0.0, "b": 0.1}, folds=2, cases_per_fold=2, showcase=0, predictions=False)
PLAN = replace(TRAINED, gaps={**TRAINED.gaps, "maps": 0.05, "seer": 0.02}, elsewhere=OUTSIDE)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A board of two that were trained, a system and label maps."""
    folder = tmp_path_factory.mktemp("outside")
    add_entries(write_workdir(folder / "work", PLAN), folder / "phantom")
    return folder / "phantom"


def entries(board):
    return {entry.name: entry for entry in read_board(board)}


@pytest.fixture(scope="module")
def tables(published):
    """Tables of the entries, read once."""
    return {n: read_scores(e, published / f"{n}.json")[0] for n, e in entries(published).items()}


def forged(board, name, *places, seal=True):
    """An entry with values in their places: place, value, place, value."""
    content = json.loads((board / f"{name}.json").read_text())
    for place, value in zip(places[::2], places[1::2], strict=True):
        put(content, place, value)
    entry = Entry.model_validate_json(json.dumps(content))
    return entry.model_copy(update={"seals": entry.sealed()}) if seal else entry


def test_they_pass_the_check_without_budget_and_rank(published):
    assert check_boards(published) == (4, [])
    known = entries(published)
    for name in OUTSIDE:
        assert (known[name].budget.unit, known[name].rank, known[name].seeds) == ("none", None, 1)
        assert known[name].elsewhere == OUTSIDE[name]
    assert known["seer"].cost.predict_s == pytest.approx(3.0)  # six seconds for two scans
    assert known["maps"].cost.predict_s is None
    assert known["maps"].cost.peak_memory_bytes is None


def test_who_was_trained_knows_nothing_of_them(published, tmp_path):
    """Ranks, means and the hash of the experiment are those of a run without them."""
    add_entries(write_workdir(tmp_path / "work", TRAINED), tmp_path / "phantom")
    for name in TRAINED.gaps:
        alone = (tmp_path / "phantom" / f"{name}.json").read_text()
        assert (published / f"{name}.json").read_text() == alone
        assert "elsewhere" not in alone


def test_they_stand_in_a_table_of_their_own(published):
    page = render_board("phantom", read_board(published))
    above, _, below = page.partition("## Trained elsewhere")
    assert "`maps`" not in above
    maps, seer = (next(x for x in below.splitlines() if f"| `{n}`" in x) for n in ("maps", "seer"))
    assert "another hospital; MSD" in maps
    assert "12.5 h, as reported" in maps
    assert "| unknown | unknown |" not in maps
    assert "3 s on Test CPU" in seer
    assert f"`seer` may know the scans of the test: {NOBODY}." in below
    assert "says nothing about architectures" in below


@pytest.mark.parametrize(
    ("name", "forgery", "message"),
    [
        ("seer", ("elsewhere.leak", None), "elsewhere.leak is None; elsewhere.trained_on gives"),
        ("maps", ("elsewhere.leak", "it looks so"), "the key elsewhere.leak is 'it looks so'"),
        ("maps", ("elsewhere.trained_on", ["a phantom"]), "the dataset in use"),
        ("seer", ("elsewhere.hours", 3.0), "elsewhere.hours is set"),
        ("seer", ("elsewhere.missing", 1), "a system leaves no case out"),
        ("maps", ("elsewhere.missing", 1), "the table has 0 cases without"),
        ("maps", ("trials.runs.0.spent.steps", 5), "spent.steps is 5; what was trained elsewhere"),
        ("maps", ("trials.runs.0.spent.inference_s", 1.0), "but label maps were given"),
        ("maps", ("trials.runs.1.source_hash", "ba" * 8), "trials.runs.1.id"),
        ("seer", ("cost.predict_s", 0.1), "the key cost.predict_s is 0.1; trials.runs gives 3"),
    ],
)
def test_what_follows_from_what_it_says_is_worked_out_again(
    published, tables, name, forgery, message
):
    entry = forged(published, name, *forgery)
    faults = [
        *entry_faults(entry, published / f"{name}.json"),
        *elsewhere_faults(entry, tables[name]),
    ]
    assert message in "\n".join(faults)


@pytest.mark.parametrize(
    ("name", "forgery", "message"),
    [
        ("maps", ("rank", {"rank": 1}), "what was trained elsewhere has no rank"),
        ("maps", ("elsewhere", None), "the key elsewhere is there where the budget is none"),
        ("a", ("elsewhere", OUTSIDE["maps"].model_dump(mode="json")), "the budget is none"),
    ],
)
def test_what_it_cannot_say_is_refused(published, name, forgery, message):
    with pytest.raises(ValidationError, match=message):
        forged(published, name, *forgery)


def test_what_it_declares_is_sealed(published):
    entry = forged(published, "maps", "elsewhere.trained_on", ["a third hospital"], seal=False)
    faults = entry_faults(entry, published / "maps.json")
    assert faults == ["the key elsewhere was changed: it has not the hash of the key seals"]


def test_cases_and_scores_are_held_against_those_of_the_board(published, tables):
    known = entries(published)

    def faults(**changed):
        filed = [Filed(published / f"{n}.json", known[n], changed.get(n, tables[n])) for n in known]
        return {f"{file.name}: {text}" for file, text in board_faults(filed)}

    fewer = tables["maps"][tables["maps"]["case"] != "case_00001"]
    lacks = "its table lacks case_00001 in fold 1, seed 0, which other runs of the fold test"
    assert f"maps.json: {lacks}" in faults(maps=fewer)
    own = tables["b"][tables["b"]["seed"] == 0].assign(architecture="maps")
    assert any("one result, entered twice" in text for text in faults(maps=own))


def test_one_and_the_same_system_takes_part_in_several_experiments(published, tmp_path):
    board = Path(shutil.copytree(published, tmp_path / "phantom"))
    for file in [*board.glob("a.*"), *board.glob("b.*")]:  # c enters with an experiment of its own
        file.unlink()
    before = (board / "seer.json").read_bytes()
    gaps = {**PLAN.gaps, "c": 0.2}
    written = add_entries(write_workdir(tmp_path / "other", replace(PLAN, gaps=gaps)), board)
    assert {file.stem for file in written} == {"a", "b", "c"}
    assert (board / "seer.json").read_bytes() == before


def test_the_verdicts_are_those_of_compare_on_the_working_directory(tmp_path):
    """Five folds, which settle pairs: by ``compare`` and on the page alike."""
    gaps = {"a": 0.0, "b": 0.2, "maps": 0.1, "seer": 0.3}
    plan = replace(PLAN, gaps=gaps, folds=5, seeds=1, profiles=False)
    work, board = write_workdir(tmp_path / "work", plan), tmp_path / "boards" / "phantom"
    add_entries(work, board)
    said = ("verdict", "better", "p_adjusted", "sentence")
    wanted = {
        (pair["a"], pair["b"]): [pair[key] for key in said]
        for pair in call_kitsbench("compare", work, "--json").json["pairs"]
        if "maps" in (pair["a"], pair["b"])
    }
    found = {
        (pair["a"], pair["b"]): [pair[key] for key in said] for pair in beside(read_filed(board))
    }
    assert found == wanted
    assert {better for _, better, _, _ in found.values()} == {"maps", "b"}
    (page,) = render_boards(board)
    lines = page.read_text(encoding="utf-8").splitlines()
    margin = "by more than the margin than"
    assert f"- `maps`: better {margin} `a`; worse {margin} `b`." in lines
    assert not any(line.startswith("- `seer`: better") for line in lines)  # may know the scans


def test_a_board_of_systems_alone_says_what_the_scans_are(published):
    page = render_board("systems", [entries(published)[name] for name in OUTSIDE])
    assert "**Synthetic scans.**" in page
    assert "protocol kits19" in page
