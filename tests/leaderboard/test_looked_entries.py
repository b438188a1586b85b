"""Entries of runs that stopped by themselves: admitted by rule, and their looks taken again."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from reporting.workdirs import Plan, look_until_decided, trained_elsewhere, write_workdir

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.records import LooksRecord
from kitsbench.leaderboard import Entry, add_entries, check_boards
from kitsbench.leaderboard.markdown import render_board
from kitsbench.leaderboard.rules import FILE, read_rules

PLAN = Plan(
    {"unet3d": 0.0, "residual_unet": 0.001, "msan_v1": 0.2},
    folds=3,
    seeds=5,
    cases_per_fold=6,
    predictions=False,
    curve_points=5,
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = write_workdir(tmp_path_factory.mktemp("looked") / "work", PLAN)
    look_until_decided(folder, PLAN, futility=0.0)
    return folder


@pytest.fixture(scope="module")
def stop(workdir):
    """Seeds after which the best was told from the others."""
    (looks,) = workdir.glob("experiments/*/looks.json")
    taken = LooksRecord.read(looks).looks
    found = next(look.seeds for look in taken if "msan_v1" not in look.going)
    assert found < PLAN.seeds
    return found


@pytest.fixture
def board(workdir, tmp_path):
    add_entries(workdir, tmp_path / "board")
    return tmp_path / "board"


def change(board, name, update):
    """Change an entry and seal it again, as somebody would who knows how."""
    file = board / f"{name}.json"
    entry = update(Entry.read(file))
    entry = entry.model_copy(update={"seals": entry.sealed()})
    entry.write(file)


def messages(board):
    return [problem.message for problem in check_boards(board)[1]]


def looks_faults(board):
    return [text for text in messages(board) if "look" in text or "rank" in text]


def test_entries_have_their_looks_and_as_many_runs_as_those_let_them_have(board, stop):
    entries = {file.stem: Entry.read(file) for file in board.glob("*.json")}
    assert entries["msan_v1"].seeds == stop
    assert entries["unet3d"].seeds == entries["residual_unet"].seeds == 5
    for entry in entries.values():
        assert entry.looks.taken == (2, 3, 4, 5)
        assert entry.conditions["seeds"] == 5
        assert entry.rank.p_first is None
        assert len(entry.trials.runs) == 3 * entry.seeds
    assert entries["msan_v1"].ended_by_looks == f"ended by looks after {stop} of 5 seeds"
    assert entries["msan_v1"].rank.group == "a"
    assert entries["unet3d"].rank.group == entries["residual_unet"].rank.group == "b"
    assert looks_faults(board) == []
    page = render_board("looked", [*entries.values()])
    assert f"3 of 3 folds × {stop} to 5 seeds" in page
    assert f"(ended by looks after {stop} of 5 seeds)" in page


def test_a_board_says_how_few_seeds_are_enough(board, stop):
    rules = read_rules(board)
    assert rules.conditions.seeds == 5
    assert rules.allowed.least_seeds == stop


def test_a_board_that_demands_all_seeds_refuses_who_stopped_before(board, workdir, stop, tmp_path):
    text = (board / FILE).read_text().replace(f"least_seeds = {stop}", "least_seeds = 0")
    other = tmp_path / "strict"
    other.mkdir()
    (other / FILE).write_text(text)
    with pytest.raises(UsageError, match=f"looks ended its run after {stop} seeds, and "):
        add_entries(workdir, other)
    assert not [*other.glob("*.json")]
    (board / FILE).write_text(text)
    (told,) = [text for text in messages(board) if "looks ended its run" in text]
    assert "board.toml demands 5 (conditions.seeds)" in told


def test_looks_that_were_not_taken_are_found(board, stop):
    others = tuple(seeds for seeds in (2, 3, 4, 5) if seeds != stop)

    def later(entry):
        looks = entry.looks.model_copy(update={"taken": others})
        return entry.model_copy(update={"looks": looks})

    for name in ("msan_v1", "unet3d", "residual_unet"):
        change(board, name, later)
    assert any(f"'msan_v1' has {stop} seeds, and there was no look after them" in m
               for m in messages(board))  # fmt: skip


def test_an_easier_price_of_looks_is_found(board):
    """Who says that there was one look alone has other ranks than the tables give, or seeds."""

    def cheap(entry):
        until = entry.looks.until.model_copy(update={"looks": (5,)})
        looks = entry.looks.model_copy(update={"until": until, "taken": (5,)})
        return entry.model_copy(update={"looks": looks})

    change(board, "msan_v1", cheap)
    assert any("the key looks" in text for text in messages(board))


def test_what_no_run_would_have_declared_is_found(board):
    """Each of these words makes looks cost less, or alpha be shared by fewer."""

    def cheaper(entry):
        until = entry.looks.until.model_copy(update={"alpha": 0.2, "share": 0.0})
        own = {"until": until, "folds": 2, "over": False, "compared": ("msan_v1", "unet3d")}
        return entry.model_copy(update={"looks": entry.looks.model_copy(update=own)})

    for name in ("msan_v1", "unet3d", "residual_unet"):
        change(board, name, cheaper)
    told = " ".join(looks_faults(board))
    assert "the key looks.until.alpha is 0.2; a run of this design has 0.05" in told
    assert "the key looks.until.share is 0.0; a run of this design has 0.5" in told
    assert "the key looks.folds is 2; a run of this design has 3" in told
    assert "the key looks.compared lacks 'residual_unet', which shares alpha" in told
    assert "the key looks.over is False, and the last look left no pair open" in told


def test_looks_that_compared_with_who_was_trained_elsewhere_make_no_entries(tmp_path):
    plan = replace(PLAN, gaps={**PLAN.gaps, "ours": 0.05}, elsewhere={"ours": trained_elsewhere()})
    folder = write_workdir(tmp_path / "work", replace(plan, seeds=2))
    look_until_decided(folder, replace(plan, seeds=2))
    with pytest.raises(DataError, match="compared with ours, trained elsewhere"):
        add_entries(folder, tmp_path / "board")
    assert not (tmp_path / "board").exists()


def test_the_fixed_design_of_the_same_trials_enters_with_all_seeds(workdir, tmp_path):
    fixed = write_workdir(tmp_path / "work", PLAN)
    add_entries(fixed, tmp_path / "board")
    entries = [Entry.read(file) for file in (tmp_path / "board").glob("*.json")]
    assert {entry.seeds for entry in entries} == {5}
    assert {entry.looks for entry in entries} == {None}
    assert "least_seeds" not in (tmp_path / "board" / FILE).read_text()
    shutil.rmtree(tmp_path / "work")
