"""How fast a comparison is, against a plain loop over the replicates of its bootstrap.

``pytest tests/benchmarks/test_statistics.py -n0 --benchmark-only -s`` prints the ratios.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pandas as pd
import pytest
from benchmarks.promises import note

from kitsbench.statistics import compare
from kitsbench.statistics.calibration.simulation import simulate
from kitsbench.statistics.ranks.ranking import bootstrap_means, draw

ARCHITECTURES, CASES, FOLDS, SEEDS, REPLICATES = 12, 489, 5, 5, 1000
ROUNDS = 3


@pytest.fixture(scope="module")
def methods():
    """By architecture the arrays (cases, seeds) of five folds of 97 or 98 cases."""
    scores = simulate(np.random.default_rng(0), 1, ARCHITECTURES, FOLDS, 98, SEEDS)[0]
    return [tuple(y[f][: 98 if f else 97] for f in range(FOLDS)) for y in scores]


def plain_loop(methods, draws):
    """The same replicates one by one."""
    means = np.empty((REPLICATES, len(methods)))
    for b in range(REPLICATES):
        for m, blocks in enumerate(methods):
            total = 0.0
            for f, block in enumerate(blocks):
                drawn = block[draws.cases[f][b]]
                usual = drawn.mean(axis=1).sum()
                taken = drawn[:, draws.runs[m][f][b]].mean(axis=1).sum()
                # Of two runs every second draw takes one of them twice.
                total += usual + np.sqrt(SEEDS / (SEEDS - 1)) * (taken - usual)
            means[b, m] = total / CASES
    return means


def long_table(methods):
    rows = []
    for m, blocks in enumerate(methods):
        for f, block in enumerate(blocks):
            c, s = np.indices(block.shape).reshape(2, -1)
            case = [f"case_{1000 * f + x}" for x in c]
            rows.append({"architecture": f"arch{m:02d}", "fold": f, "seed": s, "case": case,
                         "region": "tumor", "metric": "dice", "value": block.ravel()})  # fmt: skip
    return pd.concat([pd.DataFrame(part) for part in rows], ignore_index=True)


def interleaved(ours, peer, rounds=ROUNDS):
    """Seconds of both, taken in turns; what the last calls returned."""
    times = {"ours": [], "peer": []}
    for _ in range(rounds):
        for name, call in (("ours", ours), ("peer", peer)):
            start = time.perf_counter()
            result = call()
            times[name].append(time.perf_counter() - start)
            if name == "ours":
                found = result
    return times, found, result


def tell(benchmark, key, times):
    note(key, [p / o for o, p in zip(times["ours"], times["peer"], strict=True)])
    ours, peer = (statistics.median(times[name]) for name in ("ours", "peer"))
    benchmark.extra_info["peer_to_ours"] = peer / ours
    spread = {name: f"{min(t):.3f} to {max(t):.3f}" for name, t in times.items()}
    print(
        f"\n{benchmark.name}: median {ours:.3f} s ({spread['ours']}), plain loop {peer:.3f} s "
        f"({spread['peer']}): {peer / ours:.0f} times as fast"
    )


def test_bootstrap_of_ranks(benchmark, methods):
    assert sum(map(len, methods[0])) == CASES
    draws = draw(methods, REPLICATES, 0)
    times, found, expected = interleaved(
        lambda: bootstrap_means(methods, draws), lambda: plain_loop(methods, draws)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    tell(benchmark, "statistics.bootstrap", times)
    benchmark.pedantic(bootstrap_means, (methods, draws), rounds=ROUNDS)


def test_a_whole_comparison(benchmark, methods):
    """Reading the table, 66 tests with verdicts, rankings, and the bootstrap."""
    table = long_table(methods)
    draws = draw(methods, REPLICATES, 0)
    times, found, _ = interleaved(lambda: compare(table), lambda: plain_loop(methods, draws))
    assert len(found.pairs) == ARCHITECTURES * (ARCHITECTURES - 1) // 2
    tell(benchmark, "statistics.compare", times)
    benchmark.pedantic(compare, (table,), rounds=1)
