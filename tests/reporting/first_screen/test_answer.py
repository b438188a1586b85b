"""The first paragraph: it must never say more than the statistics allow."""

from __future__ import annotations

import dataclasses
import re
import shutil

import pandas as pd
import pytest
from reporting.workdirs import Plan, write_workdir

from kitsbench.experiments.records import PENDING
from kitsbench.experiments.results import load_results
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.first_screen.answer import (
    details,
    headline,
    one_network,
    scope,
)
from kitsbench.reporting.first_screen.leading import leaders
from kitsbench.reporting.first_screen.screen import first_screen


def answer(analysis):
    """All that the first screen says, and the sentences below it."""
    first = first_screen(analysis)
    return " ".join([first.headline, *first.remarks, *map(str, first.steps), *details(analysis)])


def _analysis(tmp_path, **plan):
    workdir = write_workdir(tmp_path, Plan(showcase=0, predictions=False, **plan))
    return analyse(load_results(workdir))


def _answer(tmp_path, **plan):
    return answer(_analysis(tmp_path, **plan))


def test_architectures_that_are_not_separated_lead_together(analysis):
    text = answer(analysis)
    assert "lead and cannot be told apart" in text
    assert len(leaders(analysis)) == 2


def test_who_is_worse_than_the_second_does_not_lead_with_the_first(tmp_path):
    """The first scatters from case to case, the others do not: only they are told apart."""
    workdir = write_workdir(
        tmp_path, Plan(dict.fromkeys(("first", "second", "third", "last"), 0.0), cases_per_fold=8,
                       showcase=0, predictions=False)
    )  # fmt: skip
    results = load_results(workdir)
    scores = results.scores.copy()
    own = scores["metric"] == "dice"
    case = pd.factorize(scores["case"])[0]
    base = 0.6 + 0.01 * (case % 7) + 0.002 * scores["seed"]
    scatter = 0.3 * (-1.0) ** case
    value = {
        "first": base + 0.01 + scatter,
        "second": base,
        "third": base - 0.05,
        "last": 0.2 * base,
    }
    for name, new in value.items():
        mine = own & (scores["architecture"] == name)
        scores.loc[mine, "value"] = new[mine]
    analysis = analyse(dataclasses.replace(results, scores=scores))
    assert leaders(analysis) == ["first", "second", "third"]
    text = headline(analysis)
    assert "first (mean tumour Dice 0.6" in text
    assert "and second lead and cannot be told apart; third was found worse than others" in text
    assert text.endswith("though not told apart from first.")


def test_one_with_many_failures_does_not_lead(analysis):
    # its group holds every letter, because nothing is said about it
    assert set(analysis.ranking[-1]["group"]) > set(analysis.ranking[0]["group"])
    assert "late" not in leaders(analysis)
    assert "have no verdict because predictions failed" in answer(analysis)


def test_a_clear_winner_is_named_with_scope_and_gap(tmp_path):
    text = _answer(tmp_path, gaps={"good": 0.15, "bad": -0.15}, cases_per_fold=6)
    assert "good scores highest" in text
    assert "separate it from every other" in text
    assert "comes first in 100 % of the draws" in text
    assert "scope L1" in text
    assert re.search(r"gaps of about 0\.0\d\d Dice or more between good and any other", text)


def test_one_training_run_each_speaks_of_trained_models(tmp_path):
    text = _answer(tmp_path, gaps={"good": 0.15, "bad": -0.15}, folds=1, seeds=1)
    assert "good scores highest (mean tumour Dice 0.8" in text
    assert "no winner can be named: with one run of training for each architecture" in text
    assert "nothing can be said about the architectures" in text
    assert "kitsbench run --all --seeds 3" in text
    assert "gaps of about" not in text
    for word in ("outperform", "superior", "state of the art", "separate it"):
        assert word not in text


def test_while_a_run_goes_on_it_counts_the_runs_that_are_there(tmp_path):
    plan = Plan({"good": 0.15, "bad": -0.15}, folds=1, seeds=3, predictions=False, showcase=0)
    workdir = write_workdir(tmp_path, plan)
    for trial in load_results(workdir).trials:
        if trial.name == "bad" and trial.seed:
            shutil.rmtree(trial.folder.path)
    analysis = analyse(load_results(workdir))
    assert analysis.runs == (1, 3)
    text = answer(analysis)
    assert "with one run of training for some architectures this may be luck" in text
    assert "3 runs of training" not in text


