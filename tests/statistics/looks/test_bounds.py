"""Bounds of looks against published tables and against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from kitsbench.look import SPENDING
from kitsbench.statistics.looks.bounds import boundaries, crossings, next_bounds
from kitsbench.statistics.looks.spending import spent

FIFTHS = np.arange(1, 6) / 5


# gsDesign (sfLDOF, sfLDPocock, alpha 0.025 one-sided, k = 5) and ldbounds agree on these.
@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("obrien-fleming", (4.877, 3.357, 2.680, 2.290, 2.031)),
        ("pocock", (2.438, 2.427, 2.410, 2.397, 2.386)),
    ],
)
def test_bounds_are_those_of_lan_and_demets(kind, published):
    cumulative = spent(kind, np.array([0.05]), FIFTHS[:, None])
    assert boundaries(FIFTHS, cumulative)[:, 0] == pytest.approx(published, abs=6e-4)


# Jennison and Turnbull (2000), tables 2.1 and 2.3: alpha 0.05, two-sided, by number of looks.
@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    [(2, 2.178, 1.977), (3, 2.289, 2.004), (4, 2.361, 2.024), (5, 2.413, 2.040),
     (10, 2.555, 2.087)],
)  # fmt: skip
def test_the_constants_of_jennison_and_turnbull_spend_all_of_alpha(looks, pocock, obrien_fleming):
    times = np.arange(1.0, looks + 1)
    for bound in (np.full((looks, 1), pocock), obrien_fleming * np.sqrt(looks / times)[:, None]):
        below, above = crossings(times, -bound, bound)
        assert (below + above).sum() == pytest.approx(0.05, abs=1.5e-4)


def test_crossings_with_a_true_difference_agree_with_simulation():
    information = np.array([1.0, 2.5, 3.0, 7.0])
    lower = np.array([[-2.0], [-np.inf], [-1.0], [0.3]])
    upper = np.array([[2.5], [2.2], [np.inf], [1.9]])
    below, above = crossings(information, lower, upper, np.array([0.4]))
    rng = np.random.default_rng(0)
    steps = np.diff(information, prepend=0.0)
    score = (rng.standard_normal((400_000, 4)) * np.sqrt(steps) + 0.4 * steps).cumsum(axis=1)
    z = score / np.sqrt(information)
    inside = np.ones(len(z), dtype=bool)
    for k in range(4):
        low, high = inside & (z[:, k] <= lower[k]), inside & (z[:, k] >= upper[k])
        assert below[k, 0] == pytest.approx(low.mean(), abs=0.003)
        assert above[k, 0] == pytest.approx(high.mean(), abs=0.003)
        inside &= ~low & ~high


@pytest.mark.parametrize("kind", SPENDING)
def test_spending_rises_from_nothing_to_the_whole_level(kind):
    times = np.linspace(0, 1, 30)
    found = spent(kind, 0.05, times)
    assert found[0] == 0
    assert found[-1] == pytest.approx(0.05)
    assert (np.diff(found) >= 0).all()
    assert spent(kind, 0.05, 1.7) == pytest.approx(0.05)
    assert (spent(kind, 0.01, times) <= found).all()


def test_values_of_the_spending_functions_are_the_published_ones():
    # Lan and DeMets (1983), one side of 0.025: 2 - 2 Phi(2.2414 / sqrt(t)), 0.025 log(1 + 1.718 t).
    assert spent("obrien-fleming", 0.05, 0.5) == pytest.approx(2 * 0.001525, abs=2e-6)
    assert spent("pocock", 0.05, 0.5) == pytest.approx(2 * 0.015503, abs=2e-6)


def test_a_look_that_may_spend_nothing_has_no_bound_and_leaves_its_alpha_to_the_next():
    assert next_bounds([1.0], np.empty((0, 1)), np.array([1e-20]))[0] == np.inf
    without = boundaries([0.5, 1.0], np.array([[0.0], [0.05]]))
    assert without[:, 0] == pytest.approx([np.inf, 1.959964])


def test_looks_that_come_close_together_are_integrated_as_well():
    times = np.array([0.5, 0.99, 0.995, 1.0])
    bound = boundaries(times, spent("pocock", np.array([0.05]), times[:, None]))
    below, above = crossings(times, -bound, bound)
    assert (below + above).sum() == pytest.approx(0.05, abs=1e-5)
