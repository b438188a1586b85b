"""Scores of many kinds whose true means are known.

Each kind draws scores ``(experiments, architectures, folds, cases of a fold, seeds)`` with a true
gap between the means of architectures, and training runs that may scatter differently by
architecture: what a test has to bear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kitsbench.statistics.calibration.latent import shift_for
from kitsbench.statistics.calibration.simulation import simulate
from kitsbench.statistics.table.blocks import Array

_BASE, _CASE_SD = 0.80, 0.12
_INTERACTION_SD, _NOISE_SD = 0.063, 0.065  # as the Dice of the specification's generator has them
_MISSES = (0.5, 2.8)  # beta distribution of how easily a case is missed, by all architectures
_FOUND = 1 - _MISSES[0] / sum(_MISSES)
_RARE = 0.03
_HIGH, _HIGH_CASE_SD, _HIGH_SD = 0.85, 0.05, 0.03
_SHARED = 0.7  # of the shift of a run, the part that is its own
_OF_PATIENT = 0.8  # of what an architecture makes of a case, the part that is the patient's


@dataclass(frozen=True)
class Design:
    """Size and truth of simulated experiments.

    Attributes
    ----------
    folds, cases, seeds : int
        ``cases`` is per fold.
    tau : tuple of float
        By architecture the SD of a fold mean between training runs.
    gaps : tuple of float
        By architecture how far its true mean lies above the least.
    """

    folds: int
    cases: int
    seeds: int
    tau: tuple[float, ...]
    gaps: tuple[float, ...]

    @property
    def architectures(self) -> int:
        """Number of architectures."""
        return len(self.tau)


Generator = Callable[[np.random.Generator, int, Design], Array]


def specification(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Scores as :func:`~kitsbench.statistics.calibration.simulation.simulate` draws them."""
    pairs = zip(design.gaps, design.tau, strict=True)
    return simulate(
        rng,
        replicates,
        design.architectures,
        design.folds,
        design.cases,
        design.seeds,
        design.tau,
        shifts=[shift_for(gap, tau) for gap, tau in pairs],
    )


class _Parts:
    """Independent parts of additive scores, each of mean 0, ready to be added up."""

    def __init__(self, rng: np.random.Generator, replicates: int, design: Design) -> None:
        k, f, c, s = design.architectures, design.folds, design.cases, design.seeds
        self.rng = rng
        self.case = (replicates, 1, f, c, 1)
        self.interaction = (replicates, k, f, c, 1)
        self.noise = (replicates, k, f, c, s)
        self.run = (replicates, k, f, 1, s)
        self.run_of_all = (replicates, 1, f, 1, s)
        self.tau = np.array(design.tau)[:, None, None, None]
        self.gap = np.array(design.gaps)[:, None, None, None]

    def normal(self, shape: tuple[int, ...], sd: float | Array = 1.0) -> Array:
        return self.rng.standard_normal(shape) * sd

    def left_tail(self, shape: tuple[int, ...], sd: float | Array) -> Array:
        return (1 - self.rng.standard_exponential(shape)) * sd

    def heavy(self, shape: tuple[int, ...], sd: float | Array) -> Array:
        return self.rng.standard_t(3, shape) * (sd / np.sqrt(3))


