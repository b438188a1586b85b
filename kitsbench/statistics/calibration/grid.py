"""Which cells of the grid are measured: the full cross would take days."""

from __future__ import annotations

from dataclasses import astuple
from itertools import combinations, product
from typing import Any

import numpy as np

from kitsbench.statistics.calibration.situation import SCATTERS
from kitsbench.statistics.calibration.study import TRUTHS, Cell
from kitsbench.statistics.design.scope import allows_verdict

FOLDS = (1, 2, 3, 5, 10)
SEEDS = (1, 2, 3, 5)
CASES = (16, 42, 98, 210, 489)
ARCHITECTURES = (2, 5, 12, 20)
KINDS = (
    "specification",
    "normal",
    "zero-inflated",
    "skewed",
    "heavy-tailed",
    "rare misses",
    "shared seeds",
    "misses alone",
)
FACTORS: tuple[tuple[Any, ...], ...] = (
    KINDS,
    ARCHITECTURES,
    FOLDS,
    CASES,
    SEEDS,
    tuple(SCATTERS),
    TRUTHS,
)
"""Levels of each factor, in the order of the fields of a cell."""

_FEWEST_CASES_OF_A_FOLD = 3


def makes_sense(cell: Cell) -> bool:
    """Whether a design allows a verdict, has three cases a fold, and a gap where misses make one.

    Two architectures have no half: one of them is ahead.
    """
    return (
        allows_verdict(cell.folds, cell.seeds)
        and cell.cases // cell.folds >= _FEWEST_CASES_OF_A_FOLD
        and not (cell.generator == "misses alone" and cell.truth == "equal")
        and not (cell.architectures == 2 and "half" in cell.truth + cell.scatter)
    )


def covering_cells() -> list[Cell]:
    """Choose cells that hold every pair of levels of two factors which makes sense together.

    Greedy: always the cell with the most pairs that are still missing; among equals the one with
    the fewest scores.
    """
    cells = [cell for cell in (Cell(*levels) for levels in product(*FACTORS)) if makes_sense(cell)]
    cells.sort(key=lambda cell: cell.cost)
    levels = np.array(
        [
            [FACTORS[place].index(value) for place, value in enumerate(astuple(cell)[:-1])]
            for cell in cells
        ]
    )
    pairs = list(combinations(range(len(FACTORS)), 2))
    widest = max(map(len, FACTORS))
    at = np.stack([levels[:, a] * widest + levels[:, b] for a, b in pairs], axis=1)
    missing = np.zeros((len(pairs), widest**2), dtype=bool)
    for place in range(len(pairs)):
        missing[place, at[:, place]] = True
    rows = np.arange(len(pairs))
    chosen = []
    while missing.any():
        best = int(missing[rows, at].sum(axis=1).argmax())
        chosen.append(cells[best])
        missing[rows, at[best]] = False
    return chosen


def hard_cells() -> list[Cell]:
    """Corners in which tests err first: few runs, runs that scatter unequally, many pairs."""
    few_runs = ((1, 3), (1, 5), (2, 2), (2, 3), (3, 2), (5, 1), (5, 2), (5, 3), (10, 1))
    cells = [
        Cell("specification", k, folds, 98, seeds, scatter, "equal")
        for (folds, seeds), k, scatter in product(
            few_runs, (2, 5, 12), ("0.01", "0.05", "half noisy", "one noisy")
        )
    ]
    # Runs of which a few are much worse, beside runs that do not scatter: three that lie together
    # do not show what the others would.
    cells += [
        Cell("skewed runs", k, folds, 98, seeds, scatter, "equal")
        for (folds, seeds), k, scatter in product(
            ((1, 3), (1, 5), (2, 2), (2, 3), (3, 2), (5, 2)), (2, 5), ("half noisy", "one noisy")
        )
    ]
    # A gap that is the margin: whatever is said of it beyond that there is one, is wrong.
    at_margin = ((3, 5, 98), (2, 5, 210), (5, 5, 210), (3, 5, 489), (5, 5, 489), (12, 5, 210))
    cells += [
        Cell(kind, k, folds, cases, 3, "0.01", truth)
        for kind, (k, folds, cases), truth in product(
            ("specification", "normal", "rare misses", "misses alone"), at_margin, TRUTHS[1:]
        )
    ]
    # The smallest designs, by kinds of scores.
    cells += [
        Cell(kind, 5, folds, cases, seeds, "0.02", "equal")
        for kind, (folds, cases, seeds) in product(
            KINDS[2:7], ((1, 16, 3), (2, 16, 2), (5, 16, 2), (5, 16, 1), (5, 98, 2))
        )
    ]
    return [cell for cell in cells if makes_sense(cell)]


def power_cells() -> list[Cell]:
    """Designs in which tests pair by pair held, to see whether the joint analysis finds as much."""
    return [
        Cell("specification", k, 5, 210, seeds, scatter, "one ahead")
        for k, seeds, scatter in product((2, 5, 12), (2, 3, 5), ("0.01", "0.02"))
    ]


def cluster_cells() -> list[Cell]:
    """Two scans of each patient, analysed with the column that says so and without."""
    designs = ((1, 98, 3), (5, 98, 2), (5, 210, 2), (5, 210, 1), (5, 489, 3))
    return [
        Cell("two scans", k, folds, cases, seeds, "0.01", "equal", known)
        for (folds, cases, seeds), k, known in product(designs, (2, 5), (False, True))
    ]


def full_grid() -> list[Cell]:
    """All cells of ``kitsbench calibrate``, each once."""
    groups = (power_cells(), cluster_cells(), hard_cells(), covering_cells())
    return list(dict.fromkeys(cell for group in groups for cell in group))


def quick_grid() -> list[Cell]:
    """Twenty cells for ``kitsbench calibrate --quick``: a design, a trap or a kind of each sort."""
    spec = "specification"
    return [
        Cell(spec, 2, 5, 210, 2, "0.01", "one ahead"),
        Cell(spec, 5, 5, 210, 3, "0.01", "half ahead"),
        Cell(spec, 5, 5, 98, 1, "0.02", "equal"),
        Cell(spec, 12, 1, 98, 3, "0.02", "equal"),
        Cell(spec, 5, 1, 16, 3, "0.01", "equal"),
        Cell(spec, 5, 2, 42, 2, "one noisy", "equal"),
        Cell(spec, 2, 2, 98, 2, "one noisy", "equal"),
        Cell(spec, 12, 5, 98, 2, "half noisy", "equal"),
        Cell(spec, 20, 3, 42, 2, "0.05", "equal"),
        Cell("normal", 3, 5, 98, 3, "0.01", "one ahead"),
        Cell("zero-inflated", 5, 5, 42, 2, "0.02", "equal"),
        Cell("skewed", 5, 1, 98, 3, "0.02", "equal"),
        Cell("skewed", 12, 10, 42, 1, "0.05", "equal"),
        Cell("heavy-tailed", 5, 3, 42, 2, "0.02", "equal"),
        Cell("rare misses", 5, 5, 98, 2, "0.01", "equal"),
        Cell("shared seeds", 5, 2, 98, 3, "0.02", "equal"),
        Cell("misses alone", 2, 5, 210, 3, "0.01", "one ahead"),
        Cell("misses alone", 5, 5, 489, 2, "0.02", "half ahead"),
        Cell("two scans", 2, 5, 98, 2, "0.01", "equal"),
        Cell("two scans", 2, 5, 98, 2, "0.01", "equal", True),
    ]
