"""Verdicts by looks: the same by both doors, and in whichever order a pair is asked about."""

from __future__ import annotations

import numpy as np
import pytest
from score_tables import long_table

from kitsbench.statistics import LookPlan, compare, compare_at_look
from kitsbench.statistics.calibration.simulation import simulate
from kitsbench.statistics.looks.respected import respecting

STATED = (
    "verdict", "better", "p_adjusted", "p_equivalence", "p_exceeds_margin",
    "ci_simultaneous_low", "ci_simultaneous_high",
)  # fmt: skip


@pytest.fixture(scope="module")
def scores():
    """Three architectures on five folds; the last but one is ahead."""
    drawn = simulate(np.random.default_rng(1), 1, 3, 5, 20, 3, 0.005)[0]
    shown = drawn.reshape(3, 100, 3) * 0.6 + 0.1 + np.reshape([0.0, 0.12, 0.004], (-1, 1, 1))
    return long_table(shown, np.repeat(np.arange(5), 20), names=["a", "b", "c"])


def by_both_doors(scores, plan):
    """Comparisons at looks after 1, 2 and 3 rounds: taken at once, and made to respect them."""
    looks = []
    for number in (1, 2, 3):
        seen = scores[scores["seed"] < number]
        taken, look = compare_at_look(seen, plan, looks, number=number, bootstrap=20)
        looks.append(look)
        fixed = compare(seen, plan.endpoint, margins={plan.endpoint: plan.margin}, bootstrap=20)
        yield taken, respecting(fixed, [plan], [looks])


@pytest.mark.parametrize(
    "plan", [LookPlan(3, margin=0.02), LookPlan(3, "baseline", baseline="b", margin=0.02)]
)
def test_a_comparison_says_the_same_of_a_look_whichever_way_it_is_asked(scores, plan):
    for taken, respected in by_both_doors(scores, plan):
        own = {frozenset((row["a"], row["b"])): row for row in taken.pairs}
        assert len(respected.pairs) == len(own)
        for row in respected.pairs:
            same = own[frozenset((row["a"], row["b"]))]
            if row["a"] != same["a"]:
                same = {
                    **same,
                    "ci_simultaneous_low": _less(same["ci_simultaneous_high"]),
                    "ci_simultaneous_high": _less(same["ci_simultaneous_low"]),
                }
            assert {key: row[key] for key in STATED} == {key: same[key] for key in STATED}
    assert {row["verdict"] for row in respected.pairs} >= {"better_relevant"}


def test_wins_and_collapsed_runs_are_told_by_the_looks_alone_at_both_doors(scores):
    fallen = scores.copy()
    run = (fallen["architecture"] == "b") & (fallen["fold"] == 4) & (fallen["seed"] == 2)
    fallen.loc[run, "value"] *= 0.05
    for taken, respected in by_both_doors(fallen, LookPlan(3, margin=0.02)):
        assert respected.rankings["schemes"] == taken.rankings["schemes"]
        assert respected.collapsed == taken.collapsed
    assert "significance" in respected.rankings["schemes"]
    told = respected.collapsed["sentence"]
    assert told.startswith("1 run collapsed: b, fold 4, seed 2 (")
    assert told.endswith("They count, and what the looks decided stays as it is.")
    assert told in respected.warnings
    assert respected.collapsed["pairs"] == []


def _less(value):
    return None if value is None else -value


def test_a_pair_the_other_way_round_has_all_its_figures_turned(scores):
    two = scores[scores["architecture"] != "c"].reset_index(drop=True)
    plans = [LookPlan(3, "pair", pair=pair, margin=0.02) for pair in (("a", "b"), ("b", "a"))]
    (one,), (other,) = ([*by_both_doors(two, plan)][-1][1].pairs for plan in plans)
    assert (one["a"], one["b"]) == (other["a"], other["b"]) == ("a", "b")
    assert one["look"]["estimate"] < 0
    assert one["look"]["estimate"] == pytest.approx(other["look"]["estimate"])
    for key in ("unbiased", "ordered_low", "ordered_high"):
        assert one["look"][key] == pytest.approx(other["look"][key], abs=1e-6)
    assert one["sentence"] == other["sentence"]
    assert one["look"]["ordered_low"] < one["look"]["unbiased"] < one["look"]["ordered_high"]


def test_a_look_that_can_settle_nothing_has_no_interval(scores):
    first, _ = next(by_both_doors(scores, LookPlan(3, margin=0.02)))
    respected = next(by_both_doors(scores, LookPlan(3, margin=0.02)))[1]
    for row in (*first.pairs, *respected.pairs):
        assert "inf]" not in row["sentence"]
        assert row["ci_simultaneous_low"] is None
