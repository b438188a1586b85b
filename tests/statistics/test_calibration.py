"""Error rates on simulated KiTS-like scores: what the tests promise, and what naive ones do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from score_tables import simulate

from kitsbench.statistics import best_test, equivalence_p

REPLICATES = 1000


def p_values(scores):
    """One p-value per replicate; ``scores`` as :func:`simulate` gives them."""
    return np.array([best_test(a, b).p_value for a, b in scores])


@pytest.mark.parametrize("tau", [0.0, 0.01, 0.02])
@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_architectures_differ_in_five_percent_of_studies(seeds, tau):
    scores = simulate(np.random.default_rng([seeds, int(1000 * tau)]), REPLICATES, tau=tau,
                      seeds=seeds)  # fmt: skip
    rate = np.mean(p_values(scores) < 0.05)
    # 3 to 6.5 % is the acceptance band; 1.4 points are two Monte-Carlo standard errors.
    assert 0.03 - 0.014 < rate < 0.065 + 0.014


@pytest.mark.parametrize(("tau", "inflated"), [(0.01, 0.12), (0.02, 0.30)])
def test_the_simulation_would_catch_a_test_over_cases(tau, inflated):
    scores = simulate(np.random.default_rng(5), REPLICATES, seeds=1, tau=tau)
    d = (scores[:, 0] - scores[:, 1]).reshape(REPLICATES, -1)
    p = stats.wilcoxon(d, axis=1, method="asymptotic").pvalue
    assert np.mean(p < 0.05) > inflated - 0.02


def test_power_and_coverage(shared):
    targets = json.loads((shared / "golden" / "calibration_targets.json").read_text())
    key = "C3: 5-fold CV 210 cases, S=3|run.01|gap0.02|two-way case x run (MRMC) t"
    scores = simulate(np.random.default_rng(6), REPLICATES, gap=0.02)
    found = [best_test(a, b) for a, b in scores]
    power = np.mean([result.p_value < 0.05 for result in found])
    assert power == pytest.approx(targets["rates"][key], abs=0.04)
    coverage = np.mean([result.ci_low <= 0.02 <= result.ci_high for result in found])
    assert 0.93 < coverage < 0.97
    equivalent = [equivalence_p(r.estimate, r.se, r.df, -0.02, 0.02) < 0.05 for r in found]
    assert np.mean(equivalent) <= 0.065 + 0.014


@pytest.mark.parametrize("tau", [0.01, 0.02])
def test_holm_holds_the_family_of_five_equal_architectures(tau):
    studies = 200
    scores = simulate(np.random.default_rng(7), studies, architectures=5, tau=tau)
    pairs = [(i, j) for i in range(5) for j in range(i)]
    # Holm rejects something exactly if the smallest p-value, times their number, is below alpha.
    smallest = [min(best_test(study[i], study[j]).p_value for i, j in pairs) for study in scores]
    # 6.5 % is the acceptance bound, 3.1 points two standard errors of 200 studies.
    assert np.mean(np.array(smallest) * len(pairs) < 0.05) <= 0.065 + 0.031
