"""Cells of the grid: what is counted, which cells there are, and the bands of some."""

from __future__ import annotations

from dataclasses import astuple, replace
from itertools import combinations

import numpy as np
import pytest
from score_tables import long_table

from kitsbench import statistics as ks
from kitsbench.statistics.calibration.classic import classic_test
from kitsbench.statistics.calibration.generators import GENERATORS
from kitsbench.statistics.calibration.grid import (
    FACTORS,
    covering_cells,
    full_grid,
    makes_sense,
    quick_grid,
)
from kitsbench.statistics.calibration.situation import measured
from kitsbench.statistics.calibration.study import BANDS, Cell, measure, outcomes
from kitsbench.statistics.design.scope import allows_verdict
from kitsbench.statistics.tests.moments import moments_of_many
from kitsbench.statistics.tests.twoway import two_way_test

FEW_RUNS = Cell("specification", 5, 1, 98, 3, "half noisy", "equal")
ONE_SEED = Cell("skewed", 12, 5, 42, 1, "0.02", "half ahead")
MISSES = Cell("misses alone", 2, 5, 210, 2, "0.01", "one ahead")


@pytest.mark.parametrize("cell", [FEW_RUNS, ONE_SEED, MISSES])
def test_cells_meet_their_bands(cell):
    found = measure(cell, 400, 3)
    assert found.passed
    banded = {name for name, rate in found.rates.items() if rate.passed is not None}
    assert {"differs", "any statement", "rank coverage"} <= banded
    assert all(0 <= r.low <= r.rate <= r.high <= 1 for r in found.rates.values())


def test_a_column_of_clusters_mends_what_two_scans_of_a_patient_do():
    without = Cell("two scans", 2, 5, 98, 2, "0.01", "equal")
    known = measure(replace(without, clusters=True), 2000, 0)
    unknown = measure(without, 2000, 0)
    assert known.passed
    assert known.rates["pair error"].passed
    assert unknown.rates["pair error"].low > 0.055
    assert unknown.rates["pair error"].passed is None  # a control has no band


def test_the_same_seed_gives_the_same_rates_and_another_seed_others():
    assert measure(FEW_RUNS, 60, 1) == measure(FEW_RUNS, 60, 1)
    assert measure(FEW_RUNS, 60, 1) != measure(FEW_RUNS, 60, 2)


@pytest.mark.parametrize(
    "cell",
    [
        Cell("specification", 4, 5, 60, 2, "0.01", "half ahead"),
        Cell("specification", 5, 2, 42, 2, "one noisy", "half ahead"),
        Cell("specification", 4, 5, 40, 1, "0.01", "one ahead"),
    ],
)
def test_what_is_counted_is_what_a_comparison_says(cell):
    """Single experiments as a user's table, one by one, against all of them at once."""
    # Large true gaps beside none, so that something is found.
    big = replace(cell.design, gaps=tuple(6 * gap for gap in cell.design.gaps))
    many = GENERATORS[cell.generator](np.random.default_rng(5), 6, big)
    fold = np.repeat(np.arange(big.folds), big.cases)
    counted = outcomes(many, big)
    said = 0
    for index, scores in enumerate(many):
        table = long_table(scores.reshape(big.architectures, -1, big.seeds), fold)
        found = ks.compare(table, margins=0.02)
        wrong = covered = 0
        for row in found.pairs:
            a, b = (int(row[side][4:]) for side in "ab")
            truth = big.gaps[a] - big.gaps[b]
            better = row["better"]
            said += better is not None
            right = better == row["a"] if truth > 0 else better == row["b"] and truth < 0
            wrong += better is not None and not right
            covered += row["ci_simultaneous_low"] <= truth <= row["ci_simultaneous_high"]
        assert counted["differs"][index] == (wrong > 0)
        assert counted["coverage"][index] == (covered == len(found.pairs))
        held = 0
        for row in found.ranking:
            own = big.gaps[int(row["architecture"][4:])]
            best = 1 + sum(gap > own for gap in big.gaps)
            last = sum(gap >= own for gap in big.gaps)
            held += row["rank_low"] <= best and last <= row["rank_high"]
        assert counted["rank coverage"][index] == (held == big.architectures)
    assert said


def test_the_classic_test_is_the_two_way_test():
    scores = GENERATORS["skewed"](np.random.default_rng(0), 5, FEW_RUNS.design)
    first, second = np.triu_indices(5, 1)
    for conservative in (False, True):
        found = classic_test(moments_of_many(scores), first, second, conservative)
        for index, y in enumerate(scores):
            for pair, (a, b) in enumerate(zip(first, second, strict=True)):
                one = two_way_test(list(y[a]), list(y[b]), conservative=conservative)
                assert found.estimate[index, pair] == pytest.approx(one.estimate)
                assert found.se[index, pair] == pytest.approx(one.se)
                assert found.df[index, pair] == pytest.approx(one.df)


def test_rates_are_judged_with_their_interval():
    few, many = np.zeros(100), np.zeros(10000)
    few[:8], many[:800] = 1, 1
    band = BANDS["differs"]
    # 8 % of a hundred may be 5 %; of ten thousand it is not.
    assert (measured(few, band).passed, measured(few, band).inside) == (True, False)
    assert measured(many, band).passed is False
    # Wilson's interval of 8 of 100, from its paper's formula as R's prop.test gives it.
    assert (measured(few).low, measured(few).high) == pytest.approx((0.0411, 0.1500), abs=5e-5)
    assert measured(many).passed is None
    # A share of many pairs varies less than an event.
    shares = np.tile([0.04, 0.06], 50)
    assert measured(shares).high - measured(shares).low < 0.01
    assert measured(np.ones(50), BANDS["coverage"]).inside


def test_the_grid_covers_every_pair_of_levels():
    cells = covering_cells()
    fields = [astuple(cell)[:-1] for cell in cells]
    for place, levels in enumerate(FACTORS):
        assert {cell[place] for cell in fields} == set(levels)
    seen = {
        (a, b, cell[a], cell[b]) for cell in fields for a, b in combinations(range(len(FACTORS)), 2)
    }
    lacking = {
        (a, b, x, y)
        for a, b in combinations(range(len(FACTORS)), 2)
        for x in FACTORS[a]
        for y in FACTORS[b]
        if (a, b, x, y) not in seen
    }
    # What is not there makes no sense: no verdict, cases that do not fill the folds, no halves.
    for a, b, x, y in lacking:
        assert (a, b) in {(2, 4), (2, 3), (1, 5), (1, 6), (0, 6)}, (a, b, x, y)
        if (a, b) == (2, 4):
            assert not allows_verdict(x, y)
        elif (a, b) == (2, 3):
            assert y // x < 3
    grid = full_grid()
    assert len(grid) == len(set(grid))
    assert all(makes_sense(cell) for cell in grid if cell.generator != "two scans")
    assert len(quick_grid()) == 20
