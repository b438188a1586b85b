"""What the analysis states in one cell of the grid, and how often that is wrong.

The study calls the functions that ``kitsbench compare`` calls, on many experiments at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kitsbench.statistics.calibration.classic import classic_test, recommended_test
from kitsbench.statistics.calibration.generators import Design
from kitsbench.statistics.calibration.situation import (
    ALPHA,
    MARGIN,
    Band,
    Rates,
    Situation,
    gathered,
    measured,
)
from kitsbench.statistics.ranks.ranking import rank_bounds
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.families import adjust, exceeds_p
from kitsbench.statistics.tests.moments import moments_of_many
from kitsbench.statistics.tests.statements import margin_p, simultaneous, state, unseen

_SCORES_AT_ONCE = 1_000_000

TRUTHS = ("equal", "one ahead", "half ahead")

BANDS: dict[str, Band] = {
    "pair error": (None, 0.055),
    "differs": (None, 0.055),
    "any statement": (None, 0.06),
    "false equivalence": (None, 0.055),
    "coverage": (0.94, None),
    "rank coverage": (0.93, None),
}
"""What must hold in every cell, each for all pairs at once but for the first."""


@dataclass(frozen=True)
class Cell(Situation):
    """One situation of the grid.

    Its ``truth`` is one of :data:`TRUTHS`; who is ahead is ahead by the margin.

    Attributes
    ----------
    clusters : bool
        Whether the analysis knows which two scans are of one patient.
    """

    clusters: bool = False

    @property
    def gaps(self) -> tuple[float, ...]:
        """By architecture how far its true mean lies above the usual one."""
        ahead = {"equal": 0, "one ahead": 1, "half ahead": self.architectures // 2}
        return self.leading(ahead[self.truth])

    @property
    def bands(self) -> dict[str, Band]:
        """What must hold in this cell."""
        if self.generator == "two scans" and not self.clusters:
            return {}  # a control: what was done is wrong, and its rates are shown for that
        if self.generator == "skewed runs":
            return {}  # a limit: no test of a few runs can know of a tail that they do not show
        if self.generator == "misses alone":
            # One experiment in ten of 98 cases shows none of the misses that make the gap; no
            # interval can know of them. What is measured is that nothing false is stated.
            return {name: band for name, band in BANDS.items() if name != "coverage"}
        return BANDS


@dataclass(frozen=True)
class CellResult(Rates[Cell]):
    """The rates of one cell.

    By the names of :data:`BANDS`, and ``power`` of the first pair (named "better" and that is
    true), ``exceeds`` (falsely), ``within`` (truly); ``classic differs`` and ``classic power``: the
    same of two-way tests pair by pair.
    """

    kind: ClassVar[type[Situation]] = Cell


def measure(cell: Cell, experiments: int, random_seed: int) -> CellResult:
    """Simulate experiments of a cell and count what is stated wrongly.

    Parameters
    ----------
    cell : Cell
        The situation.
    experiments : int
        How many.
    random_seed : int
        The result is a function of it, of ``experiments`` and of the cell alone.
    """
    design = cell.design
    drawn = cell.drawn(experiments, random_seed, _SCORES_AT_ONCE)
    found = gathered(outcomes(scores, design, _clusters(cell, design)) for scores in drawn)
    bands = cell.bands
    rates = {name: measured(values, bands.get(name)) for name, values in found.items()}
    return CellResult(cell, experiments, rates)


def _clusters(cell: Cell, design: Design) -> NDArray[np.int64] | None:
    if not cell.clusters:
        return None
    scans = np.arange(design.folds * design.cases).reshape(design.folds, design.cases)
    return scans // 2


def outcomes(
    scores: Array, design: Design, clusters: NDArray[np.int64] | None = None
) -> dict[str, Array]:
    """Analyse experiments as a comparison does, and hold what is stated against the truth.

    Parameters
    ----------
    scores : ndarray, shape (experiments, architectures, folds, cases, seeds)
        Higher is better; a missed case scores 0.
    design : Design
        With the true gaps.
    clusters : ndarray of int, shape (folds, cases), optional
        Cluster of each case.

    Returns
    -------
    dict
        By name one value per experiment: 1 where it happened, 0 where not; of ``pair error`` and
        ``within`` the share of the pairs concerned.
    """
    moments = moments_of_many(scores, clusters)
    i, j = np.triu_indices(design.architectures, 1)
    found = recommended_test(moments, i, j)
    estimate, se, df = found.estimate, found.se, found.df
    p = exceeds_p(estimate, se, df, 0.0)
    missed = np.maximum(moments.mean[..., i], moments.mean[..., j])
    bound = unseen(ALPHA, estimate.shape[-1])
    margins = margin_p(estimate, se, df, found.skew, MARGIN, missed, moments.units, bound)
    differs, exceeds, within = state(p, *margins, ALPHA).made(ALPHA)
    gaps = np.array(design.gaps)
    truth = gaps[i] - gaps[j]
    null, apart = truth == 0, np.abs(truth) >= MARGIN
    right = differs & (np.sign(estimate) == np.sign(truth))
    wrong = (differs & ~right, exceeds, within & apart)  # no true gap exceeds the margin
    low, high = simultaneous(estimate, se, df, ALPHA, len(i), differs)
    counted = {
        "differs": wrong[0].any(axis=-1),
        "exceeds": wrong[1].any(axis=-1),
        "any statement": (wrong[0] | wrong[1] | wrong[2]).any(axis=-1),
        "coverage": ((low <= truth) & (truth <= high)).all(axis=-1),
        "rank coverage": _ranks_hold(differs & (estimate > 0), differs & (estimate < 0), gaps),
    }
    if null.any():
        counted["pair error"] = (p < ALPHA)[:, null].mean(axis=-1)
        counted["within"] = within[:, null].mean(axis=-1)
    if apart.any():
        counted["false equivalence"] = wrong[2].any(axis=-1)
        counted["power"] = right[:, _first_apart(truth)]
    if design.seeds > 1:
        alone = classic_test(moments, i, j)
        classic = adjust(exceeds_p(alone.estimate, alone.se, alone.df, 0.0)) < ALPHA
        if clusters is None:
            agrees = classic & (np.sign(estimate) == np.sign(truth))
            counted["classic differs"] = (classic & ~agrees).any(axis=-1)
            if apart.any():
                counted["classic power"] = agrees[:, _first_apart(truth)]
    return {name: values.astype(float) for name, values in counted.items()}


def _first_apart(truth: Array) -> int:
    return int(np.flatnonzero(truth != 0)[0])


def _ranks_hold(first: NDArray[np.bool_], second: NDArray[np.bool_], gaps: Array) -> Array:
    """Whether every rank interval holds all ranks that the true means allow; ties share theirs."""
    k = len(gaps)
    i, j = np.triu_indices(k, 1)
    better = np.zeros((*first.shape[:-1], k, k), dtype=bool)
    better[..., i, j], better[..., j, i] = first, second
    low, high = rank_bounds(better)
    ahead = gaps[:, None] > gaps
    true_low, true_high = rank_bounds(ahead)
    return np.asarray(((low <= true_low) & (true_high <= high)).all(axis=-1))
