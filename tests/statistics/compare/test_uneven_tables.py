"""Comparisons of tables with failures, gaps, empty truths, and next to nothing in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from score_tables import dice_table, plain

from kitsbench.errors import DataError
from kitsbench.metrics import declare
from kitsbench.statistics import Rule, compare, summarise


def test_unequal_seeds_use_what_there_is():
    data = dice_table(2, 5, 12, 3)
    fewer = data[(data["architecture"] != "arch0") | (data["seed"] < 2) | (data["fold"] > 0)]
    found = compare(fewer)
    assert found.test == "two-way case x run t"
    assert found.pairs[0]["n_seeds"] == 2
    assert any("1 of 15 trials of arch0 is missing (fold 0, seed 2);" in w for w in found.warnings)
    lost = data[(data["architecture"] == "arch0") & (data["fold"] == 0) & (data["seed"] == 2)]
    values = data.drop(lost.index).groupby(["architecture", "case"])["value"].mean()
    means = values.groupby("architecture").mean()
    assert found.pairs[0]["difference"] == pytest.approx(means["arch0"] - means["arch1"])


def test_a_missing_fold_is_missing_for_its_own_pairs_only():
    data = dice_table(3)
    data = data[(data["architecture"] != "arch2") | (data["fold"] < 4)]
    found = compare(data)
    folds = {(pair["a"], pair["b"]): pair["n_folds"] for pair in found.pairs}
    assert folds == {("arch0", "arch1"): 5, ("arch0", "arch2"): 4, ("arch1", "arch2"): 4}
    alone = compare(dice_table(3).query("architecture != 'arch2'")).pairs[0]
    assert found.pairs[0]["difference"] == pytest.approx(alone["difference"])
    notes = " ".join(found.warnings)
    assert "arch2 lacks folds" in notes
    assert "the ranking is on the folds 0, 1, 2, 3 that all share, of 0, 1, 2, 3, 4" in notes
    apart = dice_table(2, 4)
    apart = apart[(apart["architecture"] == "arch0") == (apart["fold"] < 2)]
    with pytest.raises(DataError, match=r"No fold was scored by all.*arch0: \[0, 1\]"):
        compare(apart)


def test_two_that_lag_behind_do_not_take_every_fold_from_the_others():
    data = dice_table(4)
    late = {"arch2": 0, "arch3": 1}
    lagging = data["architecture"].map(late)
    found = compare(data[lagging.isna() | (lagging == data["fold"])])
    alone = compare(data[lagging.isna()])
    assert [(pair["a"], pair["b"]) for pair in found.pairs] == [("arch0", "arch1")]
    assert found.pairs[0]["p_value"] == alone.pairs[0]["p_value"]
    assert {row["architecture"] for row in found.ranking} == {"arch0", "arch1"}
    notes = " ".join(found.warnings)
    assert "arch2 and arch3 are left out, so that the others share folds 0, 1, 2, 3 and 4" in notes
    assert "arch2 has fold 0; arch3 has fold 1" in notes


def test_the_baseline_is_not_left_out_for_want_of_folds():
    data = dice_table(4)
    late = {"arch2": 0, "arch3": 1}
    lagging = data["architecture"].map(late)
    found = compare(data[lagging.isna() | (lagging == data["fold"])], rule=Rule(baseline="arch2"))
    assert {(pair["a"], pair["b"]) for pair in found.pairs} == {
        ("arch0", "arch2"),
        ("arch1", "arch2"),
    }
    assert any(note.startswith("arch3 is left out") for note in found.warnings)


def test_a_missing_prediction_is_an_error():
    data = dice_table()
    with pytest.raises(DataError, match="arch0, fold 0, seed 1 has no row for case case_00002"):
        compare(data.drop(index=7))


def test_failed_predictions_count_as_zero():
    data = dice_table(2, 5, 20, 2).assign(status="ok")
    hit = data.index[(data["architecture"] == "arch1") & (data["seed"] == 0)][:6]
    data.loc[hit, "status"] = "failed"
    data.loc[hit, "value"] = np.nan
    found = compare(data)
    expected = data.fillna({"value": 0}).groupby("architecture")["value"].mean()
    means = {row["architecture"]: row["mean"] for row in found.ranking}
    assert means == pytest.approx(expected.to_dict())
    assert any("3.0 % of the predictions of arch1 failed" in w for w in found.warnings)
    assert found.sensitivity["n_cases"] == 94
    listwise = {row["architecture"]: row["mean"] for row in found.sensitivity["means"]}
    kept = data[~data["case"].isin(data.loc[hit, "case"])]
    assert listwise == pytest.approx(kept.groupby("architecture")["value"].mean().to_dict())


def test_a_failed_distance_is_never_the_best():
    data = dice_table(metric="hd95_mm").assign(status="ok")
    data["value"] += 5
    data.loc[0, ["value", "status"]] = [np.nan, "failed"]
    data.loc[1, ["value", "status"]] = [300.0, "empty_prediction"]
    found = compare(data, "tumor:hd95_mm")
    assert found.ranking[-1]["architecture"] == "arch0"
    assert any("1 failed row without a penalty" in text for text in found.warnings)
    summary = summarise(data).set_index("architecture")
    assert summary.loc["arch0", "mean"] == pytest.approx(found.ranking[-1]["mean"])


def test_a_mean_of_an_unknown_metric_never_leaves_failures_out():
    known, unknown = (dice_table(metric=name).assign(status="ok") for name in ("dice", "ece"))
    whole = unknown.assign(region="kidney")
    for table in (known, unknown):
        table.loc[0, ["value", "status"]] = [np.nan, "failed"]
    data = pd.concat([known, unknown, whole])
    shown = summarise(data)[["region", "metric"]].drop_duplicates()
    assert shown.to_numpy().tolist() == [["tumor", "dice"], ["kidney", "ece"]]
    summary = summarise(data, declared={"ece": declare("ece", "lower", 0, 1)})
    keys = ["region", "metric", "architecture"]
    found = summary.set_index(keys).loc[("tumor", "ece", "arch0"), "mean"]
    failed = unknown["architecture"] == "arch0"
    assert found == pytest.approx(unknown.loc[failed, "value"].fillna(1).mean())


def test_volume_errors_do_not_cancel():
    data = dice_table(seeds=2).assign(metric="volume_error_ml", value=0.0)
    wrong = data["architecture"] == "arch0"
    data.loc[wrong, "value"] = np.where(np.arange(wrong.sum()) % 2, 10.0, -10.0)
    found = compare(data, "tumor:volume_error_ml")
    assert found.ranking[0]["architecture"] == "arch1"
    assert found.ranking[1]["mean"] == 10


def test_cysts_are_judged_where_there_are_cysts():
    data = dice_table(region="cyst", seeds=2).assign(status="ok")
    empty = data["case"] < "case_00030"
    data.loc[empty, "status"] = "both_empty"
    data.loc[empty, "value"] = 1.0
    found = compare(data, "cyst:dice")
    assert found.pairs[0]["n_cases"] == 30
    assert max(row["mean"] for row in found.ranking) < 0.7
    assert compare(data.assign(region="mass"), "mass:dice").pairs[0]["n_cases"] == 60
    with pytest.raises(DataError, match="No case of the table holds the region cyst"):
        compare(data.assign(status="both_empty", value=1.0), "cyst:dice")


def test_contradicting_ground_truths_are_an_error():
    data = dice_table().assign(status="ok")
    data.loc[0, ["value", "status"]] = [1.0, "both_empty"]
    with pytest.raises(DataError, match=r"Case case_00000, region tumor.*one ground truth"):
        compare(data)


def test_a_secondary_endpoint_with_gaps_is_left_out_and_said():
    data = pd.concat([dice_table(2), dice_table(2, metric="recall")[:-1]])
    found = compare(data)
    assert found.secondary == []
    assert any("Secondary endpoint left out. tumor:recall" in text for text in found.warnings)


def test_one_case():
    found = compare(dice_table(2, 1, 1, 2))
    pair = plain(found)["pairs"][0]
    assert (pair["verdict"], pair["p_value"], pair["se"]) == ("inconclusive", None, None)
    assert "a single case allows no test" in pair["sentence"]


@pytest.mark.parametrize(("alpha", "gap"), [(0.05, True), (1e-8, True), (1e-17, False)])
def test_two_cases_at_any_level(alpha, gap):
    found = plain(compare(dice_table(2, 1, 2, 3), rule=Rule(alpha=alpha)))
    assert found["pairs"][0]["verdict"] == "inconclusive"
    assert (found["smallest_detectable_gap"] is not None) == gap


def test_a_level_above_the_power_detects_nothing_worth_saying():
    found = plain(compare(dice_table(2), rule=Rule(alpha=0.9)))
    assert found["smallest_detectable_gap"] is None
    assert "could detect" not in found["pairs"][0]["sentence"]


def test_one_case_per_fold():
    assert compare(dice_table(2, 5, 1, 3)).test == "fold t"
    assert compare(dice_table(2, 3, 1, 3)).test == "paired t over cases"


def test_one_architecture():
    found = plain(compare(dice_table(1)))
    assert found["pairs"] == []
    assert [row["rank"] for row in found["ranking"]] == [1]
    assert found["smallest_detectable_gap"] is found["scope"] is found["test"] is None
    assert any("one architecture only" in text for text in found["warnings"])


def test_who_is_left_out_is_left_out_everywhere():
    """As if somebody had taken it out of the table: secondary endpoints and rankings, too."""
    data = dice_table(4)
    late = {"arch2": 0, "arch3": 1}
    lagging = data["architecture"].map(late)
    data = data[lagging.isna() | (lagging == data["fold"])]
    both = pd.concat([data, data.assign(region="kidney_and_masses")], ignore_index=True)
    for baseline in (None, "arch2"):
        rule = Rule(baseline=baseline)
        found = compare(both, rule=rule)
        gone = ["arch3"] if baseline else ["arch2", "arch3"]
        assert found.left_out == gone
        by_hand = compare(both[~both["architecture"].isin(gone)], rule=rule)
        assert found.secondary == by_hand.secondary != []
        assert found.pairs == by_hand.pairs
        assert found.official == by_hand.official
    other = both[both["region"] == "kidney_and_masses"]
    whole = pd.concat([dice_table(4), other], ignore_index=True)
    notes = compare(whole).warnings
    assert any(n.startswith("kidney_and_masses:dice: arch2 and arch3 are left out") for n in notes)


def test_cases_of_one_fold_and_runs_of_another_are_compared():
    """No fold has several of both, so nothing tells how a case scatters over runs."""
    rows = [
        (name, fold, seed, f"c{fold}_{case}", mean + 0.02 * case * sign - 0.1 * seed)
        for name, mean, sign in (("A", 0.8, 1), ("B", 0.75, -1))
        for fold, cases, seeds in ((0, 5, 1), (1, 1, 2))
        for case in range(cases)
        for seed in range(seeds)
    ]
    data = pd.DataFrame(rows, columns=["architecture", "fold", "seed", "case", "value"])
    found = compare(data.assign(region="tumor", metric="dice"))
    assert found.pairs[0]["n_cases"] == 6
    assert found.components["noise_bend"] == 0
