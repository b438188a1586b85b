"""Comparisons: which test, which words, and what happens at the edges."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from score_tables import long_table

from kitsbench.errors import DataError, UsageError
from kitsbench.statistics import Rule, compare, rank_groups, summarise, two_way_test
from kitsbench.statistics.calibration.simulation import simulate

PAIR_KEYS = [
    "a", "b", "region", "metric", "n_cases", "n_seeds", "n_folds", "difference", "se", "df",
    "ci_low", "ci_high", "p_value", "p_adjusted", "p_equivalence", "p_nadeau_bengio", "win",
    "tie", "loss", "rank_biserial", "verdict", "better", "sentence",
]  # fmt: skip
RANKING_KEYS = ["architecture", "mean", "rank", "rank_low", "rank_high", "p_first", "group"]
TOO_STRONG = ("outperform", "superior", "state of the art", "no difference")


def table(architectures=2, folds=5, cases=12, seeds=3, offsets=None, **columns):
    rng = np.random.default_rng(4)
    scores = simulate(rng, 1, architectures, folds, cases, seeds)[0]
    scores = scores.reshape(architectures, folds * cases, seeds) * 0.6
    if offsets is not None:
        scores = scores + np.reshape(offsets, (-1, 1, 1))
    return long_table(scores, np.repeat(np.arange(folds), cases)).assign(**columns)


def plain(comparison):
    """What a reader of the JSON gets; fails on NaN."""
    return json.loads(json.dumps(comparison.to_dict(), allow_nan=False))


def test_the_keys_of_the_json():
    found = plain(compare(table(3)))
    head = ["endpoint", "scope", "test", "correction", "pairs", "ranking"]
    assert list(found)[:7] == [*head, "smallest_detectable_gap"]
    for pair in found["pairs"]:
        assert list(pair)[: len(PAIR_KEYS)] == PAIR_KEYS
    for row in found["ranking"]:
        assert list(row)[: len(RANKING_KEYS)] == RANKING_KEYS
    assert (found["endpoint"], found["correction"]) == ("tumor:dice", "holm")


@pytest.mark.parametrize(
    ("folds", "seeds", "test", "scope"),
    [
        (5, 3, "two-way case x run t", "L1"),
        (1, 2, "two-way case x run t", "L1"),
        (4, 1, "fold t", "L1"),
        (3, 1, "paired t over cases", "L0"),
        (1, 1, "paired t over cases", "L0"),
    ],
)
def test_the_test_follows_the_data(folds, seeds, test, scope):
    found = compare(table(2, folds, 12, seeds))
    assert (found.test, found.scope) == (test, scope)
    assert (found.pairs[0]["p_nadeau_bengio"] is None) == (folds < 2)
    assert f"scope {scope}" in found.pairs[0]["sentence"]


def test_with_one_split_and_one_seed_the_case_test_is_scipys():
    data = table(2, 1, 20, 1)
    x, y = (data.loc[data["architecture"] == name, "value"] for name in ("arch0", "arch1"))
    want = stats.ttest_rel(x.to_numpy(), y.to_numpy())
    found = compare(data).pairs[0]
    assert found["p_value"] == pytest.approx(want.pvalue, rel=1e-9)
    ci = want.confidence_interval()
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((ci.low, ci.high), rel=1e-9)


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
    found = compare(table(offsets=[0, offset], dataset="KiTS19"), margins=margin)
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
    ("offset", "margin", "words"),
    [
        (0.35, 0.02, "The trained model arch1 scored 0.3"),
        (0.35, 0.02, "more than the margin 0.02"),
        (0.00, 0.50, "The trained models arch0 and arch1 are equivalent within ±0.5"),
        (0.00, 0.001, "Inconclusive: arch0 minus arch1 is"),
    ],
)
def test_one_run_says_nothing_about_architectures(offset, margin, words):
    found = compare(table(2, 1, 40, 1, offsets=[0, offset]), margins=margin)
    sentence = found.pairs[0]["sentence"]
    assert words in sentence
    assert sentence.endswith(
        "on these cases (scope L0); nothing can be said about the architectures."
    )
    assert any("scope L0" in warning for warning in found.warnings)


def test_no_sentence_says_more_than_it_may():
    for seeds, offset in ((3, 0.2), (1, 0.2), (3, 0.0)):
        found = compare(table(4, 5, 12, seeds, offsets=[0, 0, offset, 0.02]))
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
    data = table(offsets=[0, 0.3]).assign(metric="hd95_mm")
    found = compare(data, "tumor:hd95_mm")
    pair = found.pairs[0]
    assert pair["difference"] < 0
    assert pair["better"] == "arch0"
    assert pair["win"] > pair["loss"]
    assert pair["rank_biserial"] > 0
    assert "arch0 scores lower than arch1 by" in pair["sentence"]
    assert pair["p_equivalence"] is None
    assert found.ranking[0]["architecture"] == "arch0"


def test_volume_errors_do_not_cancel():
    data = table(seeds=2).assign(metric="volume_error_ml", value=0.0)
    wrong = data["architecture"] == "arch0"
    data.loc[wrong, "value"] = np.where(np.arange(wrong.sum()) % 2, 10.0, -10.0)
    found = compare(data, "tumor:volume_error_ml")
    assert found.ranking[0]["architecture"] == "arch1"
    assert found.ranking[1]["mean"] == 10


def test_margins_by_endpoint():
    assert compare(table()).margin == 0.02
    assert compare(table(region="kidney"), "kidney:dice").margin == 0.01
    assert compare(table(), margins={"tumor:dice": 0.05}).margin == 0.05
    assert compare(table(metric="precision"), "tumor:precision").margin is None
    with pytest.raises(UsageError, match="margin of tumor:dice is -1"):
        compare(table(), margins=-1)


def test_a_baseline_halves_the_family():
    data = table(4, offsets=[0, 0.01, 0.02, 0.1])
    found = compare(data, rule=Rule(baseline="arch2"))
    assert [(pair["a"], pair["b"]) for pair in found.pairs] == [
        ("arch0", "arch2"),
        ("arch1", "arch2"),
        ("arch3", "arch2"),
    ]
    assert {row["group"] for row in found.ranking} == {None}
    whole = {(p["a"], p["b"]): p for p in compare(data).pairs}
    for pair in found.pairs:
        key = tuple(sorted((pair["a"], pair["b"])))
        assert pair["p_value"] == pytest.approx(whole[key]["p_value"])
        assert pair["p_adjusted"] <= whole[key]["p_adjusted"]
    with pytest.raises(UsageError, match="baseline 'unet' is not in the table"):
        compare(data, rule=Rule(baseline="unet"))


def test_the_conservative_test_is_never_less_certain():
    data = table(3)
    for usual, careful in zip(
        compare(data).pairs, compare(data, rule=Rule(conservative=True)).pairs, strict=True
    ):
        assert careful["se"] >= usual["se"]


def test_hommel_is_no_more_strict_than_holm():
    data = table(4, offsets=[0, 0.01, 0.02, 0.03])
    holm, hommel = compare(data), compare(data, rule=Rule(correction="hommel"))
    assert hommel.correction == "hommel"
    for a, b in zip(holm.pairs, hommel.pairs, strict=True):
        assert b["p_adjusted"] <= a["p_adjusted"]
    with pytest.raises(UsageError, match="no correction 'none'"):
        compare(data, rule=Rule(correction="none"))


def test_secondary_endpoints_are_exploratory():
    data = pd.concat([table(3), table(3, metric="recall"), table(3, region="kidney")])
    found = compare(data)
    assert {(row["region"], row["metric"]) for row in found.secondary} == {
        ("tumor", "recall"),
        ("kidney", "dice"),
    }
    p = [row["p_value"] for row in found.secondary]
    assert [row["p_adjusted"] for row in found.secondary] == pytest.approx(
        stats.false_discovery_control(p)
    )
    for row in found.secondary:
        assert row["label"] == "secondary/exploratory"
        assert "better" not in json.dumps(row)
        assert "verdict" not in row
    assert compare(data, secondary=False).secondary == []


def test_a_secondary_endpoint_with_gaps_is_left_out_and_said():
    data = pd.concat([table(2), table(2, metric="recall")[:-1]])
    found = compare(data)
    assert found.secondary == []
    assert any("Secondary endpoint left out. tumor:recall" in text for text in found.warnings)


def test_part_of_a_cross_validation_knows_its_training_sets():
    data = table(2, 2)
    whole, part = compare(data), compare(data, rule=Rule(fold_count=5))
    assert part.pairs[0]["p_nadeau_bengio"] < whole.pairs[0]["p_nadeau_bengio"]
    assert compare(data, rule=Rule(fold_count=1)).pairs[0]["p_nadeau_bengio"] is None


def test_unequal_seeds_use_what_there_is():
    data = table(2, 5, 12, 3)
    fewer = data[(data["architecture"] != "arch0") | (data["seed"] < 2) | (data["fold"] > 0)]
    found = compare(fewer)
    assert found.test == "two-way case x run t"
    assert found.pairs[0]["n_seeds"] == 2
    assert any("Unequal numbers of seeds (arch0: 2 to 3; arch1: 3)" in w for w in found.warnings)
    lost = data[(data["architecture"] == "arch0") & (data["fold"] == 0) & (data["seed"] == 2)]
    values = data.drop(lost.index).groupby(["architecture", "case"])["value"].mean()
    means = values.groupby("architecture").mean()
    assert found.pairs[0]["difference"] == pytest.approx(means["arch0"] - means["arch1"])


def test_a_missing_fold_leaves_the_common_folds():
    data = table(3)
    data = data[(data["architecture"] != "arch2") | (data["fold"] < 4)]
    found = compare(data)
    assert {pair["n_folds"] for pair in found.pairs} == {4}
    notes = " ".join(found.warnings)
    assert "arch2 lacks folds" in notes
    assert "the common folds 0, 1, 2, 3 of 0, 1, 2, 3, 4" in notes
    apart = table(2, 4)
    apart = apart[(apart["architecture"] == "arch0") == (apart["fold"] < 2)]
    with pytest.raises(DataError, match=r"No fold was scored by all.*arch0: \[0, 1\]"):
        compare(apart)


def test_a_missing_prediction_is_an_error():
    data = table()
    with pytest.raises(DataError, match="arch0, fold 0, seed 1 has no row for case case_00002"):
        compare(data.drop(index=7))


def test_failed_predictions_count_as_zero():
    data = table(2, 5, 20, 2).assign(status="ok")
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


def test_many_failures_leave_no_verdict():
    data = table(3, offsets=[0, 0.3, 0]).assign(status="ok")
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


def test_a_failed_distance_is_never_the_best():
    data = table(metric="hd95_mm").assign(status="ok")
    data["value"] += 5
    data.loc[0, ["value", "status"]] = [0.0, "failed"]
    data.loc[1, ["value", "status"]] = [300.0, "empty_prediction"]
    found = compare(data, "tumor:hd95_mm")
    assert found.ranking[-1]["architecture"] == "arch0"
    assert any("1 failed row without a penalty" in text for text in found.warnings)
    summary = summarise(data).set_index("architecture")
    assert summary.loc["arch0", "mean"] == pytest.approx(found.ranking[-1]["mean"])


def test_cysts_are_judged_where_there_are_cysts():
    data = table(region="cyst", seeds=2).assign(status="ok")
    empty = data["case"] < "case_00030"
    data.loc[empty, "status"] = "both_empty"
    data.loc[empty, "value"] = 1.0
    found = compare(data, "cyst:dice")
    assert found.pairs[0]["n_cases"] == 30
    assert max(row["mean"] for row in found.ranking) < 0.7
    assert compare(data.assign(region="mass"), "mass:dice").pairs[0]["n_cases"] == 60
    with pytest.raises(DataError, match="No case of the table holds the region cyst"):
        compare(data.assign(status="both_empty"), "cyst:dice")


def test_contradicting_ground_truths_are_an_error():
    data = table().assign(status="ok")
    data.loc[0, "status"] = "both_empty"
    with pytest.raises(DataError, match=r"Case case_00000, region tumor.*one ground truth"):
        compare(data)


def test_one_case():
    found = compare(table(2, 1, 1, 2))
    pair = plain(found)["pairs"][0]
    assert (pair["verdict"], pair["p_value"], pair["se"]) == ("inconclusive", None, None)
    assert "a single case allows no test" in pair["sentence"]


def test_one_case_per_fold():
    assert compare(table(2, 5, 1, 3)).test == "fold t"
    assert compare(table(2, 3, 1, 3)).test == "paired t over cases"


def test_one_architecture():
    found = plain(compare(table(1)))
    assert found["pairs"] == []
    assert [row["rank"] for row in found["ranking"]] == [1]
    assert found["smallest_detectable_gap"] is found["scope"] is found["test"] is None
    assert any("one architecture only" in text for text in found["warnings"])


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("folds", [1, 2, 5])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_scores_are_inconclusive(value, folds, seeds):
    found = plain(compare(table(3, folds, 6, seeds, value=value)))
    for pair in found["pairs"]:
        assert (pair["verdict"], pair["difference"]) == ("inconclusive", 0)
        assert "scored the same on every case" in pair["sentence"]
    assert [row["rank"] for row in found["ranking"]] == [1, 1, 1]
    assert [row["p_first"] for row in found["ranking"]] == pytest.approx([1 / 3] * 3)
    assert any("constant scores" in text for text in found["warnings"])


def test_a_constant_gap_is_a_difference():
    data = table(2, 5, 8, 1)
    second = data["architecture"] == "arch1"
    data.loc[second, "value"] = data.loc[~second, "value"].to_numpy() + 0.1
    pair = plain(compare(data))["pairs"][0]
    assert (pair["verdict"], pair["better"]) == ("better_relevant", "arch1")
    assert pair["win"] == 0
    assert pair["loss"] == 40


def test_the_endpoint_must_be_in_the_table():
    with pytest.raises(UsageError, match=r"no scores of tumour:dice; choose.*tumor:dice"):
        compare(table(), "tumour:dice")
    with pytest.raises(UsageError, match="one region and one metric"):
        compare(table(), "dice")
    with pytest.raises(UsageError, match="alpha is 5"):
        compare(table(), rule=Rule(alpha=5))


def test_several_protocols_and_datasets():
    both = pd.concat([table(protocol="kits19"), table(offsets=[0, 0.1], protocol="labels")])
    assert compare(both).protocol == "kits19"
    assert compare(both, protocol="labels").pairs[0]["better"] == "arch1"
    two = pd.concat([table(protocol="kits21"), table(protocol="kits23")])
    with pytest.raises(UsageError, match=r"2 protocols \(kits21, kits23\); choose one with --prot"):
        compare(two)
    sets = pd.concat([table(dataset="KiTS19"), table(dataset="KiTS23")])
    with pytest.raises(UsageError, match="choose one with --dataset"):
        compare(sets)
    assert "of KiTS23;" in compare(sets, dataset="KiTS23").pairs[0]["sentence"]
    with pytest.raises(UsageError, match="for the dataset 'AMOS'; it has KiTS19, KiTS23"):
        compare(sets, dataset="AMOS")


def test_rank_groups_are_maximal_sets():
    names = ["a", "b", "c", "d"]
    assert rank_groups(names, []) == dict.fromkeys(names, "a")
    every = [(x, y) for x in names for y in names if x < y]
    assert rank_groups(names, every) == dict(zip(names, "abcd", strict=True))
    chain = rank_groups(names, [("a", "c"), ("a", "d"), ("b", "d")])
    assert chain == {"a": "a", "b": "ab", "c": "bc", "d": "c"}


def test_the_winner_is_first_with_certainty():
    found = compare(table(3, offsets=[0, 0.3, 0]))
    first = found.ranking[0]
    assert first["architecture"] == "arch1"
    assert (first["rank_low"], first["rank_high"], first["p_first"]) == (1, 1, 1)
    assert first["group"] == "a"
    assert {row["group"] for row in found.ranking[1:]} == {"b"}
    assert compare(table(3)).ranking == compare(table(3)).ranking


def test_the_floor_keeps_the_variance_above_each_component():
    rng = np.random.default_rng(0)
    floored = 0
    for _ in range(200):
        a, b = ([rng.normal(size=(4, 3)) for _ in range(2)] for _ in range(2))
        found = two_way_test(a, b)
        floored += found.floored
        assert found.se**2 >= max(found.v_case, found.v_run) - 1e-12
    assert floored > 10


@pytest.mark.parametrize(("ceiling", "warned"), [(0.01, True), (0.9, False)])
def test_equal_because_nobody_learned_is_said(ceiling, warned):
    scores = np.random.default_rng(0).uniform(0, ceiling, (2, 60, 2))
    found = compare(long_table(scores, np.arange(60) % 5)).to_dict()
    assert any("No architecture has learned" in text for text in found["warnings"]) == warned
