"""Bootstrap intervals against scipy, given draws, and R."""

from __future__ import annotations

import numpy as np
import pytest
from references import close

from kitsbench import statistics as ks
from kitsbench.errors import UsageError


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