def normal(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw scores of which every part is normal."""
    p = _Parts(rng, replicates, design)
    y = p.normal(p.noise, _NOISE_SD) + p.normal(p.interaction, _INTERACTION_SD)
    return y + p.normal(p.run, p.tau) + p.normal(p.case, _CASE_SD) + (_BASE + p.gap)


def skewed(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw scores with long left tails: of cases, and of what another run changes on them."""
    p = _Parts(rng, replicates, design)
    y = p.left_tail(p.noise, _NOISE_SD) + p.left_tail(p.interaction, _INTERACTION_SD)
    return y + p.normal(p.run, p.tau) + p.normal(p.case, _CASE_SD) + (_BASE + p.gap)


def skewed_runs(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw scores whose training runs have a long left tail too: most alike, a few far worse."""
    p = _Parts(rng, replicates, design)
    y = p.left_tail(p.noise, _NOISE_SD) + p.left_tail(p.interaction, _INTERACTION_SD)
    return y + p.left_tail(p.run, p.tau) + p.normal(p.case, _CASE_SD) + (_BASE + p.gap)


def heavy_tailed(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw scores whose parts follow Student's t with 3 degrees of freedom, training runs too."""
    p = _Parts(rng, replicates, design)
    y = p.heavy(p.noise, _NOISE_SD) + p.heavy(p.interaction, _INTERACTION_SD)
    return y + p.heavy(p.run, p.tau) + p.normal(p.case, _CASE_SD) + (_BASE + p.gap)


def shared_seeds(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw scores whose training runs share a part of their luck where they share a seed."""
    p = _Parts(rng, replicates, design)
    luck = p.normal(p.run_of_all, p.tau * np.sqrt(1 - _SHARED**2)) + p.normal(
        p.run, p.tau * _SHARED
    )
    y = p.normal(p.noise, _NOISE_SD) + p.normal(p.interaction, _INTERACTION_SD) + luck
    return y + p.normal(p.case, _CASE_SD) + (_BASE + p.gap)


def zero_inflated(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw scores of which 15 % are 0, some cases far more often than others."""
    p = _Parts(rng, replicates, design)
    chance = p.rng.beta(*_MISSES, p.case)
    # What a found case shows is larger by what the missed ones hide.
    y = p.normal(p.noise, _INTERACTION_SD) + p.normal(p.run, p.tau / _FOUND)
    y += p.normal(p.interaction, _INTERACTION_SD) + p.normal(p.case, _CASE_SD)
    y += _BASE + p.gap / _FOUND
    return np.where(p.rng.random(p.interaction) < chance, 0.0, y)


def rare_misses(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw high scores that agree closely, but for 3 % that an architecture misses in all runs."""
    p = _Parts(rng, replicates, design)
    y = p.normal(p.noise, _HIGH_SD) + p.normal(p.run, p.tau / (1 - _RARE))
    y += p.normal(p.interaction, _HIGH_SD) + p.normal(p.case, _HIGH_CASE_SD)
    y += _HIGH + p.gap / (1 - _RARE)
    return np.where(p.rng.random(p.interaction) < _RARE, 0.0, y)


def misses_alone(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw scores that agree closely; a gap comes from cases that the worse one misses."""
    p = _Parts(rng, replicates, design)
    rate = (p.gap.max() - p.gap) / _HIGH
    y = p.normal(p.noise, 0.006) + p.normal(p.run, p.tau)
    y += p.normal(p.case, _HIGH_CASE_SD) + _HIGH
    return np.where(p.rng.random(p.interaction) < rate, 0.0, y)


def two_scans(rng: np.random.Generator, replicates: int, design: Design) -> Array:
    """Draw normal scores of patients with two scans each, which lie next to each other in a fold.

    ``cases`` must be even. What an architecture makes of a patient it makes of both scans, by four
    fifths of the variance.
    """
    p = _Parts(rng, replicates, design)
    r, k, f, c, _ = p.interaction
    patient = p.normal((r, k, f, c // 2, 1), _INTERACTION_SD * np.sqrt(_OF_PATIENT))
    y = p.normal(p.noise, _NOISE_SD) + np.repeat(patient, 2, axis=3)
    y += p.normal(p.interaction, _INTERACTION_SD * np.sqrt(1 - _OF_PATIENT))
    return y + p.normal(p.run, p.tau) + p.normal(p.case, _CASE_SD) + (_BASE + p.gap)


GENERATORS: dict[str, Generator] = {
    "specification": specification,
    "normal": normal,
    "zero-inflated": zero_inflated,
    "skewed": skewed,
    "skewed runs": skewed_runs,
    "heavy-tailed": heavy_tailed,
    "rare misses": rare_misses,
    "shared seeds": shared_seeds,
    "misses alone": misses_alone,
    "two scans": two_scans,
}
"""By name; ``misses alone`` has no scatter between equal architectures but that of runs."""
