"""Bounds of looks by numerical integration, for many levels at once.

The statistics of a pair at its looks are normal quantiles ``Z_1, Z_2, ...`` with correlations
``sqrt(I_j / I_k)``, where ``I`` is the information: the joint distribution of every estimate whose
increments are independent, and so that of a mean to which runs are added while the cases stay.
What has not crossed a bound yet is integrated from look to look (Armitage, McPherson and Rowe,
JRSS A 132, 1969; Jennison and Turnbull, Group Sequential Methods, 2000, chapter 19).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from kitsbench.statistics.table.blocks import Array

WIDEST = 7.5
"""Quantile beyond which nothing is integrated; 6e-14 of a normal distribution lie there."""
LEAST = 1e-13
"""Alpha below which a look spends nothing: its bound is infinite, and the next one spends it."""
_FEWEST, _MOST = 24, 600
_STEP = 0.75  # of the nodes, in standard deviations of what one look adds
_ROUNDS = 40


def crossings(
    information: Array, lower: Array, upper: Array, shift: Array | float = 0.0
) -> tuple[Array, Array]:
    """Chance to cross the lower and the upper bound at each look for the first time.

    Parameters
    ----------
    information : ndarray, shape (looks, ...)
        At each look, rising; its unit is that of ``shift``.
    lower, upper : ndarray, shape (looks, ...)
        Bounds on the scale of the quantiles; infinite ones are none.
    shift : ndarray or float, shape (...)
        True value: the mean of ``Z_k`` is ``shift * sqrt(I_k)``.

    Returns
    -------
    below, above : ndarray, shape (looks, ...)
    """
    shape = np.broadcast_shapes(lower.shape[1:], np.shape(shift), np.shape(information)[1:])

    def spread(values: Array) -> Array:
        each = values.reshape(values.shape + (1,) * (1 + len(shape) - values.ndim))
        return np.broadcast_to(each, (len(values), *shape)).reshape(len(values), -1)

    lower, upper, amount = map(spread, (lower, upper, np.asarray(information, dtype=float)))
    theta = np.broadcast_to(np.asarray(shift, dtype=float), shape).reshape(-1)
    below, above = np.empty(lower.shape), np.empty(lower.shape)
    flow = Flow(theta)
    for k, now in enumerate(amount):
        flow.move(now)
        below[k], above[k] = flow.beyond(lower[k], -1), flow.beyond(upper[k], 1)
        if k + 1 < len(amount):
            flow.keep(lower[k], upper[k], _news(now, amount[k + 1]))
    return below.reshape(-1, *shape), above.reshape(-1, *shape)


def _news(now: Array, ahead: Array) -> float:
    """Smallest SD of what the next look adds."""
    return math.sqrt(max(float((1 - now / ahead).min()), 0.0))


class Flow:
    """What has not crossed a bound yet, look by look, for many bounds at once.

    Parameters
    ----------
    shift : ndarray, shape (n,)
        True values in units of ``1 / sqrt(information)``.
    """

    def __init__(self, shift: Array) -> None:
        self._shift = shift
        self._nodes: Array | None = None  # quantiles at the look before, shape (n, nodes)
        self._mass: Array | None = None  # weight times density there
        self._before = self._now = np.zeros_like(shift)

    def move(self, information: Array) -> None:
        """Go to the next look.

        Parameters
        ----------
        information : ndarray, shape (n,)
        """
        self._before, self._now = self._now, information

    @property
    def _drift(self) -> Array:
        """Mean of the quantile, shape (n,)."""
        return np.asarray(self._shift * np.sqrt(self._now))

    @property
    def _new(self) -> Array:
        """SD of what this look adds to the quantile of the one before, shape (n, 1)."""
        return np.asarray(np.sqrt(np.maximum(1 - self._before / self._now, 1e-12)))[:, None]

    def _centre(self) -> Array:
        """Mean of this quantile given that of the look before, shape (n, nodes)."""
        assert self._nodes is not None
        along = np.sqrt(self._before / self._now)
        drift = self._drift - along * self._shift * np.sqrt(self._before)
        return np.asarray(along[:, None] * self._nodes + drift[:, None])

    def beyond(self, bound: Array, side: int) -> Array:
        """Chance to be beyond a bound now, without having crossed one before, shape (n,)."""
        if self._mass is None:
            return np.asarray(special.ndtr(side * (self._drift - bound)))
        tail = special.ndtr(side * (self._centre() - bound[:, None]) / self._new)
        return np.asarray(np.einsum("ln,ln->l", self._mass, tail))

    def density(self, at: Array) -> Array:
        """Density of this quantile at some points, shape (n, points) or (n,)."""
        points = at if at.ndim == 2 else at[:, None]
        if self._mass is None:
            found = _phi(points - self._drift[:, None])
        else:
            apart = (points[:, :, None] - self._centre()[:, None, :]) / self._new[..., None]
            found = np.einsum("lpn,ln->lp", _phi(apart), self._mass) / self._new
        return found if at.ndim == 2 else found[:, 0]

    def keep(self, lower: Array, upper: Array, finest: float) -> None:
        """Go on with what lies between two bounds.

        Parameters
        ----------
        lower, upper : ndarray, shape (n,)
        finest : float
            SD of what the next look adds; nodes lie close enough for it.
        """
        middle = self._drift
        low, high = np.maximum(lower, middle - WIDEST), np.minimum(upper, middle + WIDEST)
        half = np.maximum(high - low, 0.0) / 2
        widest = float(half.max(initial=1.0))
        number = math.ceil(math.pi * widest / (_STEP * max(finest, 0.02)))
        points, weights = _legendre(min(max(number, _FEWEST), _MOST))
        nodes = (low + high)[:, None] / 2 + half[:, None] * points
        mass = self.density(nodes) * weights * half[:, None]
        self._nodes, self._mass = nodes, mass

    def solve(self, target: Array) -> Array:
        """Symmetric bound that is crossed now with given chances; for a true value of 0.

        Parameters
        ----------
        target : ndarray, shape (n,)
            Chance to cross it on either side.

        Returns
        -------
        ndarray, shape (n,)
            Infinite where the target is below :data:`LEAST`, 0 where it exceeds what is left.
        """
        asked = target >= LEAST
        aim = np.where(asked, target, 0.5)
        # Of all quantiles more lie beyond a bound than of those that are left, so this is too far
        # out. The logarithm of the chance is concave: Newton's steps come in from there, and never
        # go past the bound.
        bound = -special.ndtri(np.minimum(aim, 1.0) / 2)
        for _ in range(_ROUNDS):
            chance = 2 * self.beyond(bound, 1)
            slope = 2 * self.density(bound)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = np.log(chance / aim) * chance / slope
            step = np.where(np.isfinite(step), step, 0.0)
            bound = np.maximum(bound + step, 0.0)
            if np.abs(step).max(initial=0.0) < 1e-10:
                break
        return np.where(asked, bound, np.inf)


def next_bounds(information: Sequence[float] | Array, earlier: Array, target: Array) -> Array:
    """Symmetric bounds of the last look, for a true value of 0.

    Parameters
    ----------
    information : sequence of float
        At each look, rising.
    earlier : ndarray, shape (looks - 1, levels)
        Bounds of the looks before, as they were used.
    target : ndarray, shape (levels,)
        Alpha that this look spends, two-sided.

    Returns
    -------
    ndarray, shape (levels,)
        On the scale of quantiles.
    """
    amount = [np.full(len(target), float(value)) for value in information]
    flow = Flow(np.zeros(len(target)))
    for k, now in enumerate(amount[:-1]):
        flow.move(now)
        flow.keep(-earlier[k], earlier[k], _news(now, amount[k + 1]))
    flow.move(amount[-1])
    return flow.solve(target)


def boundaries(information: Sequence[float] | Array, cumulative: Array) -> Array:
    """Symmetric bounds of a whole plan.

    Parameters
    ----------
    information : sequence of float
        At each look, rising.
    cumulative : ndarray, shape (looks, levels)
        Alpha spent until each look, two-sided.

    Returns
    -------
    ndarray, shape (looks, levels)
    """
    bounds = np.empty(cumulative.shape)
    gone = np.zeros(cumulative.shape[1])
    for k in range(len(information)):
        new = cumulative[k] - gone
        bounds[k] = next_bounds(information[: k + 1], bounds[:k], new)
        gone = np.where(new >= LEAST, cumulative[k], gone)
    return bounds


@functools.cache
def _legendre(number: int) -> tuple[Array, Array]:
    points, weights = np.polynomial.legendre.leggauss(number)
    return points, weights


def _phi(x: Array) -> Array:
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
