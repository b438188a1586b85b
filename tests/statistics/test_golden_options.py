"""Options and side tables against trusted tools: scipy, statsmodels, R, challengeR, baycomp."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kitsbench import statistics as ks
from kitsbench.errors import DataError, UsageError
from kitsbench.statistics.ranks.demsar import cliques, critical_difference, friedman
from kitsbench.statistics.ranks.ranking import (
    bootstrap_means,
    draw,
    kendall_tau,
    stability_of,
)
from kitsbench.statistics.ranks.schemes import SCHEMES, kits_ranking, scheme
from kitsbench.statistics.tests.casetests import sign_flip_test, wilcoxon_test
from kitsbench.statistics.tests.folds_and_cases import bayesian_test


@pytest.fixture
def golden(shared):
    return lambda name: json.loads((shared / "golden" / f"{name}.json").read_text())


def close(found, expected, rel=1e-9, abs=1e-12):
    assert found == pytest.approx(expected, rel=rel, abs=abs, nan_ok=True)


def array(values):
    """Nested lists, null as NaN."""
    return np.array(
        [array(v) if isinstance(v, list) else np.nan if v is None else v for v in values],
        dtype=float,
    )


def test_wilcoxon(golden):
    checked = 0
    for case in golden("wilcoxon")["cases"]:
        d = np.subtract(case["x"], case["y"])
        # Where decimals leave noise, differences are rounded before they are ranked.
        key = "expected_rounded" if "expected_rounded" in case["expected"] else "expected_raw"
        if not np.any(d):
            # scipy has no answer here, or one that depends on the method.
            assert wilcoxon_test(d) == 1
            continue
        for alternative in ("two-sided", "greater", "less"):
            want = case["expected"][key][f"wilcox|corr=False|{alternative}|asymptotic"]
            close(wilcoxon_test(d, alternative), want["pvalue"])
            checked += 1
        if key == "expected_raw" and "R_raw" in case["expected"]:
            r = case["expected"]["R_raw"]
            close(wilcoxon_test(d), r["wilcox_test_nocorrect"], rel=1e-6)
            close(wilcoxon_test(d, "greater"), r["wilcox_test_greater_nocorrect"], rel=1e-6)
    assert checked >= 18


def test_sign_flips(golden):
    for case in golden("paired_permutation")["cases"]:
        close(sign_flip_test(case["differences"]), case["expected_scipy"]["two-sided"])
    rng = np.random.default_rng(0)
    d = rng.normal(0.02, 0.1, 60)
    # Many differences are drawn, not enumerated: close to the t-test, and never 0.
    assert sign_flip_test(d) == pytest.approx(
        ks.case_test([d[:, None]], [np.zeros((60, 1))]).p_value, abs=0.01
    )
    assert 0 < sign_flip_test(np.ones(60)) < 1e-4


def test_friedman_and_what_follows_it(golden):
    for case in golden("friedman_nemenyi")["cases"]:
        scores, want, r = array(case["scores"]), case["expected"], case["expected_R"]
        found = friedman(scores, case["higher_is_better"])
        assert found.n == case["n_used"]
        close(found.mean_ranks.tolist(), want["mean_ranks"])
        close([found.chi2, found.p_value], [want["chi2"], want["p"]])
        close(
            [found.iman_davenport_f, found.iman_davenport_p],
            [want["iman_davenport_F"], want["iman_davenport_p"]],
        )
        assert list(found.iman_davenport_df) == want["iman_davenport_df"]
        close(found.kendall_w, want["kendall_W"])
        close(found.nemenyi.ravel().tolist(), np.ravel(want["nemenyi_p"]).tolist())
        close(found.nemenyi.ravel().tolist(), np.ravel(r["nemenyi_p"]).tolist(), rel=1e-6, abs=1e-9)
        k = scores.shape[1]
        close(critical_difference(k, found.n, 0.05), r["cd_0.05"], rel=1e-6)
        close(critical_difference(k, found.n, 0.10), r["cd_0.10"], rel=1e-6)
        close(critical_difference(k, found.n, 0.05), want["cd_005"], rel=2e-3)


def test_friedman_at_the_edges():
    same = friedman(np.ones((5, 3)))
    assert (same.chi2, same.p_value, same.kendall_w) == (0, 1, 0)
    assert (same.nemenyi == 1).all()
    perfect = friedman(np.arange(3.0) + np.zeros((4, 1)))
    assert perfect.kendall_w == pytest.approx(1)
    assert perfect.iman_davenport_p == 0
    with pytest.raises(DataError, match="1 complete cases"):
        friedman([[1.0, 2.0], [np.nan, 1.0]])


def test_cliques_are_maximal_runs():
    assert cliques([1.0, 1.5, 3.0, 3.4, 3.9], 0.8) == [[0, 1], [2, 3], [3, 4]]
    assert cliques([3.0, 1.0, 2.0], 5) == [[1, 2, 0]]
    assert cliques([1.0, 2.0], 0.5) == []


@pytest.mark.parametrize(
    "method",
    ["bonferroni", "sidak", "holm", "holm-sidak", "hochberg", "hommel", "fdr_bh", "fdr_by"],
)
def test_every_correction(golden, method):
    for case in golden("multiple_testing")["cases"]:
        p = array(case["p"])
        if method in case["expected"]:
            close(ks.adjust(p, method).tolist(), array(case["expected"][method]).tolist())
        if method in case.get("expected_R_p_adjust", {}):
            want = np.atleast_1d(array(np.atleast_1d(case["expected_R_p_adjust"][method]).tolist()))
            close(ks.adjust(p, method).tolist(), want.tolist(), rel=1e-6)


def test_shaffer(golden):
    case = next(c for c in golden("multiple_testing")["cases"] if "shaffer" in c["name"])
    close(ks.adjust(case["p"], "shaffer").tolist(), case["expected"]["shaffer_static"])
    with pytest.raises(UsageError, match=r"4 pairs.*all pairs of a set"):
        ks.adjust([0.1] * 4, "shaffer")


def test_kendall(golden):
    for case in golden("kendall")["cases"]:
        want = case["expected"]
        tau = np.nan if want["tau_b"] is None else want["tau_b"]
        close(float(kendall_tau(case["a"], case["b"])), tau)


@pytest.mark.parametrize("method", ["percentile", "basic", "bca"])
def test_bootstrap_intervals(golden, method):
    name = {"bca": "BCa"}.get(method, method)
    for case in golden("bootstrap_ci")["cases"]:
        for statistic in ("mean", "median"):
            want = case["expected_scipy_seeded"][f"{statistic}|{name}"]
            found = ks.bootstrap_interval(case["x"], statistic, method, random_seed=12345)
            if case["name"] == "constant":
                assert found == ks.BootstrapInterval(0.875, 0.875, True)
                continue
            close([found.low, found.high], [want["low"], want["high"]])
            assert not found.degenerate
        free = case.get("rng_free")
        if free and method != "basic":
            drawn = np.asarray(case["x"])[np.asarray(free["bootstrap_indices"])].mean(axis=1)
            found = ks.bootstrap_interval(case["x"], "mean", method, distribution=drawn)
            close([found.low, found.high], free[f"ci_{method}_linear_quantile"])
        r = case.get("expected_R_boot_20000", {})
        if f"mean_{method}" in r:
            found = ks.bootstrap_interval(case["x"], "mean", method)
            close([found.low, found.high], r[f"mean_{method}"], abs=0.04 * np.std(case["x"]))
    with pytest.raises(UsageError, match="no bootstrap of the mode"):
        ks.bootstrap_interval([1, 2], "mode")


def test_posterior_of_the_correlated_t_test(golden):
    checked = 0
    for case in golden("corrected_resampled_t")["cases"]:
        want = case.get("expected_baycomp") or {}
        if want.get("p_left") is None:
            continue
        # baycomp derives the ratio from the number of folds.
        found = bayesian_test(case["differences"], 1 / (case["folds"] - 1), 0)
        close([found.first_better, found.second_better], [want["p_left"], want["p_right"]])
        checked += 1
        wide = bayesian_test(case["differences"], 1 / (case["folds"] - 1), 0.02)
        assert wide.first_better + wide.equivalent + wide.second_better == pytest.approx(1)
        assert wide.equivalent > 0
    assert checked >= 3


def test_ranking_schemes_equal_those_of_challenger(golden):
    for case in golden("ranking")["cases"]:
        scores, higher = array(case["scores"]).T, case["higher_is_better"]
        if case["na_treat"] == 0:
            scores = np.nan_to_num(scores, nan=0.0)
        want = case["expected_challengeR"]
        for name in SCHEMES:
            theirs = want[f"aggregate_{name}" if name.endswith("then_rank") else name]
            values, ranks = scheme(scores, name, higher)
            close(values.tolist(), theirs["score"])
            assert ranks.tolist() == theirs["rank"], (case["name"], name)


def test_rankings_of_kits(golden):
    data = golden("ranking")
    for case in data["kits21_23_ranking"]:
        means = np.array(case["means"])
        mean_ranks, ranks = kits_ranking(means[:, :3], means[:, 3:])
        for team, want in case["expected_official"].items():
            index = int(team.removeprefix("team"))
            close(mean_ranks[index], want["mean_rank"])
            assert ranks[index] == want["final_rank"]


def test_two_level_bootstrap_with_given_draws(golden):
    data = golden("ranking")["bootstrap_ranking"]
    scores = np.asarray(data["scores"]).T[:, :, None]
    methods = [(block,) for block in scores]
    indices = np.asarray(data["bootstrap_case_indices"])
    draws = draw(methods, len(indices), 0)
    draws = type(draws)((indices,), draws.runs)
    want = data["aggregate_mean_then_rank"]
    means = bootstrap_means(methods, draws)
    ranks = ks.rank(means)
    assert ranks.tolist() == want["bootstrap_ranks"]
    found = stability_of(ranks, np.array(want["ranking"]), means)
    close(found.tau.tolist(), want["kendall_tau"])
    close(found.tau.mean(), want["mean_tau"])
    assert found.counts.tolist() == want["blob_counts"]
    close(found.p_first.tolist(), want["winner_frequency"])
    low, high = want["rank_quantiles_2_5_97_5"]
    assert found.rank_low.tolist() == low
    assert found.rank_high.tolist() == high
    by_ranks = data["rank_then_mean"]
    redrawn = [scheme(scores[:, index, 0], "rank_then_mean")[1] for index in indices]
    assert np.array(redrawn).tolist() == by_ranks["bootstrap_ranks"]
    assert scheme(scores[:, :, 0], "rank_then_mean")[1].tolist() == by_ranks["ranking"]


@pytest.mark.parametrize("seeds", [[2, 2], [1, 3], [3, 4]])
def test_two_level_bootstrap_equals_a_plain_loop(seeds):
    rng = np.random.default_rng(0)
    sizes = [7, 4, 9]
    methods = [tuple(rng.random((n, s)) for n in sizes) for s in seeds]
    draws = draw(methods, 40, 3)
    found = bootstrap_means(methods, draws)
    for b in range(40):
        for m, blocks in enumerate(methods):
            total = sum(
                block[draws.cases[f][b]][:, draws.runs[m][f][b]].mean(axis=1).sum()
                for f, block in enumerate(blocks)
            )
            assert found[b, m] == pytest.approx(total / sum(sizes), abs=1e-12)
