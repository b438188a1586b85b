"""Simulated scores of every kind: their true means, zeros and scatter."""

from __future__ import annotations

import numpy as np
import pytest

from kitsbench.statistics.calibration.generators import GENERATORS, Design
from kitsbench.statistics.calibration.latent import mean_dice, shift_for
from kitsbench.statistics.calibration.simulation import GAP_SHIFTS, simulate

TAU = (0.0, 0.05, 0.02)
GAPS = (0.02, 0.0, 0.02)


def drawn(kind, *, tau=TAU, gaps=GAPS, replicates=800, cases=20):
    design = Design(2, cases, 3, tau, gaps)
    return GENERATORS[kind](np.random.default_rng(4), replicates, design)


@pytest.mark.parametrize("kind", GENERATORS)
def test_gaps_between_means_are_as_said_whatever_the_scatter(kind):
    scores = drawn(kind)
    assert scores.shape == (800, 3, 2, 20, 3)
    means = scores.mean(axis=(2, 3, 4))
    for a, b, gap in ((0, 1, 0.02), (0, 2, 0.0), (2, 1, 0.02)):
        difference = means[:, a] - means[:, b]
        error = difference.std() / np.sqrt(len(difference))
        assert error < 0.003
        assert abs(difference.mean() - gap) < 4 * error


@pytest.mark.parametrize("kind", [kind for kind in GENERATORS if kind != "specification"])
def test_the_means_of_training_runs_scatter_as_said(kind):
    # Many cases, so that little of what varies between runs is the cases'.
    scores = drawn(kind, tau=(0.05, 0.0), gaps=(0.0, 0.0), replicates=150, cases=200)
    runs = scores.mean(axis=3)
    noisy, still = runs.std(axis=-1, ddof=1).transpose(1, 0, 2).reshape(2, -1)
    assert np.sqrt((noisy**2).mean()) == pytest.approx(0.05, rel=0.15)
    assert np.sqrt((still**2).mean()) < 0.015


def test_zeros_and_tails():
    assert (drawn("zero-inflated") == 0).mean() == pytest.approx(0.1515, abs=0.005)
    assert (drawn("rare misses") == 0).mean() == pytest.approx(0.03, abs=0.003)
    misses = (drawn("misses alone") == 0).mean(axis=(0, 2, 3, 4))
    assert misses == pytest.approx([0, 0.02 / 0.85, 0], abs=0.003)
    # A miss is one of the architecture, in all its runs.
    missed = drawn("rare misses") == 0
    assert (missed.any(axis=-1) == missed.all(axis=-1)).all()

    def third(kind):
        scores = drawn(kind, tau=(0.0,) * 3, gaps=(0.0,) * 3, replicates=400)
        noise = (scores - scores.mean(axis=-1, keepdims=True)).ravel()
        return (noise**3).mean() / noise.std() ** 3, (noise**4).mean() / noise.var() ** 2

    normal, skewed, heavy = map(third, ("normal", "skewed", "heavy-tailed"))
    assert abs(normal[0]) < 0.05
    assert normal[1] == pytest.approx(3, abs=0.1)
    assert skewed[0] < -0.5
    assert heavy[1] > 4


def test_runs_share_their_luck_only_where_they_share_seeds():
    def correlation(kind):
        scores = drawn(kind, tau=(0.05, 0.05), gaps=(0.0, 0.0), replicates=300, cases=100)
        runs = scores.mean(axis=3)
        runs = (runs - runs.mean(axis=-1, keepdims=True)).transpose(1, 0, 2, 3).reshape(2, -1)
        return np.corrcoef(runs)[0, 1]

    assert abs(correlation("normal")) < 0.08
    assert correlation("shared seeds") == pytest.approx(0.5, abs=0.08)


def test_scans_of_a_patient_are_alike():
    scores = drawn("two scans", tau=(0.0, 0.0), gaps=(0.0, 0.0)).mean(axis=-1)
    differences = scores[:, 0] - scores[:, 1]
    first, second, other = (differences[..., at::4].ravel() for at in (0, 1, 2))
    assert np.corrcoef(first, second)[0, 1] > 0.5
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.05


def test_the_exact_mean_is_that_of_the_simulation():
    for tau, shift in ((0.0, 0.0), (0.05, 0.3)):
        scores = simulate(np.random.default_rng(1), 1000, tau=tau, shifts=[shift, shift])
        means = scores.mean(axis=(1, 2, 3, 4))
        error = means.std() / np.sqrt(len(means))
        assert abs(means.mean() - mean_dice(shift, tau)) < 4 * error
    # The shifts of the independent implementation, found by simulation.
    for gap, shift in GAP_SHIFTS.items():
        assert shift_for(gap, 0.0) == pytest.approx(shift, abs=1e-3)
