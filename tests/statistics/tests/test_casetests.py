"""Wilcoxon and sign flips against scipy and R."""

from __future__ import annotations

import numpy as np
import pytest
from references import close

from kitsbench import statistics as ks
from kitsbench.statistics.tests.casetests import sign_flip_test, wilcoxon_test


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
