"""The false-positive benchmark: how often each test errs where the truth is known.

Scores of equal and unequal architectures are simulated
(:mod:`kitsbench.statistics.calibration.simulation`), the project's own tests and the usual naive
ones are run on them, and what is found is held against acceptance bands. The naive tests must come
out inflated: a simulation without effects of the training run could not tell an honest test from
another, and must not pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kitsbench.statistics.calibration import procedures as tests
from kitsbench.statistics.calibration.simulation import GAP_SHIFTS, simulate
from kitsbench.statistics.tests.families import within_p
from kitsbench.statistics.tests.folds_and_cases import FOLD_T
from kitsbench.statistics.tests.twoway import TWO_WAY

ERROR_BAND = (0.03, 0.065)
COVERAGE_BAND = (0.93, 0.97)
MOST_FALSE = 0.065
POWER_TOLERANCE = 0.04
MARGIN = 0.02
_CHUNK = 250
_FAMILY = 5
FAMILY_SHARE = 2  # families are ten pairs each, so they get half as many experiments

# Lowest rates at which a naive test counts as reproduced, by the seed SD (tau).
_INFLATED = {
    ("Wilcoxon over cases, one seed", 0.01): 0.12,
    ("Wilcoxon over cases, one seed", 0.02): 0.30,
    ("Wilcoxon over case x seed rows", 0.01): 0.20,
    ("Wilcoxon over case x seed rows", 0.02): 0.20,
}
# Rejection rates at a true gap that an independent implementation found in 4000 replicates:
# (folds, cases of a fold, seeds) -> (tau, gap) -> power of the test recommended for that design.
_POWER: dict[tuple[int, int, int], dict[tuple[float, float], float]] = {
    (5, 42, 3): {(0.01, 0.02): 0.74425, (0.02, 0.02): 0.5125, (0.01, 0.05): 1.0},
    (5, 42, 1): {(0.01, 0.02): 0.317, (0.02, 0.02): 0.1805, (0.01, 0.05): 0.953},
    (5, 42, 2): {(0.01, 0.02): 0.6346666666666667, (0.02, 0.02): 0.407},
    (5, 42, 5): {(0.01, 0.02): 0.81725, (0.02, 0.02): 0.661},
    (1, 42, 3): {(0.01, 0.02): 0.191, (0.02, 0.02): 0.12925, (0.01, 0.05): 0.82575},
}
_SINGLE_SPLIT = tuple(
    name for name in (*tests.OWN, *tests.NAIVE) if "fold" not in name and "bootstrap" not in name
)


@dataclass(frozen=True)
class Cell:
    """One simulated situation: design, spread, true gap, and what is run on it."""

    folds: int
    cases: int
    seeds: int
    tau: float
    tau_train: float
    gap: float
    procedures: tuple[str, ...]


@dataclass(frozen=True)
class Rate:
    """One measured rate.

    Attributes
    ----------
    quantity : str
        ``false positives``, ``power``, ``family-wise error``, ``coverage`` or
        ``false equivalence``.
    procedure : str
        What was run.
    own : bool
        Whether it is this project's, not a control.
    folds, cases, seeds : int
        Design; ``cases`` over all folds.
    tau, tau_train, gap : float
        Seed SD and training-set SD of a fold mean, true gap in mean Dice.
    rate, se : float
        Measured rate and its Monte-Carlo standard error.
    replicates : int
        Experiments.
    low, high : float or None
        Acceptance band; None where none is set.
    passed : bool or None
        Whether the rate lies in its band, or no further outside than two Monte-Carlo standard
        errors; None without a band.
    inside : bool or None
        Whether it lies in the band itself.
    """

    quantity: str
    procedure: str
    own: bool
    folds: int
    cases: int
    seeds: int
    tau: float
    tau_train: float
    gap: float
    rate: float
    se: float
    replicates: int
    low: float | None
    high: float | None
    passed: bool | None
    inside: bool | None


def all_cells() -> list[Cell]:
    """Situations of the whole benchmark."""
    every = (*tests.OWN, *tests.NAIVE)
    one_seed = (FOLD_T, "Nadeau-Bengio over folds (scope L2)",
                "Wilcoxon over cases, one seed", "paired t over cases, one seed")  # fmt: skip
    spreads = ((0.0, 0.0), (0.01, 0.0), (0.02, 0.0), (0.01, 0.01))
    gaps = ((0.01, 0.02), (0.02, 0.02), (0.01, 0.05))
    cells = [Cell(5, 42, 3, tau, train, 0.0, every) for tau, train in spreads]
    cells += [Cell(5, 42, 3, tau, 0.0, gap, every) for tau, gap in gaps]
    cells += [Cell(5, 42, 1, tau, train, 0.0, one_seed) for tau, train in spreads]
    cells += [Cell(5, 42, 1, tau, 0.0, gap, one_seed) for tau, gap in gaps]
    for seeds in (2, 5):
        cells += [Cell(5, 42, seeds, tau, 0.0, 0.0, (TWO_WAY,)) for tau in (0.0, 0.01, 0.02)]
        cells += [Cell(5, 42, seeds, tau, 0.0, 0.02, (TWO_WAY,)) for tau in (0.01, 0.02)]
    cells += [Cell(1, 42, 3, tau, 0.0, 0.0, _SINGLE_SPLIT) for tau in (0.0, 0.01, 0.02)]
    cells += [Cell(1, 42, 3, tau, 0.0, gap, _SINGLE_SPLIT) for tau, gap in gaps]
    return cells


def quick_cells() -> list[Cell]:
    """What has a band, on the default design."""
    controls = ("Wilcoxon over cases, one seed", "Wilcoxon over case x seed rows")
    cells = [Cell(5, 42, 3, tau, 0.0, 0.0, (TWO_WAY, *controls)) for tau in (0.0, 0.01, 0.02)]
    cells += [Cell(5, 42, 1, tau, 0.0, 0.0, (FOLD_T,)) for tau in (0.0, 0.01, 0.02)]
    cells += [Cell(5, 42, 3, 0.01, 0.0, 0.02, (TWO_WAY,))]
    return [*cells, Cell(5, 42, 1, 0.01, 0.0, 0.05, (FOLD_T,))]


def _chunks(
    replicates: int, random_seed: int, index: int, **design: Any
) -> Iterator[NDArray[np.float64]]:
    """Simulated scores, a few hundred experiments at a time, so that memory stays small."""
    for chunk, first in enumerate(range(0, replicates, _CHUNK)):
        rng = np.random.default_rng([random_seed, index, chunk])
        yield simulate(rng, min(_CHUNK, replicates - first), **design)


def measure_rates(cell: Cell, replicates: int, random_seed: int, index: int) -> list[Rate]:
    """Run the procedures of a cell on simulated experiments.

    Parameters
    ----------
    cell : Cell
        The situation.
    replicates, random_seed, index : int
        Experiments; the random numbers are a function of all three.
    """
    known = {**tests.OWN, **tests.NAIVE}
    hits: dict[str, int] = dict.fromkeys(cell.procedures, 0)
    covered = equivalent = 0
    chunks = _chunks(
        replicates, random_seed, index, folds=cell.folds, cases=cell.cases, seeds=cell.seeds,
        tau=cell.tau, tau_train=cell.tau_train, shifts=GAP_SHIFTS[cell.gap],
    )  # fmt: skip
    for scores in chunks:
        for name in cell.procedures:
            if name != TWO_WAY:
                hits[name] += int(known[name](scores).sum())
                continue
            found = tests.two_way_results(scores)
            hits[name] += int((tests.p_values(found) < tests.ALPHA).sum())
            half = special.stdtrit(found.df, 1 - tests.ALPHA / 2) * found.se
            covered += int((np.abs(found.estimate - cell.gap) <= half).sum())
            # One-sided, at alpha: two one-sided tests, as the independent implementation had them.
            within = within_p(found.estimate, found.se, found.df, MARGIN, found.skew) / 2
            equivalent += int((within < tests.ALPHA).sum())
    quantity = "power" if cell.gap else "false positives"
    rates = []
    for name in cell.procedures:
        band = _band(cell, name)
        own = name in tests.OWN
        rates.append(_rate(quantity, name, own, cell, hits[name], replicates, *band))
    usual = cell.folds == 5 and cell.seeds == 3 and not cell.tau_train
    if TWO_WAY in cell.procedures and usual and cell.tau:
        rates.append(
            _rate("coverage", "two-way 95 % interval", True, cell, covered, replicates,
                  *COVERAGE_BAND)
        )  # fmt: skip
        if cell.gap == MARGIN:
            rates.append(
                _rate("false equivalence", "two one-sided tests, margin 0.02", True, cell,
                      equivalent, replicates, None, MOST_FALSE)
            )  # fmt: skip
    return rates


def _band(cell: Cell, name: str) -> tuple[float | None, float | None]:
    recommended = TWO_WAY if cell.seeds > 1 else FOLD_T
    if name == recommended and not cell.tau_train:
        if not cell.gap:
            return ERROR_BAND
        power = _POWER[cell.folds, cell.cases, cell.seeds][cell.tau, cell.gap]
        return power - POWER_TOLERANCE, min(1.0, power + POWER_TOLERANCE)
    if not cell.gap and not cell.tau_train:
        return _INFLATED.get((name, cell.tau)), None
    return None, None


def family_rates(tau: float, replicates: int, random_seed: int, index: int) -> list[Rate]:
    """Measure whether anything at all is found between five equal architectures.

    Parameters
    ----------
    tau : float
        SD of a fold mean between training runs.
    replicates, random_seed, index : int
        As for :func:`measure_rates`.
    """
    procedures: dict[str, tuple[bool, tests.Procedure]] = {
        f"{TWO_WAY}, all jointly, Holm": (True, tests.family_joint_holm),
        f"{FOLD_T}, Holm": (True, tests.family_folds_holm),
        "Wilcoxon over cases, one seed": (False, lambda y: tests.family_wilcoxon(y, None)),
        "Wilcoxon over cases, one seed, Holm": (
            False,
            lambda y: tests.family_wilcoxon(y, "holm"),
        ),
        "Friedman and Nemenyi, one seed": (False, tests.family_nemenyi),
    }
    hits = dict.fromkeys(procedures, 0)
    for scores in _chunks(replicates, random_seed, index, architectures=_FAMILY, tau=tau):
        for name, (_, procedure) in procedures.items():
            hits[name] += int(procedure(scores).sum())
    cell = Cell(5, 42, 3, tau, 0.0, 0.0, tuple(procedures))
    return [
        _rate("family-wise error", name, own, cell, hits[name], replicates,
              None, MOST_FALSE if own else None)
        for name, (own, _) in procedures.items()
    ]  # fmt: skip


def _rate(
    quantity: str,
    procedure: str,
    own: bool,
    cell: Cell,
    hits: int,
    replicates: int,
    low: float | None,
    high: float | None,
) -> Rate:
    rate = hits / replicates
    passed = inside = None
    if low is not None or high is not None:
        inside = (low is None or rate >= low) and (high is None or rate <= high)
        above = low is None or rate >= low - _allowance(low, replicates)
        below = high is None or rate <= high + _allowance(high, replicates)
        passed = above and below
    return Rate(
        quantity, procedure, own, cell.folds, cell.folds * cell.cases, cell.seeds, cell.tau,
        cell.tau_train, cell.gap, rate, math.sqrt(rate * (1 - rate) / replicates), replicates,
        low, high, passed, inside,
    )  # fmt: skip


def _allowance(bound: float, replicates: int) -> float:
    """Two Monte-Carlo standard errors: closer than that, a rate is not told from its bound."""
    return 2 * math.sqrt(bound * (1 - bound) / replicates)
