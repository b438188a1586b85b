"""Ranks, groups and their bootstrap: against scipy, challengeR and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from references import close

from kitsbench import statistics as ks
from kitsbench.statistics import rank_groups
from kitsbench.statistics.ranks.ranking import bootstrap_means, draw, kendall_tau, stability_of
from kitsbench.statistics.ranks.schemes import scheme


def test_kendall(golden):
    for case in golden("kendall")["cases"]:
        want = case["expected"]
        tau = np.nan if want["tau_b"] is None else want["tau_b"]
        close(float(kendall_tau(case["a"], case["b"])), tau)


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
            total = 0.0
            for f, block in enumerate(blocks):
                drawn = block[draws.cases[f][b]]
                usual, taken = drawn.mean(axis=1), drawn[:, draws.runs[m][f][b]].mean(axis=1)
                larger = (seeds[m] / max(seeds[m] - 1, 1)) ** 0.5
                total += (usual + larger * (taken - usual)).sum()
            assert found[b, m] == pytest.approx(total / sum(sizes), abs=1e-12)


def test_rank_groups_are_maximal_sets():
    names = ["a", "b", "c", "d"]
    assert rank_groups(names, []) == dict.fromkeys(names, "a")
    every = [(x, y) for x in names for y in names if x < y]
    assert rank_groups(names, every) == dict(zip(names, "abcd", strict=True))
    chain = rank_groups(names, [("a", "c"), ("a", "d"), ("b", "d")])
    assert chain == {"a": "a", "b": "ab", "c": "bc", "d": "c"}
