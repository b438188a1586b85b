"""What may be said of all pairs of a family at once.

Arrays may have leading axes ``...``, one element for each experiment: a comparison and the
calibration of its error rates call the same functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.families import adjust, exceeds_p, margin_adjust, within_p


def unseen(alpha: float, pairs: int) -> float:
    """Bound how often a miss may happen that none of n cases shows, times n.

    For one pair at 5 % this is the rule of three; for a family each pair has its share of alpha.

    Parameters
    ----------
    alpha : float
        Level of the family.
    pairs : int
        Pairs in it.
    """
    return -math.log(alpha / max(pairs, 1))


Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class Statements:
    """Adjusted p-values of what can be stated of each pair, shape (..., pairs); NaN without a test.

    Attributes
    ----------
    differs, exceeds, within : ndarray
        That there is a difference, that it exceeds the margin, and that it lies within it.
    """

    differs: Array
    exceeds: Array
    within: Array

    def made(self, alpha: float) -> tuple[Truths, Truths, Truths]:
        """Tell which statements are made: a difference, one beyond the margin, one within it."""
        differs, within = self.differs < alpha, self.within < alpha
        # What lies within the margin cannot exceed it, and what does not differ neither.
        return differs, differs & ~within & (self.exceeds < alpha), within


def margin_p(
    estimate: Array,
    se: Array,
    df: Array,
    skew: Array,
    margin: float,
    missed: Array,
    units: int,
    bound: float,
) -> tuple[Array, Array]:
    """Unadjusted p-values that differences exceed a margin, and that they lie within it.

    Parameters
    ----------
    estimate, se, df, skew : ndarray, shape (..., pairs)
        Of the differences.
    margin : float
        Half-width of what is negligible.
    missed : ndarray, shape (..., pairs)
        What one missed case costs the better of a pair.
    units : int
        Independent cases, or clusters of them.
    bound : float
        From :func:`unseen`.

    Returns
    -------
    exceeds, within : ndarray, shape (..., pairs)
        ``within`` is NaN where the cases are too few to rule out misses that exceed the margin.
    """
    ruled_out = bound / units * missed <= margin
    within = within_p(estimate, se, df, margin, skew)
    return exceeds_p(estimate, se, df, margin), np.where(ruled_out, within, np.nan)


def state(
    differs: Array, exceeds: Array, within: Array, alpha: float, correction: str = "holm"
) -> Statements:
    """Adjust the p-values of a family, so that all statements on it hold together.

    Parameters
    ----------
    differs, exceeds, within : ndarray, shape (..., pairs)
        Unadjusted; NaN where a pair is no member of the family.
    alpha : float
        Level of the family.
    correction : str
        For differences, see :func:`~kitsbench.statistics.tests.families.adjust`.
    """
    differences = adjust(differs, correction)
    found = differences < alpha
    return Statements(differences, margin_adjust(exceeds, found), margin_adjust(within, found))


def simultaneous(
    estimate: Array, se: Array, df: Array, alpha: float, together: int, apart: Truths
) -> tuple[Array, Array]:
    """Intervals of all pairs that hold together, by Bonferroni.

    Parameters
    ----------
    estimate, se, df : ndarray, shape (..., pairs)
        Of the differences.
    alpha : float
        1 minus the level of all intervals together.
    together : int
        Pairs of the family.
    apart : ndarray of bool, shape (..., pairs)
        Differences whose sign is settled. Their intervals end at 0: the step-down's correction for
        the last pairs is milder than for the first.

    Returns
    -------
    low, high : ndarray, shape (..., pairs)
    """
    half = special.stdtrit(df, 1 - alpha / 2 / together) * se
    low, high = estimate - half, estimate + half
    positive, negative = apart & (estimate > 0), apart & (estimate < 0)
    return (
        np.where(positive, np.maximum(low, 0.0), low),
        np.where(negative, np.minimum(high, 0.0), high),
    )
