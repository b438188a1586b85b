"""What the analysis states in one cell of the grid, and how often that is wrong.

The study calls the functions that ``kitsbench compare`` calls, on many experiments at once.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitsbench.statistics.calibration.classic import classic_test, recommended_test
from kitsbench.statistics.calibration.generators import GENERATORS, Design
from kitsbench.statistics.ranks.ranking import rank_bounds
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.families import adjust, exceeds_p
from kitsbench.statistics.tests.moments import moments_of_many
from kitsbench.statistics.tests.statements import margin_p, simultaneous, state, unseen

ALPHA = 0.05
MARGIN = 0.02
_SCORES_AT_ONCE = 1_000_000
_Z = 1.959963984540054  # of a 95 % interval

NOISY = 0.05
SCATTERS = {"0.01": 0.01, "0.02": 0.02, "0.05": 0.05, "half noisy": 0.0, "one noisy": 0.0}
"""SD of a fold mean between runs; where some are noisy (0.05), that of the others."""
TRUTHS = ("equal", "one ahead", "half ahead")

BANDS: dict[str, tuple[float | None, float | None]] = {
    "pair error": (None, 0.055),
    "differs": (None, 0.055),
    "any statement": (None, 0.06),
    "false equivalence": (None, 0.055),
    "coverage": (0.94, None),
    "rank coverage": (0.93, None),
}
"""What must hold in every cell, each for all pairs at once but for the first."""


@dataclass(frozen=True)
class Cell:
    """One simulated situation.

    Attributes
    ----------
    generator : str
        One of :data:`~kitsbench.statistics.calibration.generators.GENERATORS`.
    architectures, folds, cases, seeds : int
        ``cases`` over all folds, at most (folds are of one size).
    scatter : str
        One of :data:`SCATTERS`.
    truth : str
        One of :data:`TRUTHS`; who is ahead is ahead by the margin.
    clusters : bool
        Whether the analysis knows which two scans are of one patient.
    """

    generator: str
    architectures: int
    folds: int
    cases: int
    seeds: int
    scatter: str
    truth: str
    clusters: bool = False

    @property
    def design(self) -> Design:
        """Sizes and true values."""
        k = self.architectures
        noisy = {"half noisy": k // 2, "one noisy": 1}.get(self.scatter, 0)
        ahead = {"equal": 0, "one ahead": 1, "half ahead": k // 2}[self.truth]
        tau = [SCATTERS[self.scatter]] * (k - noisy) + [NOISY] * noisy
        per_fold = self.cases // self.folds
        if self.generator == "two scans":
            per_fold -= per_fold % 2
        return Design(
            self.folds,
            per_fold,
            self.seeds,
            tuple(tau),
            (*[MARGIN] * ahead, *[0.0] * (k - ahead)),
        )

    @property
    def cost(self) -> int:
        """Scores of one experiment."""
        return self.architectures * self.cases * self.seeds

    @property
    def bands(self) -> dict[str, tuple[float | None, float | None]]:
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
class Measured:
    """A rate with its Monte-Carlo interval.

    Attributes
    ----------
    rate, low, high : float
        With the 95 % interval of Wilson.
    passed : bool or None
        Whether the interval reaches into the band; None without a band.
    inside : bool or None
        Whether the rate itself lies in the band.
    """

    rate: float
    low: float
    high: float
    passed: bool | None
    inside: bool | None


@dataclass(frozen=True)
class CellResult:
    """The rates of one cell.

    Attributes
    ----------
    cell : Cell
    experiments : int
    rates : dict
        By the names of :data:`BANDS`, and ``power`` of the first pair (named "better" and that
        is true), ``exceeds`` (falsely), ``within`` (truly); ``classic differs`` and ``classic
        power``: the same of two-way tests pair by pair.
    """

    cell: Cell
    experiments: int
    rates: dict[str, Measured]

    @property
    def passed(self) -> bool:
        """Whether every band was met."""
        return all(rate.passed is not False for rate in self.rates.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> CellResult:
        """Read what :meth:`to_dict` wrote."""
        rates = {name: Measured(**rate) for name, rate in plain["rates"].items()}
        return cls(Cell(**plain["cell"]), int(plain["experiments"]), rates)


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
    parts: dict[str, list[Array]] = {}
    for scores in _drawn(cell, design, experiments, random_seed):
        for name, values in outcomes(scores, design, _clusters(cell, design)).items():
            parts.setdefault(name, []).append(values)
    bands = cell.bands
    rates = {
        name: measured(np.concatenate(values), bands.get(name)) for name, values in parts.items()
    }
    return CellResult(cell, experiments, rates)


def _drawn(cell: Cell, design: Design, experiments: int, random_seed: int) -> Iterator[Array]:
    size = max(10, _SCORES_AT_ONCE // cell.cost)
    # By the cell's name, not its place in a list: what is added to the grid moves no other cell.
    # The same experiments are analysed with clusters and without.
    name = zlib.crc32(repr((*asdict(cell).values(),)[:-1]).encode())
    for chunk, start in enumerate(range(0, experiments, size)):
        rng = np.random.default_rng([random_seed, name, chunk])
        yield GENERATORS[cell.generator](rng, min(size, experiments - start), design)


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


def measured(values: Array, band: tuple[float | None, float | None] | None = None) -> Measured:
    """Estimate a rate from one value of each experiment, with its interval, and judge it.

    Parameters
    ----------
    values : ndarray, shape (experiments,)
        Between 0 and 1.
    band : tuple of (float or None), optional
        Lowest and highest rate that is accepted.
    """
    rate, n = float(values.mean()), float(len(values))
    spread = float(values.var())
    if 0 < rate < 1 and spread > 0:
        # Shares of many pairs vary less than events do: they are worth more experiments.
        n *= rate * (1 - rate) / spread
    middle = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    # Where the rate is 0 or 1 one end is the rate itself, but for rounding.
    low, high = min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half))
    passed = inside = None
    if band is not None:
        least = 0.0 if band[0] is None else band[0]
        most = 1.0 if band[1] is None else band[1]
        inside = least <= rate <= most
        passed = high >= least and low <= most
    return Measured(rate, low, high, passed, inside)
