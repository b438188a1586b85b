"""The clock of looks: how much information there is, and what p-values are worth by it.

The variance of a difference has a part of the cases, which stays, and a part of the runs, which
shrinks with every seed. So information does not grow by equal steps: where cases make most of the
variance the first seeds bring nearly all of it. Alpha is spent by the fraction of the information,
whatever the counter says.

A sequential p-value is the smallest level at which a pair would have crossed its bound at one of
its looks so far. It never rises, is valid whenever one stops and for whatever reason, and so may be
adjusted for many pairs like any p-value (Liu and Anderson, JASA 103, 2008; Maurer and Bretz,
Statistics in Biopharmaceutical Research 5, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kitsbench.statistics.looks.bounds import LEAST, next_bounds
from kitsbench.statistics.looks.spending import spent
from kitsbench.statistics.table.blocks import Array

SHARES = 20
"""Steps in which the share of the cases is told: more would pretend to know it better."""
GRAIN = 2000
"""Steps in which parts of the planned cases and runs are told."""
_FARTHEST, _LEVELS = 6.2, 56
_QUANTILES = np.linspace(0.0, _FARTHEST, _LEVELS)
LEVELS: Array = 2 * special.ndtr(-_QUANTILES)
"""Two-sided levels of the tables, from 1 down to 6e-10."""
_STILL = 1e-3  # of the information: a look that adds less adds nothing

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Moment:
    """What the clock needs to know of a look.

    Attributes
    ----------
    share : float
        Part of the cases in the variance that is left after all planned rounds.
    cases, runs : float
        Cases and runs at hand, as parts of those that are planned.
    last : bool
        Whether it is the last look that is planned: what is left is spent.
    """

    share: float
    cases: float
    runs: float
    last: bool

    @property
    def code(self) -> int:
        """The moment as a number, rounded as the clock tells it."""
        return int(codes(*map(np.array, (self.share, self.cases, self.runs, self.last))))


def codes(share: Array, cases: Array, runs: Array, last: NDArray[np.bool_]) -> Ids:
    """Write moments as numbers; parts above 1 count as 1."""

    def whole(part: Array, steps: int, least: int) -> Ids:
        return np.clip(np.rint(part * steps), least, steps).astype(np.int64)

    # Something of the variance is of the runs, else no seed could bring anything.
    by_share = np.minimum(whole(share, SHARES, 0), SHARES - 1)
    size = GRAIN + 1
    return ((by_share * size + whole(cases, GRAIN, 1)) * size + whole(runs, GRAIN, 1)) * 2 + last


def _decode(code: int) -> Moment:
    size = GRAIN + 1
    rest, last = divmod(code, 2)
    rest, runs = divmod(rest, size)
    share, cases = divmod(rest, size)
    return Moment(share / SHARES, cases / GRAIN, runs / GRAIN, bool(last))


def _information(share: float, cases: float, runs: float) -> float:
    """Of the planned information, the part at hand."""
    return 1 / (share / cases + (1 - share) / runs)


@dataclass(frozen=True)
class Table:
    """Bounds of one history of looks, for all :data:`LEVELS`.

    Attributes
    ----------
    fraction : float
        Of the information, by which alpha was spent.
    spent : ndarray, shape (levels,)
        Alpha that was spent until now.
    bounds : ndarray, shape (looks, levels)
        Symmetric bounds, on the scale of quantiles; the last row is that of this look.
    information : tuple of float
        Of the looks, in parts of the planned one, as this look tells them.
    """

    fraction: float
    spent: Array
    bounds: Array
    information: tuple[float, ...]

    def bound(self, level: Array) -> Array:
        """Bound of this look at a level, on the scale of quantiles; infinite where none is."""
        return _line(-special.ndtri(np.asarray(level) / 2), _QUANTILES, self.bounds[-1], np.inf)

    def level(self, z: Array) -> Array:
        """Level whose bound a quantile just reaches: the p-value of this look, 0 to 1."""
        known = np.isfinite(self.bounds[-1])
        if not known.any():
            return np.ones(np.shape(z))
        c, q = self.bounds[-1][known], _QUANTILES[known]
        return np.asarray(2 * special.ndtr(-np.interp(np.abs(z), c, q)))


def _line(x: Array, at: Array, values: Array, beyond: float) -> Array:
    known = np.isfinite(values)
    if not known.any():
        return np.full(np.shape(x), beyond)
    inside = np.interp(x, at[known], values[known])
    return np.where(x <= at[known][-1] + 1e-9, inside, beyond)


class Clock:
    """Histories of looks and their tables, each made once.

    Parameters
    ----------
    spending : str
        One of :data:`~kitsbench.statistics.looks.spending.SPENDING`.
    """

    START = 0
    """Id of the history without a look."""

    def __init__(self, spending: str) -> None:
        self._spending = spending
        self._histories: list[tuple[int, ...]] = [()]
        self._ids: dict[tuple[int, int], int] = {}
        self._tables: dict[int, Table] = {}
        self._parents: list[int] = [0]

    def advance(self, ids: Ids, moments: Ids) -> Ids:
        """Ids of histories with one more look each.

        Parameters
        ----------
        ids : ndarray of int
            Of the histories so far.
        moments : ndarray of int
            From :func:`codes`.
        """
        size = np.int64(1) << 32
        keys, place = np.unique(ids * size + moments, return_inverse=True)
        found = []
        for key in keys:
            before, code = divmod(int(key), int(size))
            known = self._ids.get((before, code))
            if known is None:
                known = len(self._histories)
                self._ids[before, code] = known
                self._histories.append((*self._histories[before], code))
                self._parents.append(before)
            found.append(known)
        return np.array(found, dtype=np.int64)[place].reshape(np.shape(ids))

    def table(self, history: int) -> Table:
        """Bounds of a history; it has a look."""
        made = self._tables.get(history)
        if made is None:
            made = self._tables[history] = self._made(history)
        return made

    def each(self, ids: Ids) -> list[tuple[NDArray[np.bool_], Table]]:
        """The table of every history, with the places that have it."""
        return [(ids == one, self.table(int(one))) for one in np.unique(ids) if one != self.START]

    def _made(self, history: int) -> Table:
        moments = [_decode(code) for code in self._histories[history]]
        now, before = moments[-1], self._parents[history]
        earlier = self.table(before) if before != self.START else None
        fraction = 1.0 if now.last else _information(now.share, now.cases, now.runs)
        gone = np.zeros(_LEVELS) if earlier is None else earlier.spent
        used = np.empty((0, _LEVELS)) if earlier is None else earlier.bounds
        if earlier is not None:
            fraction = max(fraction, earlier.fraction)
        # What earlier looks knew is told anew by the share as it is known now. It never falls.
        known = [_information(now.share, m.cases, m.runs) for m in moments]
        information = [float(x) for x in np.maximum.accumulate(known)]
        target = spent(self._spending, LEVELS, fraction)
        new = target - gone
        if len(information) > 1 and information[-1] < information[-2] * (1 + _STILL):
            # The scores are the same but for the last look, which spends the rest: as if a little
            # more was known, since a bound needs something new.
            information[-1] = information[-2] * (1 + _STILL)
        bound = next_bounds(information, used, new)
        return Table(
            fraction=fraction,
            spent=np.where(new >= LEAST, target, gone),
            bounds=np.vstack([used, bound]),
            information=tuple(information),
        )
