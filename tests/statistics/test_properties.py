"""Rules that hold for every score table."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_tables import long_table

from kitsbench.statistics import (
    adjust,
    best_test,
    compare,
    effect_sizes,
    smallest_detectable_gap,
    summarise,
    two_way_test,
)

FEW = settings(max_examples=8)
MANY = settings(max_examples=50)
ARCHITECTURES, STEPS = st.integers(2, 4), st.integers(1, 1000)


@st.composite
def designs(draw, architectures=ARCHITECTURES, steps=STEPS):
    """Scores (architectures, cases, seeds) and the fold of each case; coarse steps make ties."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    seeds, step = draw(st.integers(1, 4)), draw(steps)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = (draw(architectures), sum(sizes), seeds)
    return np.round(rng.uniform(0, 1, shape) * step) / step, np.repeat(np.arange(len(sizes)), sizes)


def blocks(scores, fold):
    return [scores[fold == f] for f in np.unique(fold)]


def pair(design):
    scores, fold = design
    return blocks(scores[0], fold), blocks(scores[1], fold)


def fields(result):
    return np.array(
        [result.estimate, result.se, result.df, result.p_value, result.ci_low, result.ci_high]
    )


@MANY
@given(designs())
def test_swapping_a_pair_turns_the_sign(design):
    a, b = pair(design)
    there, back = best_test(a, b), best_test(b, a)
    np.testing.assert_allclose(there.estimate, -back.estimate, atol=1e-12)
    np.testing.assert_allclose(fields(there)[1:4], fields(back)[1:4], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([there.ci_low, there.ci_high], [-back.ci_high, -back.ci_low],
                               atol=1e-9)  # fmt: skip
    forward, reverse = effect_sizes(a, b), effect_sizes(b, a)
    assert (forward.win, forward.tie, forward.loss) == (reverse.loss, reverse.tie, reverse.win)
    np.testing.assert_allclose(forward.rank_biserial, -reverse.rank_biserial)
    np.testing.assert_allclose(forward.probability_better, 1 - reverse.probability_better)
    np.testing.assert_allclose(forward.hodges_lehmann, -reverse.hodges_lehmann, atol=1e-12)


@MANY
@given(designs(), st.floats(-0.5, 0.5))
def test_a_common_shift_changes_nothing(design, shift):
    a, b = pair(design)
    moved = best_test([x + shift for x in a], [y + shift for y in b])
    np.testing.assert_allclose(fields(moved), fields(best_test(a, b)), rtol=1e-6, atol=1e-9)


@MANY
@given(designs(steps=st.just(1000)), st.floats(0.1, 10))
def test_units_do_not_matter(design, scale):
    a, b = pair(design)
    small, large = best_test(a, b), best_test([scale * x for x in a], [scale * y for y in b])
    np.testing.assert_allclose(large.estimate, scale * small.estimate, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(large.p_value, small.p_value, rtol=1e-6, atol=1e-9)


@MANY
@given(designs())
def test_the_test_is_never_undefined(design):
    a, b = pair(design)
    found = best_test(a, b)
    if sum(map(len, a)) > 1:
        assert np.isfinite(fields(found)).all()
        assert 0 <= found.p_value <= 1
        assert found.ci_low <= found.estimate <= found.ci_high
        assert found.df >= 1


@MANY
@given(designs())
def test_the_conservative_error_is_the_larger_one(design):
    a, b = pair(design)
    if a[0].shape[1] > 1 and sum(map(len, a)) > len(a):
        assert two_way_test(a, b, conservative=True).se >= two_way_test(a, b).se - 1e-12


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
    return json.loads(json.dumps(first.to_dict()), parse_float=rounded) == json.loads(
        json.dumps(second.to_dict()), parse_float=rounded
    )


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
    for row in found["ranking"]:
        assert 1 <= row["rank_low"] <= row["rank_high"] <= len(means)
        assert row["group"]
    assert sum(row["p_first"] for row in found["ranking"]) == pytest.approx(1)
    for row in found["pairs"]:
        assert row["win"] + row["tie"] + row["loss"] == row["n_cases"]
        assert row["p_value"] is None or row["p_adjusted"] >= row["p_value"] - 1e-15
        if row["test"] != "fold t":
            assert row["difference"] == pytest.approx(means[row["a"]] - means[row["b"]], abs=1e-9)
        if row["better"]:
            favoured = row["a"] if sign * row["difference"] > 0 else row["b"]
            assert row["better"] == favoured
            groups = {r["architecture"]: set(r["group"]) for r in found["ranking"]}
            assert not groups[row["a"]] & groups[row["b"]]


@FEW
@given(designs())
def test_one_more_failure_never_helps(design):
    scores, fold = design
    table = long_table(scores, fold).assign(status="ok")
    before = mean_of(summarise(table))
    table.loc[0, ["value", "status"]] = [np.nan, "failed"]
    assert mean_of(summarise(table)) <= before + 1e-12


def mean_of(summary):
    return summary.set_index("architecture").loc["arch0", "mean"]


@FEW
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_values_keep_their_order(p):
    for method in ("holm", "hommel", "fdr_bh"):
        adjusted = adjust(p, method)
        assert (adjusted >= np.asarray(p) - 1e-12).all()
        assert (adjusted <= 1).all()
        order = np.argsort(p, kind="stable")
        assert (np.diff(adjusted[order]) >= -1e-12).all()


@MANY
@given(st.floats(1, 500), st.floats(1e-4, 10), st.floats(0.001, 0.2), st.floats(0.5, 0.95))
def test_the_detectable_gap_is_between_its_bounds(df, se, alpha, power):
    gap = smallest_detectable_gap(se, df, alpha, power)
    assert np.isfinite(gap)
    assert gap <= smallest_detectable_gap(se, df, alpha, min(0.99, power + 0.02))
    assert gap >= smallest_detectable_gap(se, df + 10, alpha, power) * (1 - 1e-5)


@FEW
@given(designs(architectures=st.just(2)))
def test_a_second_architecture_equal_to_the_first_is_never_better(design):
    scores, fold = design
    table = long_table(np.stack([scores[0], scores[0]]), fold)
    found = compare(table, bootstrap=5)
    assert found.pairs[0]["difference"] == 0
    assert found.pairs[0]["better"] is None
    assert pd.Series([row["rank"] for row in found.ranking]).tolist() == [1, 1]
