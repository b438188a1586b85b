"""Verdicts, and the words that say them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from designs import FEW, designs
from hypothesis import given
from hypothesis import strategies as st
from score_tables import dice_table, long_table, plain

from kitsbench.statistics import Rule, compare

TOO_STRONG = ("outperform", "superior", "state of the art", "no difference")


@pytest.mark.parametrize(
    ("offset", "margin", "verdict", "words"),
    [
        (0.30, 0.02, "better_relevant", "arch1 scores higher than arch0 by 0.298 [0.28"),
        (0.30, 0.29, "better", "0.311]; whether it exceeds 0.29 is not settled"),
        (0.12, 0.50, "better_negligible", "below the margin 0.5 (negligible)"),
        (0.00, 0.50, "equivalent", "arch0 and arch1 are equivalent within ±0.5"),
        (0.00, 0.0001, "inconclusive", "this design could detect about"),
    ],
)
def test_verdicts_and_their_sentences(offset, margin, verdict, words):
    found = compare(dice_table(offsets=[0, offset], dataset="KiTS19"), margins=margin)
    pair = found.pairs[0]
    assert pair["verdict"] == verdict
    assert pair["better"] == ("arch1" if "better" in verdict else None)
    assert words in pair["sentence"]
    assert (
        "(scope L1: over cases and training seeds of KiTS19; 5 folds, 3 seeds; "
        in (pair["sentence"])
    )
    assert "Nadeau-Bengio p " in pair["sentence"]


@pytest.mark.parametrize(
    ("offset", "words"),
    [(0.35, "The trained model arch1 scored 0.3"), (0.00, "No verdict: arch0 minus arch1 is")],
)
@pytest.mark.parametrize(("folds", "seeds"), [(1, 1), (3, 1), (1, 2)])
def test_few_runs_say_nothing_about_architectures(offset, words, folds, seeds):
    data = dice_table(2, folds, 40, seeds, offsets=[0, offset])
    found = plain(compare(data, margins=0.5 if not offset else 0.02))
    pair = found["pairs"][0]
    assert words in pair["sentence"]
    assert pair["sentence"].endswith(
        "on these cases (scope L0); nothing can be said about the architectures."
    )
    assert (pair["verdict"], pair["better"], pair["p_adjusted"]) == ("inconclusive", None, None)
    for row in found["ranking"]:
        assert row["rank_low"] is row["rank_high"] is row["p_first"] is row["group"] is None
    assert found["rankings"]["bootstrap"] is None
    needed = {1: "train 3 seeds on the split", 3: "train 2 seeds on each fold"}[folds]
    assert needed in found["advice"]
    assert any(found["advice"] in text for text in found["warnings"])


@pytest.mark.parametrize(("folds", "seeds"), [(1, 3), (2, 2), (4, 1), (5, 2)])
def test_enough_runs_need_no_advice(folds, seeds):
    found = compare(dice_table(3, folds, 12, seeds))
    assert found.advice is None
    assert found.scope == "L1"


def test_a_test_of_models_that_was_asked_for_speaks_of_models():
    found = compare(
        dice_table(2, 1, 40, 1, offsets=[0, 0.35]), rule=Rule(test="permutation"), margins=0.02
    )
    sentence = found.pairs[0]["sentence"]
    assert "more than the margin 0.02" in sentence
    assert found.pairs[0]["better"] == "arch1"
    alike = compare(dice_table(2, 5, 40, 1), rule=Rule(test="permutation"), margins=0.5).pairs[0]
    assert "The trained models arch0 and arch1 are equivalent within ±0.5" in alike["sentence"]


def test_no_sentence_says_more_than_it_may():
    for seeds, offset in ((3, 0.2), (1, 0.2), (3, 0.0)):
        found = compare(dice_table(4, 5, 12, seeds, offsets=[0, 0, offset, 0.02]))
        for row in [*found.pairs, *found.secondary]:
            assert not any(word in row["sentence"].lower() for word in TOO_STRONG)


def rare_losses(loss):
    """Architecture 0 is a little better on 189 cases and far worse on the other 11."""
    rng = np.random.default_rng(0)
    gap = 0.05 + rng.normal(0, 0.002, 200)
    gap[:11] = -loss
    base = 0.5 + rng.uniform(-0.02, 0.02, 200)
    scores = np.clip(np.stack([base + gap / 2, base - gap / 2]), 0, 1)[..., None]
    return long_table(scores, np.arange(200) % 5)


def test_ranks_do_not_make_a_winner_of_who_has_the_lower_mean():
    pair = compare(rare_losses(0.97), rule=Rule(test="wilcoxon"), bootstrap=10).pairs[0]
    assert pair["p_value"] < 1e-6
    assert pair["difference"] < 0
    assert (pair["verdict"], pair["better"]) == ("inconclusive", None)
    assert "while the ranks of the cases point the other way (p < 0.001)" in pair["sentence"]


def test_a_gap_whose_interval_holds_zero_is_not_called_more_than_the_margin():
    pair = compare(rare_losses(0.8), rule=Rule(test="wilcoxon"), bootstrap=10).pairs[0]
    assert pair["ci_low"] < -0.02 < 0 < pair["difference"]
    assert pair["verdict"] == "better"
    assert "more than the margin" not in pair["sentence"]


def test_a_distance_is_better_when_smaller():
    data = dice_table(offsets=[0, 0.3]).assign(metric="hd95_mm")
    found = compare(data, "tumor:hd95_mm")
    pair = found.pairs[0]
    assert pair["difference"] < 0
    assert pair["better"] == "arch0"
    assert pair["win"] > pair["loss"]
    assert pair["rank_biserial"] > 0
    assert "arch0 scores lower than arch1 by" in pair["sentence"]
    assert pair["p_equivalence"] is None
    assert found.ranking[0]["architecture"] == "arch0"


def test_many_failures_leave_no_verdict():
    data = dice_table(3, offsets=[0, 0.3, 0]).assign(status="ok")
    hit = data.index[data["architecture"] == "arch1"][:30]
    data.loc[hit, ["status", "value"]] = ["timeout", 0.0]
    found = compare(data)
    verdicts = {(p["a"], p["b"]): p for p in found.pairs}
    for pair in (("arch0", "arch1"), ("arch1", "arch2")):
        assert verdicts[pair]["verdict"] == "inconclusive"
        assert verdicts[pair]["better"] is None
        assert (
            "No verdict, because of failed predictions (17 % of arch1)"
            in (verdicts[pair]["sentence"])
        )
    assert "No verdict" not in verdicts["arch0", "arch2"]["sentence"]


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("folds", [1, 2, 5])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_scores_are_inconclusive(value, folds, seeds):
    found = plain(compare(dice_table(3, folds, 6, seeds, value=value)))
    for pair in found["pairs"]:
        verdict = "inconclusive" if value else "not_learned"
        assert (pair["verdict"], pair["difference"], pair["better"]) == (verdict, 0, None)
        words = "scored the same on every case" if value else "has learned tumor dice"
        assert words in pair["sentence"]
    assert [row["rank"] for row in found["ranking"]] == [1, 1, 1]
    if found["scope"] == "L1":
        # Who comes first in learning nothing is no question.
        first = pytest.approx([1 / 3] * 3) if value else [None] * 3
        assert [row["p_first"] for row in found["ranking"]] == first
        # All ranks that the tie may have, not the first of them.
        assert {(row["rank_low"], row["rank_high"]) for row in found["ranking"]} == {(1, 3)}
    assert any("constant scores" in text for text in found["warnings"])


def test_a_constant_gap_is_a_difference():
    data = dice_table(2, 5, 8, 1)
    second = data["architecture"] == "arch1"
    data.loc[second, "value"] = data.loc[~second, "value"].to_numpy() + 0.1
    pair = plain(compare(data))["pairs"][0]
    assert (pair["verdict"], pair["better"]) == ("better_relevant", "arch1")
    assert pair["win"] == 0
    assert pair["loss"] == 40


@pytest.mark.parametrize(("ceiling", "warned"), [(0.01, True), (0.9, False)])
def test_equal_because_nobody_learned_is_said(ceiling, warned):
    scores = np.random.default_rng(0).uniform(0, ceiling, (2, 60, 2))
    found = compare(long_table(scores, np.arange(60) % 5)).to_dict()
    assert any("No architecture has learned" in text for text in found["warnings"]) == warned


@FEW
@given(designs(architectures=st.just(2)))
def test_a_second_architecture_equal_to_the_first_is_never_better(design):
    scores, fold = design
    table = long_table(np.stack([scores[0], scores[0]]), fold)
    found = compare(table, bootstrap=5)
    assert found.pairs[0]["difference"] == 0
    assert found.pairs[0]["better"] is None
    assert pd.Series([row["rank"] for row in found.ranking]).tolist() == [1, 1]
