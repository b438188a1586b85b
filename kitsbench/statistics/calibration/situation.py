"""What studies by simulation share: a situation, experiments drawn from it, and measured rates."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from kitsbench.statistics.calibration.generators import GENERATORS, Design
from kitsbench.statistics.table.blocks import Array

ALPHA = 0.05
MARGIN = 0.02
_Z = 1.959963984540054  # of a 95 % interval

NOISY = 0.05
SCATTERS = {"0.01": 0.01, "0.02": 0.02, "0.05": 0.05, "half noisy": 0.0, "one noisy": 0.0}
"""SD of a fold mean between runs; where some are noisy (0.05), that of the others."""

Band = tuple[float | None, float | None]
"""Lowest and highest rate that is accepted; None for no limit."""


@dataclass(frozen=True)
class Situation:
    """One simulated situation. What a study adds to it draws no other experiments.

    Attributes
    ----------
    generator : str
        One of :data:`~kitsbench.statistics.calibration.generators.GENERATORS`.
    architectures, folds, cases, seeds : int
        ``cases`` over all folds, at most (folds are of one size).
    scatter : str
        One of :data:`SCATTERS`.
    truth : str
        Who is ahead, in the words of the study.
    """

    generator: str
    architectures: int
    folds: int
    cases: int
    seeds: int
    scatter: str
    truth: str

    @property
    def gaps(self) -> tuple[float, ...]:
        """By architecture how far its true mean lies above the usual one."""
        raise NotImplementedError

    @property
    def design(self) -> Design:
        """Sizes and true values."""
        k = self.architectures
        noisy = {"half noisy": k // 2, "one noisy": 1}.get(self.scatter, 0)
        tau = [SCATTERS[self.scatter]] * (k - noisy) + [NOISY] * noisy
        per_fold = self.cases // self.folds
        if self.generator == "two scans":
            per_fold -= per_fold % 2
        return Design(self.folds, per_fold, self.seeds, tuple(tau), self.gaps)

    @property
    def cost(self) -> int:
        """Scores of one experiment."""
        return self.architectures * self.cases * self.seeds

    def leading(self, number: int, gap: float = MARGIN) -> tuple[float, ...]:
        """Gaps of which the first few are ``gap`` and the others 0."""
        return (*[gap] * number, *[0.0] * (self.architectures - number))

    def chunk(self, scores_at_once: int) -> int:
        """Experiments that are simulated at once."""
        return max(10, scores_at_once // self.cost)

    def drawn(self, experiments: int, random_seed: int, scores_at_once: int) -> Iterator[Array]:
        """Scores of the experiments of this situation, some at a time.

        Parameters
        ----------
        experiments, random_seed : int
            What is drawn is a function of them, of ``scores_at_once`` and of the situation. What a
            study adds does not count, so that its variants are put to the same experiments.
        scores_at_once : int
            How many are held in memory.

        Yields
        ------
        ndarray, shape (experiments, architectures, folds, cases, seeds)
        """
        # By its name, not its place in a list: what is added to a grid moves no other cell.
        name = astuple(self)[: len(_WORDS)]
        sizes = (experiments, self.chunk(scores_at_once))
        return draw_named(name, self.generator, self.design, *sizes, random_seed)


_WORDS = tuple(Situation.__dataclass_fields__)


def draw_named(
    name: tuple[object, ...],
    generator: str,
    design: Design,
    experiments: int,
    chunk: int,
    random_seed: int,
) -> Iterator[Array]:
    """Scores of experiments, with random numbers that belong to a name.

    Parameters
    ----------
    name : tuple
        Plain values that tell a situation from all others.
    generator : str
    design : Design
    experiments, chunk : int
        In all, and at once.
    random_seed : int

    Yields
    ------
    ndarray, shape (experiments, architectures, folds, cases, seeds)
    """
    number = zlib.crc32(repr(name).encode())
    for index, start in enumerate(range(0, experiments, chunk)):
        rng = np.random.default_rng([random_seed, number, index])
        yield GENERATORS[generator](rng, min(chunk, experiments - start), design)


def gathered(parts: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """Put together by name what was counted in each part of the experiments."""
    found: dict[str, list[Array]] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


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


def measured(values: Array, band: Band | None = None) -> Measured:
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


C = TypeVar("C", bound=Situation)


@dataclass(frozen=True)
class Rates(Generic[C]):
    """The rates of one situation, as a study keeps them.

    Attributes
    ----------
    cell : Situation
    experiments : int
    rates : dict
        By the names of the study.
    """

    kind: ClassVar[type[Situation]]

    cell: C
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
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote."""
        rates = {name: Measured(**rate) for name, rate in plain["rates"].items()}
        return cls(**{**plain, "cell": cls.kind(**plain["cell"]), "rates": rates})


R = TypeVar("R", bound=Rates[Any])
