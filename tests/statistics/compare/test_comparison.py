"""Comparisons: which test, which pairs, which table, and what a reader of the JSON gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from designs import FEW, designs
from hypothesis import given
from hypothesis import strategies as st
from references import close
from scipy import stats
from score_tables import dice_table, long_table, plain

from kitsbench import statistics as ks
from kitsbench.errors import UsageError
from kitsbench.statistics import Rule, compare
from kitsbench.statistics.ranks.schemes import scheme

PAIR_KEYS = [
    "a", "b", "region", "metric", "n_cases", "n_seeds", "n_folds", "difference", "se", "df",
    "ci_low", "ci_high", "p_value", "p_adjusted", "p_equivalence", "p_nadeau_bengio", "win",
    "tie", "loss", "rank_biserial", "verdict", "better", "sentence",
]  # fmt: skip
RANKING_KEYS = ["architecture", "mean", "rank", "rank_low", "rank_high", "p_first", "group"]


def test_the_keys_of_the_json():
    found = plain(compare(dice_table(3)))
    head = ["endpoint", "scope", "test", "correction", "pairs", "ranking"]
    assert list(found)[:7] == [*head, "smallest_detectable_gap"]
    for pair in found["pairs"]:
        assert list(pair)[: len(PAIR_KEYS)] == PAIR_KEYS
    for row in found["ranking"]:
        assert list(row)[: len(RANKING_KEYS)] == RANKING_KEYS
    assert (found["endpoint"], found["correction"]) == ("tumor:dice", "holm")


def test_a_pair_that_scores_the_same_in_every_case_is_told():
    table = dice_table(3)
    table.loc[table["architecture"] != "arch0", "value"] = 0.0
    pairs = {(pair["a"], pair["b"]): pair["identical"] for pair in compare(table).pairs}
    assert sum(pairs.values()) == 1
    assert pairs["arch1", "arch2"] is True


@pytest.mark.parametrize(
    ("folds", "seeds", "test", "scope"),
    [
        (5, 3, "two-way case x run t", "L1"),
        (2, 2, "two-way case x run t", "L1"),
        (1, 3, "two-way case x run t", "L1"),
        (1, 2, "paired t over cases", "L0"),
        (4, 1, "fold t", "L1"),
        (3, 1, "paired t over cases", "L0"),
        (1, 1, "paired t over cases", "L0"),
    ],
)
def test_the_test_follows_the_data(folds, seeds, test, scope):
    found = compare(dice_table(2, folds, 12, seeds))
    assert (found.test, found.scope) == (test, scope)
    assert (found.pairs[0]["p_nadeau_bengio"] is None) == (folds < 2)
    assert f"scope {scope}" in found.pairs[0]["sentence"]


def test_with_one_split_and_one_seed_the_case_test_is_scipys():
    data = dice_table(2, 1, 20, 1)
    x, y = (data.loc[data["architecture"] == name, "value"] for name in ("arch0", "arch1"))
    want = stats.ttest_rel(x.to_numpy(), y.to_numpy())
    found = compare(data).pairs[0]
    assert found["p_value"] == pytest.approx(want.pvalue, rel=1e-9)
    ci = want.confidence_interval()
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((ci.low, ci.high), rel=1e-9)


def test_margins_by_endpoint():
    assert compare(dice_table()).margin == 0.02
    assert compare(dice_table(region="kidney"), "kidney:dice").margin == 0.01
    assert compare(dice_table(), margins={"tumor:dice": 0.05}).margin == 0.05
    assert compare(dice_table(metric="precision"), "tumor:precision").margin is None
    with pytest.raises(UsageError, match="margin of tumor:dice is -1"):
        compare(dice_table(), margins=-1)


def test_a_baseline_halves_the_family():
    data = dice_table(4, offsets=[0, 0.01, 0.02, 0.1])
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
    data = dice_table(3)
    for usual, careful in zip(
        compare(data).pairs, compare(data, rule=Rule(conservative=True)).pairs, strict=True
    ):
        assert careful["se"] >= usual["se"]


def test_hommel_is_no_more_strict_than_holm():
    data = dice_table(4, offsets=[0, 0.01, 0.02, 0.03])
    holm, hommel = compare(data), compare(data, rule=Rule(correction="hommel"))
    assert hommel.correction == "hommel"
    for a, b in zip(holm.pairs, hommel.pairs, strict=True):
        assert b["p_adjusted"] <= a["p_adjusted"]
    with pytest.raises(UsageError, match="no correction 'none'"):
        compare(data, rule=Rule(correction="none"))


def test_secondary_endpoints_are_exploratory():
    data = pd.concat(
        [dice_table(3), dice_table(3, metric="recall"), dice_table(3, region="kidney")]
    )
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


def test_part_of_a_cross_validation_knows_its_training_sets():
    data = dice_table(2, 2)
    whole, part = compare(data), compare(data, rule=Rule(fold_count=5))
    assert part.pairs[0]["p_nadeau_bengio"] < whole.pairs[0]["p_nadeau_bengio"]
    assert compare(data, rule=Rule(fold_count=1)).pairs[0]["p_nadeau_bengio"] is None


def test_the_endpoint_must_be_in_the_table():
    with pytest.raises(UsageError, match=r"no scores of tumour:dice; choose.*tumor:dice"):
        compare(dice_table(), "tumour:dice")
    with pytest.raises(UsageError, match="one region and one metric"):
        compare(dice_table(), "dice")
    with pytest.raises(UsageError, match="alpha is 5"):
        compare(dice_table(), rule=Rule(alpha=5))


def test_several_protocols_and_datasets():
    both = pd.concat(
        [dice_table(protocol="kits19"), dice_table(offsets=[0, 0.1], protocol="labels")]
    )
    assert compare(both).protocol == "kits19"
    assert compare(both, protocol="labels").pairs[0]["better"] == "arch1"
    two = pd.concat([dice_table(protocol="kits21"), dice_table(protocol="kits23")])
    with pytest.raises(UsageError, match=r"2 protocols \(kits21, kits23\); choose one with --prot"):
        compare(two)
    sets = pd.concat([dice_table(dataset="KiTS19"), dice_table(dataset="KiTS23")])
    with pytest.raises(UsageError, match="choose one with --dataset"):
        compare(sets)
    assert "of KiTS23;" in compare(sets, dataset="KiTS23").pairs[0]["sentence"]
    with pytest.raises(UsageError, match="for the dataset 'AMOS'; it has KiTS19, KiTS23"):
        compare(sets, dataset="AMOS")


def test_the_winner_is_first_with_certainty():
    found = compare(dice_table(3, offsets=[0, 0.3, 0]))
    first = found.ranking[0]
    assert first["architecture"] == "arch1"
    assert (first["rank_low"], first["rank_high"], first["p_first"]) == (1, 1, 1)
    assert first["group"] == "a"
    assert {row["group"] for row in found.ranking[1:]} == {"b"}
    assert compare(dice_table(3)).ranking == compare(dice_table(3)).ranking


# With 60 cases 3 in 60 may be misses that none of them shows, which cost more than the margin of
# 0.02: nothing can be said to lie within it. The last pair has one noisy architecture.
MOVED = {
    ("arch0", "arch3"): "inconclusive",
    ("arch1", "arch3"): "better",
    ("arch2", "arch4"): "better",
}


def test_the_whole_pipeline(golden):
    data = golden("pipeline_end_to_end")
    want = data["expected"]
    table = long_table(data["scores_method_case_seed"], data["fold"], names=data["methods"])
    found = ks.compare(table, rule=ks.Rule(alpha=data["alpha"]), margins=data["equivalence_margin"])
    assert len(found.pairs) == len(want["pairs"]) == 10
    for row, pair in zip(found.pairs, want["pairs"], strict=True):
        assert [row["a"], row["b"]] == pair["pair"]
        close([row["difference"], row["se"]], [pair["estimate"], pair["se"]])
        # The answers take each pair by itself and its two run variances for equal. One of the five
        # scatters more than the others, so degrees of freedom are fewer and nothing is surer.
        assert row["df"] < pair["df"]
        assert row["p_value"] > pair["p"] or pair["p"] > 0.9
        assert (row["better"], row["verdict"] == pair["verdict"]) == (
            pair["better"], (row["a"], row["b"]) not in MOVED,
        )  # fmt: skip
    verdicts = {(row["a"], row["b"]): row["verdict"] for row in found.pairs}
    assert {pair: verdicts[pair] for pair in MOVED} == MOVED
    ranking = {row["architecture"]: row for row in found.ranking}
    close([ranking[m]["mean"] for m in data["methods"]], want["mean_score"])
    assert [ranking[m]["rank"] for m in data["methods"]] == want["rank_by_mean"]
    averaged = np.mean(data["scores_method_case_seed"], axis=2)
    assert scheme(averaged, "rank_then_mean")[1].tolist() == want["rank_then_mean"]
    schemes = found.rankings["schemes"]
    assert list(schemes["rank_then_mean"]["ranks"].values()) == want["rank_then_mean"]
    assert list(schemes["significance"]["ranks"].values()) == want["significance_rank"]
    close(schemes["rank_then_mean"]["kendall_tau"], want["kendall_tau_mean_vs_rank_then_mean"])
    wins = [sum(row["better"] == m for row in found.pairs) for m in data["methods"]]
    assert wins == want["significant_wins"]
    assert ks.rank(wins).tolist() == want["significance_rank"]
    summary = ks.summarise(table).set_index("architecture").loc[data["methods"]]
    close(summary["mean_of_fold_means"].tolist(), want["mean_of_fold_means_over_seeds"])
    close(
        summary["sd_over_folds"].tolist(),
        want["sd_over_folds_of_seed_averaged_fold_means_ddof1"],
    )


@FEW
@given(designs(), st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_order_of_rows_and_the_names_of_seeds_do_not_matter(design, random, offset):
    scores, fold = design
    table = long_table(scores, fold)
    order = list(range(len(table)))
    random.shuffle(order)
    mixed = table.iloc[order].reset_index(drop=True)
    # Seeds of different architectures have nothing in common, so their numbers mean nothing.
    mixed["seed"] += offset * (mixed["architecture"] == "arch1")
    assert same(compare(table, bootstrap=20), compare(mixed, bootstrap=20))


def same(first, second):
    return said(first) == said(second)


def said(comparison):
    """The comparison without what names single runs by their seeds."""
    found = json.loads(json.dumps(comparison.to_dict()), parse_float=rounded)
    named = found.pop("collapsed")
    found["warnings"] = [t for t in found["warnings"] if not named or t != named["sentence"]]
    return found


def rounded(text):
    return float(f"{float(text):.8g}")


@FEW
@given(designs(), st.sampled_from(["dice", "hd95_mm", "recall"]))
def test_a_comparison_is_plain_data_and_consistent(design, metric):
    scores, fold = design
    table = long_table(scores, fold, metric=metric)
    found = json.loads(
        json.dumps(compare(table, ("tumor", metric), bootstrap=20).to_dict(), allow_nan=False)
    )
    means = {row["architecture"]: row["mean"] for row in found["ranking"]}
    sign = -1 if metric == "hd95_mm" else 1
    order = [sign * row["mean"] for row in found["ranking"]]
    assert order == pytest.approx(sorted(order, reverse=True))
    settled = found["scope"] == "L1"
    for row in found["ranking"]:
        for key in ("rank_low", "rank_high", "group", "p_first"):
            assert (row[key] is not None) == settled
        if settled:
            assert 1 <= row["rank_low"] <= row["rank"] <= row["rank_high"] <= len(means)
    if settled:
        assert sum(row["p_first"] for row in found["ranking"]) == pytest.approx(1)
    for row in found["pairs"]:
        assert row["win"] + row["tie"] + row["loss"] == row["n_cases"]
        assert (row["p_adjusted"] is None) == (not settled)
        assert not settled or row["p_adjusted"] >= row["p_value"] - 1e-15
        # Also with folds of unequal size: a pair says what the ranking says.
        assert row["difference"] == pytest.approx(means[row["a"]] - means[row["b"]], abs=1e-9)
        if row["better"]:
            favoured = row["a"] if sign * row["difference"] > 0 else row["b"]
            assert row["better"] == favoured
            assert settled
            groups = {r["architecture"]: set(r["group"]) for r in found["ranking"]}
            assert not groups[row["a"]] & groups[row["b"]]


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "statistics.md").read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    dice_table(3, offsets=[0, 0.3, 0]).to_csv(tmp_path / "scores.csv", index=False)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert "arch1 scores higher than arch0 by" in capsys.readouterr().out
