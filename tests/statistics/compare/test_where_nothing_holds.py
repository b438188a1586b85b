"""No number, no power and no place where a design or its data cannot bear them."""

from __future__ import annotations

import numpy as np
import pytest
from score_tables import dice_table, plain

from kitsbench.leaderboard.numbers import ranks_of
from kitsbench.statistics import compare


def lagging():
    """Three architectures of two seeds, of which the first has only one fold of five."""
    data = dice_table(3, 5, 12, 2, offsets=[0, 0, 0.3])
    return data[(data["architecture"] != "arch0") | (data["fold"] == 0)]


@pytest.mark.parametrize(("folds", "seeds"), [(1, 2), (3, 1)])
def test_a_design_without_a_verdict_promises_no_power(folds, seeds):
    found = plain(compare(dice_table(3, folds, 20, seeds)))
    assert found["smallest_detectable_gap"] is None
    assert "significance" not in found["rankings"]["schemes"]
    for pair in found["pairs"]:
        assert pair["smallest_detectable_gap"] is None
        assert "power" not in pair["sentence"]
        assert "Inconclusive" not in pair["sentence"]


def test_nobody_comes_first_in_learning_nothing():
    found = plain(compare(dice_table(3, 5, 12, 3).assign(value=0.0)))
    assert found["rankings"]["bootstrap"] is None
    assert {row["p_first"] for row in found["ranking"]} == {None}
    data = dice_table(3, 5, 12, 3)
    data.loc[data["architecture"] != "arch1", "value"] = 0.0
    assert [row["p_first"] for row in compare(data).ranking] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("cases", [1, 3])
def test_folds_are_redrawn_where_they_hold_too_few_cases_to_draw(cases):
    found = compare(dice_table(2, 5, cases, 3))
    assert found.rankings["bootstrap"]["drawn"] == "folds"
    assert max(row["p_first"] for row in found.ranking) < 1


def test_one_missing_run_does_not_change_what_is_redrawn():
    data = dice_table(2, 5, 12, 2)
    data = data[(data["architecture"] != "arch0") | (data["fold"] > 0) | (data["seed"] > 0)]
    found = compare(data)
    assert found.rankings["bootstrap"]["drawn"] == "cases and training runs"
    assert "5 folds, 1 to 2 seeds" in found.pairs[0]["sentence"]


def test_a_single_case_is_told_apart_from_too_few_runs():
    found = compare(dice_table(2, 1, 1, 5))
    assert found.advice == "For a verdict score more cases."
    note = " ".join(found.warnings)
    assert "too few cases to tell them from the luck of the draw" in note
    assert "luck of training" not in note


@pytest.mark.parametrize("hospitals", [1, 2])
def test_too_few_clusters_are_told_apart_from_too_few_runs(hospitals):
    data = dice_table(2, 5, 12, 3)
    number = data["case"].str[-5:].astype(int) % hospitals
    found = compare(data.assign(hospital="h" + number.astype(str)), cluster="hospital")
    assert "too few clusters of cases to tell them" in " ".join(found.warnings)
    assert "single case" not in found.pairs[0]["sentence"]
    assert {row["rank_low"] for row in found.ranking} == {None}


def test_a_board_gives_each_entry_its_own_scope():
    ranks = ranks_of(lagging().assign(protocol="kits23"), "tumor:dice", "kits23", 5)
    assert {name: rank.scope for name, rank in ranks.items()} == {
        "arch0": "L0", "arch1": "L1", "arch2": "L1",
    }  # fmt: skip
    assert (ranks["arch0"].group, ranks["arch0"].rank_low) == ("", None)
    assert ranks["arch2"].group == "a"


def test_the_training_set_label_speaks_of_the_same_mean_as_the_verdict():
    # One large fold decides the mean over cases; the small ones, all alike, point the other way.
    data = dice_table(2, 6, 60, 3, offsets=[0.0, 0.0])
    small = data["fold"] > 0
    data = data[~small | (data["case"].str[-5:].astype(int) % 60 < 3)].copy()
    rng = np.random.default_rng(0)
    noise = dict(
        zip(data["case"].unique(), rng.normal(0, 0.05, data["case"].nunique()), strict=True)
    )
    better = np.where(data["architecture"] == "arch1", np.where(data["fold"] == 0, 0.1, -0.1), 0.0)
    data["value"] = 0.5 + data["case"].map(noise) + better + rng.normal(0, 0.003, len(data))
    pair = compare(data).pairs[0]
    assert pair["better"] == "arch1"
    assert pair["robust_to_training_set"] is False
