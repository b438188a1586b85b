"""The page of experiments: its sentences are those that the designs and the verdicts allow."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench
from pages import blocks

from kitsbench.leaderboard.board import read_board
from kitsbench.statistics.calibration.simulation import simulate

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FOLDS, CASES, SEEDS = 5, 20, 2


@pytest.fixture(scope="module")
def findings():
    sys.path.insert(0, str(DOCS))
    try:
        import findings

        yield findings
    finally:
        sys.path.remove(str(DOCS))


def simulated(means, seed=0, folds=FOLDS):
    """Scores of entrants with these true means, as a board has them."""
    rng = np.random.default_rng(seed)
    drawn = simulate(rng, 1, len(means), folds, CASES, SEEDS, tau=0.005)[0]
    wanted = np.array([*means.values()])[:, None, None, None]
    drawn = wanted + 0.3 * (drawn - drawn.mean())
    names = list(means)
    rows = [
        (names[a], fold, run, f"case{fold}_{case}", float(np.clip(drawn[a, fold, case, run], 0, 1)))
        for a, fold, case, run in np.ndindex(drawn.shape)
    ]
    table = pd.DataFrame(rows, columns=["architecture", "fold", "seed", "case", "value"])
    constant = {"dataset": "made", "protocol": "kits19", "region": "tumor", "metric": "dice"}
    return table.assign(**constant, status="ok")


@pytest.fixture(scope="module")
def like():
    """An entry of the repository whose design is that of the simulated scores."""
    one = next(e for e in read_board(ROOT / "leaderboards" / "phantom") if e.name == "unet3d")
    folds = one.folds.model_copy(update={"count": FOLDS, "used": tuple(range(FOLDS))})
    return one.model_copy(update={"folds": folds})


@pytest.fixture(scope="module")
def board_of(findings, like):
    def make(means, **chosen):
        table = simulated(means, **chosen)
        return findings.Board.of([like], [table])

    return make


SOUND = {"unet3d": 0.4, "unet3d_again": 0.4, "unet3d_tenth": 0.1, "scau_unet": 0.3}


def test_planted_controls_that_come_out_are_told_first(findings, board_of):
    board = board_of({**SOUND, "scau_unet:attention=off": 0.3})
    text = findings.first(board)
    assert text.startswith("**Both planted controls of experiment A came out as planted**")
    assert findings.pair_sentence(board.pair("unet3d", "unet3d_again")) in text


def test_a_part_of_a_network_is_told_by_its_pair_alone(findings, board_of):
    """Alone the pair is found equivalent, among many it is open: the design asks for the first."""
    others = {f"net{i}": 0.2 for i in range(12)}
    board = board_of({**SOUND, **others, "scau_unet:attention=off": 0.3})
    names = ["scau_unet", "scau_unet:attention=off"]
    table = board.table[board.table["architecture"].isin(names)]
    (alone,) = findings.compared(table, "tumor:dice", board.entries[0])["pairs"]
    (line,) = [one for one in findings.first(board).splitlines() if "attention=off minus" in one
               or "minus scau_unet:attention=off" in one or "scau_unet:attention=off are" in one
               or "scau_unet:attention=off lie" in one]  # fmt: skip
    assert findings.pair_sentence(alone) in line
    assert line.endswith(f"Among all pairs: {findings.words.verdict_name(board.pair(*names))}.")


@pytest.mark.parametrize("wrong", [{"unet3d_again": 0.25}, {"unet3d_tenth": 0.4}])
def test_a_control_that_comes_out_wrong_is_the_first_sentence(findings, board_of, wrong):
    board = board_of({**SOUND, **wrong})
    assert findings.first(board).startswith("**The planted controls did not come out as they must.")


def test_controls_whose_predictions_failed_prove_nothing(findings, board_of):
    board = board_of(SOUND)
    table = board.table.copy()
    lost = (table["architecture"] == "unet3d_again") & (table["fold"] == 0)
    table.loc[lost, ["value", "status"]] = [0.0, "failed"]
    failed = findings.Board.of(board.entries, [table])
    assert findings.controls(failed).startswith("**The planted controls allow no verdict.")


def test_who_has_learned_is_counted_by_the_rule_of_the_design(findings, board_of):
    board = board_of({**SOUND, "weak": 0.02})
    text = findings.first(board)
    learned = sum(m >= 0.10 and m > board.means["unet3d_tenth"] for m in board.means.values())
    assert f"**Learned**: {learned} of 5" in text
    assert "`weak`" in text.split("**Learned**")[1].split("\n")[0]
    assert "0.217, and 3 reach that" in text
    assert "compares beginnings" in text


def test_an_experiment_without_its_controls_is_told_nothing_of(findings, board_of):
    with pytest.raises(ValueError, match="planted controls have no entries"):
        findings.first(board_of({"unet3d": 0.4, "scau_unet": 0.3}))


def test_two_recipes_with_one_order_agree_and_with_reversed_ones_do_not(findings, board_of):
    later = findings.later
    means = {f"net{i}": 0.2 + 0.08 * i for i in range(6)}
    a, same = board_of(means), board_of({**means, "more": 0.3}, seed=1, folds=2)
    text = later.recipes(a, same)
    assert "tells something of the order" in text
    assert "for 6 entrants on the same 40 cases" in text
    assert "Only on the board of B, and not in τ: `more`." in text
    assert "- Between the two seeds of A τ is 1.00, and between the two folds of B" in text
    reverse = board_of(dict(zip(means, reversed(means.values()), strict=True)), seed=1, folds=2)
    assert "oppose each other" in later.recipes(a, reverse)
    alike = board_of(dict.fromkeys(means, 0.4), seed=2, folds=2)
    assert "is not shown" in later.recipes(a, alike)


def test_who_learns_nothing_by_its_own_recipe_is_told(findings, board_of):
    recipes, means = findings.later.recipes, {"w": 0.05, "x": 0.3, "y": 0.4, "z": 0.5}
    text = recipes(board_of(means), board_of({**means, "x": -1.0, "y": -1.0}, seed=1, folds=2))
    assert "reached by 1 of 4 by the papers' recipes, and by 3 by `matched`" in text
    assert "2 of the 4 on B's board are not told from an empty prediction: `x`, `y`." in text
    assert "- For the 3 that reach it by `matched` τ is" in text
    whole = recipes(board_of(means), board_of(means, seed=1, folds=2))
    assert "empty prediction" not in whole


def test_a_correlation_of_what_is_not_shared_is_refused(findings, board_of):
    a, recipes = board_of({"x": 0.3, "y": 0.4, "z": 0.5}), findings.later.recipes
    other = replace(a, table=a.table.assign(case=a.table["case"] + "b"))
    with pytest.raises(ValueError, match="other cases"):
        recipes(a, other)
    lacks = a.table[(a.table["architecture"] != "x") | (a.table["fold"] != 1)]
    with pytest.raises(ValueError, match="no scores of a fold"):
        recipes(a, replace(a, table=lacks))
    with pytest.raises(ValueError, match="three or more"):
        recipes(a, board_of({"x": 0.3, "new": 0.4}))


def test_budgets_tell_a_turned_order_and_who_rises(findings, board_of):
    at_budgets = findings.later.at_budgets
    rise = {"x": 0.2, "y": 0.3}
    boards = {
        500: board_of(rise),
        2000: board_of({"x": 0.35, "y": 0.45}),
        8000: board_of({"x": 0.65, "y": 0.55}),
    }
    text = at_budgets(boards)
    assert "**The order changes with the budget**" in text
    assert "from each to the next for 2 of 2: " in text
    assert all(f"`{name}`" in text for name in rise)
    flat = {500: board_of(rise), 2000: board_of(rise, seed=1), 8000: board_of(rise, seed=2)}
    text = at_budgets(flat)
    assert "has not been seen" in text
    assert "what turns by less goes unseen" in text
    assert "for 0 of 2; not separated at one step or more: `x`, `y`." in text


def test_scores_that_fall_are_told_as_that(findings, board_of):
    falling = {
        500: board_of({"x": 0.6, "y": 0.2}),
        2000: board_of({"x": 0.4, "y": 0.3}),
        8000: board_of({"x": 0.6, "y": 0.5}),
    }
    text = findings.later.at_budgets(falling)
    assert "for 1 of 2: `y`; found lower after more steps: `x`." in text
    assert "which the design did not ask, 1 of 2 are found higher: `y`." in text


def test_a_budget_at_which_predictions_failed_has_no_verdict(findings, board_of):
    boards = {s: board_of({"x": 0.2, "y": 0.3}, seed=s) for s in (500, 2000, 8000)}
    table = boards[500].table.copy()
    lost = (table["architecture"] == "x") & (table["fold"] == 0)
    table.loc[lost, ["value", "status"]] = [0.0, "failed"]
    boards[500] = replace(boards[500], table=table)
    text = findings.later.at_budgets(boards)
    assert "Without a verdict:\n\n- 500 steps: No verdict" in text


def test_an_interval_that_holds_zero_has_no_sign(findings):
    pair = {"a": "x", "b": "y", "difference": 0.01, "better": None, "verdict": "inconclusive",
            "ci_simultaneous_low": -0.02, "ci_simultaneous_high": 0.04}  # fmt: skip
    difference = findings.later.difference
    assert difference(pair, "x") == "[-0.020, +0.040]"
    assert difference(pair, "y") == "[-0.040, +0.020]"
    apart = {**pair, "better": "x", "verdict": "not_learned", "ci_simultaneous_low": 0.0}
    assert difference(apart, "y") == "**-0.010 [-0.040, 0.000]** ×"
    assert difference({**pair, "ci_simultaneous_low": None}, "x") == "no interval"


def test_cysts_count_over_the_scans_that_have_one(findings, board_of):
    board = board_of({"x": 0.5, "y": 0.3})
    masses = board.table
    cyst = masses.assign(protocol="labels", region="cyst")
    with_cyst = cyst["case"].str.endswith("0")
    finds = cyst["architecture"] == "x"
    cyst["value"] = np.where(with_cyst, np.where(finds, 0.5, 0.0), 1.0)
    cyst["status"] = np.where(with_cyst, np.where(finds, "ok", "empty_prediction"), "both_empty")
    whole = replace(board, table=pd.concat([masses, cyst], ignore_index=True))
    text = findings.later.cysts(whole)
    scans = with_cyst.groupby(cyst["case"]).any().sum()
    assert "1 of 2 entrants tell cysts from tumours" in text
    assert f"over the {scans} scans that have one: `x`." in text
    without = FOLDS * CASES - scans
    rest = f"0 of {2 * without} |"
    assert f"| 0.500 [0.500, 0.500] | {2 * scans} of {2 * scans} | {rest} {scans} |" in text
    assert f"| 0.000 | 0 of {2 * scans} | {rest} 0 |" in text
    assert "Undecided" not in text
    # A failed trial has missed its cysts, and tells of no scan whether it has one.
    lost = finds & (cyst["fold"] == 0) & (cyst["seed"] == 0)
    cyst.loc[lost, ["value", "status"]] = [0.0, "failed"]
    text = findings.later.cysts(replace(board, table=pd.concat([masses, cyst], ignore_index=True)))
    assert f"over the {scans} scans that have one: `x`." in text
    assert "| 0.450 [" in text


def test_every_part_of_the_page_is_there_and_those_of_unfinished_experiments_say_so(findings):
    for name, text in findings.parts().items():
        assert name.startswith("experiment_")
        assert text
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    assert all(f"_generated/{name}.md" in page for name in findings.parts())
    assert page.split("\n\n")[1].startswith("**Synthetic")


def commands():
    """The ``console`` commands of ``docs/experiments.md``, by their verbs."""
    (block,) = [b for b in blocks(DOCS / "experiments.md") if b.language == "console"]
    return {line.split()[1]: line.split()[1:] for line in block.commands}


@pytest.mark.exhaustive
def test_the_claims_of_the_page_are_those_that_its_command_prints(findings, monkeypatch):
    monkeypatch.chdir(ROOT)
    rows = call_kitsbench(*commands()["claims"], "--json").json
    page = findings.claims(findings.read(findings.A), None)
    assert len(rows) == page.count("\n| CL-")
    for row in rows:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {row['id']} ")]
        assert f"**{row['verdict']}**" in line
        assert all(findings.markdown(step["sentence"]) in line for step in row["steps"])


@pytest.mark.exhaustive
def test_an_experiment_is_reported_from_what_is_committed(findings, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    words = commands()["report"]
    assert words[-2] == "--out"
    done = call_kitsbench(*words[:-1], tmp_path / "report")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "report" / "scores.csv")
    region = (table["protocol"] == "kits19") & (table["region"] == "tumor")
    means = table[region & (table["metric"] == "dice")].groupby("architecture")["value"].mean()
    for entry in read_board(ROOT / "leaderboards" / findings.A):
        assert means[entry.name] == pytest.approx(entry.score("tumor:dice").mean)
    assert commands()["leaderboard"] == ["leaderboard", "check", "leaderboards"]  # run elsewhere
