"""What open pairs are worth to the architectures that train for them.

A pair costs rounds of both its architectures, unless they go on for others in any case. Where a
few architectures go on for one another alone, all that they may still settle is held against all
the rounds that they take.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.moments import Index

_PAIRS_FOR_TWO = 4


def least_hope(futility: float) -> float:
    """Pairs that an architecture which goes on must be expected to settle.

    A pair that alone keeps two architectures in training needs twice that chance: as much as there
    is that one of four pairs is settled whose chance is the bound of futility; 19 % for a bound of
    5 %, and never 100 %. That spares 4 of 100 hours where half of the networks are better than the
    others (five architectures, all pairs, five folds, five rounds).

    Parameters
    ----------
    futility : float
        Bound of the chance of a pair.

    Returns
    -------
    float
        0 to 0.5.
    """
    return (1 - (1 - futility) ** _PAIRS_FOR_TWO) / 2


def shared_hope(
    hoped: Array, going: NDArray[np.bool_], first: Index, second: Index, trains: NDArray[np.bool_]
) -> Array:
    """Pairs that are expected to be settled, for each architecture that trains for them.

    Architectures hang together that open pairs link, directly or through others: they train for
    one another, and what they settle is shared by all of them. A pair that is worth more by itself
    than with those that hang on it counts by itself: the others may be given up without it.

    Parameters
    ----------
    hoped : ndarray, shape (..., pairs)
        Chance to be settled; 0 of pairs that are not open.
    going : ndarray of bool, shape (..., pairs)
        Whether a pair is open.
    first, second : ndarray of int, shape (pairs,)
        Architectures of each pair.
    trains : ndarray of bool, shape (architectures,)
        Whether an architecture that goes on trains: who was trained elsewhere costs no round.

    Returns
    -------
    ndarray, shape (..., pairs)
    """
    number = len(trains)
    linked = np.zeros((*going.shape[:-1], number, number))
    linked[..., first, second] = linked[..., second, first] = going
    linked += np.eye(number)
    for _ in range(number.bit_length()):  # each step doubles the length of the ways
        linked = (linked @ linked > 0).astype(float)
    group = linked.argmax(axis=-1)  # named after its first member
    hope = hoped / np.maximum(trains[first].astype(int) + trains[second], 1)
    for name in range(number):
        inside = group[..., first] == name
        settled = np.where(inside, hoped, 0.0).sum(axis=-1, keepdims=True)
        members = np.count_nonzero((group == name) & trains, axis=-1, keepdims=True)
        hope = np.where(inside, np.maximum(hope, settled / np.maximum(members, 1)), hope)
    return np.asarray(hope)
