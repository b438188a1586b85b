"""Error rates on simulated scores: what the tests promise, and what naive ones do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kitsbench.errors import UsageError
from kitsbench.statistics.calibration.benchmark import calibrate
from kitsbench.statistics.calibration.simulation import GAP_SHIFTS, simulate

RECOMMENDED = ("two-way case x run t", "fold t")


@pytest.fixture(scope="module")
def quick():
    return calibrate(quick=True)


def rates(found, quantity, **where):
    return [
        rate
        for rate in found.rates
        if rate.quantity == quantity and all(getattr(rate, k) == v for k, v in where.items())
    ]


def test_the_quick_benchmark_meets_its_bands(quick):
    missed = [rate for rate in quick.rates if rate.passed is False]
    assert not missed
    assert quick.passed
    assert json.loads(json.dumps(quick.to_dict(), allow_nan=False))["passed"]
    # Every kind of promise is measured, on both recommended tests and at each seed SD.
    kinds = {"false positives", "power", "coverage", "false equivalence", "family-wise error"}
    assert {rate.quantity for rate in quick.rates if rate.passed} == kinds
    for name in RECOMMENDED:
        assert [r.tau for r in rates(quick, "false positives", procedure=name)] == [0, 0.01, 0.02]


def test_plans_keep_what_they_promise(quick):
    assert {kept.request.generator for kept in quick.promises} == {"specification", "normal"}
    for kept in quick.promises:
        assert kept.gap > 0.02
        assert abs(kept.found.rate - kept.request.power) < 0.08
    # A plan for scores that scatter half as much would not pass.
    from kitsbench.statistics.calibration import promises

    request = promises.quick_requests()[1]
    small = replace(promises.pilot("normal", 0.02), case_sd=0.03, noise_sd=0.03, seed_sd=0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(promises, "pilot", lambda *_: small)
        assert promises.promise(request, 400, 0).found.passed is False


def test_naive_tests_come_out_inflated(quick):
    wilcoxon = {r.tau: r for r in rates(quick, "false positives",
                                        procedure="Wilcoxon over cases, one seed")}  # fmt: skip
    # Without effects of the training run there is nothing to inflate them.
    assert wilcoxon[0.0].rate < 0.08
    assert wilcoxon[0.01].low == 0.12
    assert wilcoxon[0.02].low == 0.30
    pooled = rates(quick, "false positives", procedure="Wilcoxon over case x seed rows", tau=0.02)
    assert (pooled[0].low, pooled[0].passed) == (0.20, True)


def test_a_generator_without_training_runs_cannot_pass(monkeypatch):
    from kitsbench.statistics.calibration import benchmark
    from kitsbench.statistics.calibration import rates as calibration

    def still(rng, replicates, tau=0.0, **design):
        return simulate(rng, replicates, tau=0.0, **design)

    monkeypatch.setattr(calibration, "simulate", still)
    cells = [c for c in calibration.quick_cells() if c.tau == 0.02 and c.seeds == 3]
    monkeypatch.setattr(calibration, "quick_cells", lambda: cells)
    monkeypatch.setattr(calibration, "family_rates", lambda *_: [])
    monkeypatch.setattr(benchmark, "quick_grid", lambda: [])
    assert not calibrate(200, quick=True).passed


def test_the_bands_are_those_of_the_targets(shared, quick):
    targets = json.loads((shared / "golden" / "calibration_targets.json").read_text())
    assert {str(gap): shift for gap, shift in GAP_SHIFTS.items()} == targets["latent_shift_for_gap"]
    power = rates(quick, "power", procedure="two-way case x run t")[0]
    key = "C3: 5-fold CV 210 cases, S=3|run.01|gap0.02|two-way case x run (MRMC) t"
    assert (power.low + power.high) / 2 == pytest.approx(targets["rates"][key])
    assert power.high - power.low == pytest.approx(0.08)


def test_the_generator_looks_as_described():
    scores = simulate(np.random.default_rng(0), 200, seeds=3)
    assert scores.shape == (200, 2, 5, 42, 3)
    assert scores.mean() == pytest.approx(0.826, abs=0.01)
    assert scores.std() == pytest.approx(0.21, abs=0.01)
    assert np.median(scores) == pytest.approx(0.90, abs=0.01)
    assert (scores == 0).mean() == pytest.approx(0.04, abs=0.01)
    first, second = scores[:, 0, :, :, 0].ravel(), scores[:, 1, :, :, 0].ravel()
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.82, abs=0.02)
    assert (first - second).std() == pytest.approx(0.129, abs=0.005)
    means = {
        gap: simulate(np.random.default_rng(1), 200, shifts=shift).mean(axis=(0, 2, 3, 4))
        for gap, shift in GAP_SHIFTS.items()
    }
    for gap, (better, other) in means.items():
        assert better - other == pytest.approx(gap, abs=0.004)
    # A training set is shared by the seeds of a fold and, by three quarters, by other folds.
    train = simulate(np.random.default_rng(2), 400, tau=0, tau_train=0.05).mean(axis=(3, 4))
    folds = train[:, 0] - train[:, 1]
    assert np.corrcoef(folds[:, 0], folds[:, 1])[0, 1] == pytest.approx(0.68, abs=0.1)


def test_the_same_seed_gives_the_same_rates():
    from kitsbench.statistics.calibration import rates as calibration

    cell = calibration.Cell(1, 10, 2, 0.01, 0.0, 0.0, ("two-way, conservative",))
    assert calibration.measure_rates(cell, 60, 1, 0) == calibration.measure_rates(cell, 60, 1, 0)
    with pytest.raises(UsageError, match="20 replicates; error rates need at least 50"):
        calibrate(20)