def test_pairs_without_a_verdict_do_not_take_it_from_the_others(analysis):
    first, *rest = analysis.pairs
    pairs = [{**first, "scope": "L0", "verdict": "inconclusive", "better": None}, *rest]
    comparison = {**analysis.comparison, "scope": "L0", "pairs": pairs, "advice": "Train 3 seeds."}
    text = scope(dataclasses.replace(analysis, comparison=comparison))
    assert f"for {len(rest)} of {len(pairs)} pairs to the architectures (scope L1)" in text
    assert text.endswith("Train 3 seeds.")
    assert "nothing can be said about the architectures" not in text


def test_nobody_comes_first_where_nobody_learned(tmp_path):
    text = _answer(tmp_path, gaps={"a": -2.0, "b": -2.0}, cases_per_fold=6)
    assert "no architecture learned to find the region" in text
    assert "draws" not in text


def test_equal_architectures_have_no_winner(tmp_path):
    text = _answer(tmp_path, gaps={"a": 0.0, "b": 0.0, "c": 0.0})
    assert "no winner can be named" in text
    assert "draws" not in text


def test_unfinished_trials_make_it_preliminary(analysis):
    running = PENDING.model_copy(update={"status": "running"})
    trials = [dataclasses.replace(trial, status=running) for trial in analysis.results.trials]
    results = dataclasses.replace(analysis.results, trials=trials)
    text = answer(dataclasses.replace(analysis, results=results))
    assert "24 of 24 trials are not finished: this report is preliminary" in text


@pytest.mark.parametrize("synthetic", [True, False])
def test_only_synthetic_scans_are_called_synthetic(tmp_path, synthetic):
    text = _answer(tmp_path, gaps={"a": 0.0, "b": 0.0}, folds=1, synthetic=synthetic)
    assert ("synthetic" in text) is synthetic


def test_it_says_how_many_learned_anything(tmp_path):
    text = _answer(tmp_path, gaps={"a": 0.1, "b": -2.0, "c": -2.0}, cases_per_fold=6)
    assert "a scores highest" in text
    assert "1 of 3 entrants has learned to find the tumour" in text
    assert "no better than an empty prediction: b and c" in text
    assert "equivalent" not in text


@pytest.mark.parametrize("seeds", [1, 3])
def test_alone_to_learn_it_is_no_more_than_that(tmp_path, seeds):
    analysis = _analysis(tmp_path, gaps={"a": 0.1, "b": -2.0}, folds=1, seeds=seeds)
    assert analysis.scope == ("L0" if seeds == 1 else "L1")
    assert "a scores highest" in headline(analysis)
    assert ("no winner can be named" in headline(analysis)) is (seeds == 1)
    assert ("is the only one to learn it at all" in headline(analysis)) is (seeds > 1)
    assert "statistics separate it" not in headline(analysis)


def test_a_region_that_nobody_finds_has_no_winner(tmp_path):
    text = _answer(tmp_path, gaps={"a": -2.0, "b": -2.0}, folds=1)
    assert "no architecture learned to find the region" in text
    assert "scores highest" not in text


def test_the_interval_of_a_single_architecture_ends_where_the_metric_does(tmp_path):
    text = _answer(tmp_path, gaps={"alone": 0.2}, folds=1, seeds=1, cases_per_fold=2)
    assert "alone reaches a mean tumour Dice of" in text
    low, high = map(float, re.search(r"\[(.*?), (.*?)\]", text).groups())
    assert 0 < low < high == 1


def test_entrants_that_are_one_network_are_named_once(analysis):
    assert one_network(analysis) == ""
    results = analysis.results
    first, second = analysis.scored[:2]
    scores = results.scores
    twin = scores[scores["architecture"] == first].assign(architecture=second)
    scores = pd.concat([scores[scores["architecture"] != second], twin])
    same = dataclasses.replace(analysis, results=dataclasses.replace(results, scores=scores))
    text = one_network(same)
    assert text.startswith(f"{first} and {second} have equal scores in every case, as one")
    assert text in first_screen(same).remarks
    # Only some of their runs: chance, or a copied file, which another sentence tells of.
    some = scores["architecture"].eq(second) & scores["fold"].eq(0)
    scores = scores.assign(value=scores["value"].where(~some, scores["value"] * 0.9))
    other = dataclasses.replace(analysis, results=dataclasses.replace(results, scores=scores))
    assert one_network(other) == ""
