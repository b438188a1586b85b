"""Timing two ways to do something in turn, so that a busy machine slows both alike."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from benchmarks.promises import note


def measure_in_turn(
    benchmark,
    ours: Callable[[], object],
    peer: Callable[[], object],
    name: str,
    threads: int,
    rounds: int = 7,
    key: str = "",
) -> float:
    """Time both, one call each a round, and note medians, quartiles and the ratio of medians.

    With a key of :mod:`benchmarks.promises` the ratios of the rounds are kept there.

    Returns
    -------
    float
        How many times as fast ours is.
    """
    peer()
    theirs: list[float] = []

    def before() -> None:
        began = time.perf_counter()
        peer()
        theirs.append(time.perf_counter() - began)

    benchmark.pedantic(ours, setup=before, rounds=rounds, warmup_rounds=1)
    own = benchmark.stats.stats.sorted_data
    found = {"ours": np.percentile(own, (25, 50, 75)), name: np.percentile(theirs, (25, 50, 75))}
    ratio = float(found[name][1] / found["ours"][1])
    for who, (low, median, high) in found.items():
        benchmark.extra_info[f"{who}_ms"] = [round(1000 * t, 2) for t in (low, median, high)]
    benchmark.extra_info |= {"ratio": ratio, "threads": threads}
    each = np.array(theirs[-len(own) :]) / np.array(benchmark.stats.stats.data)
    if key:
        note(key, each.tolist())
    low, high = np.percentile(each, (25, 75))
    print(
        f"\n{benchmark.name}: "
        + ", ".join(
            f"{who} {m * 1000:.1f} ms ({a * 1000:.1f}-{b * 1000:.1f})"
            for who, (a, m, b) in found.items()
        )
        + f"; {ratio:.2f} times as fast (quartiles of the rounds {low:.2f}-{high:.2f})"
    )
    return ratio
