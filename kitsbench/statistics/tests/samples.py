"""What the tests take from blocks of scores: of one architecture, or of the difference of two.

Everywhere ``a`` and ``b`` are sequences of one array ``(cases, seeds)`` per fold, the same cases in
the same order. Without ``b`` the sample is ``a`` itself, with ``b`` it is ``a`` minus ``b``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kitsbench.statistics.table.blocks import Array

NOISE = 1e-12
"""A spread below it is rounding noise: decimal scores differ by 1e-17 where they are equal."""
_DECIMALS = 12


def methods_of(a: Sequence[Array], b: Sequence[Array] | None) -> list[Sequence[Array]]:
    """One architecture or two."""
    return [a] if b is None else [a, b]


def case_means(a: Sequence[Array], b: Sequence[Array] | None = None) -> list[Array]:
    """Seed-averaged values of the cases of each fold, shape (cases,) each."""
    first = [block.mean(axis=1) for block in a]
    if b is None:
        return first
    # Each by its own seeds, which are not paired and may differ in number.
    return [mean - block.mean(axis=1) for mean, block in zip(first, b, strict=True)]


def case_values(a: Sequence[Array], b: Sequence[Array] | None = None) -> Array:
    """Seed-averaged value of each case, shape (cases,)."""
    return np.concatenate(case_means(a, b))


def fold_means(a: Sequence[Array], b: Sequence[Array] | None = None) -> Array:
    """Mean of each fold over cases and seeds, shape (folds,)."""
    means = [np.array([block.mean() for block in method]) for method in methods_of(a, b)]
    return means[0] if b is None else means[0] - means[1]


def size_of(a: Sequence[Array], b: Sequence[Array] | None = None) -> dict[str, int]:
    """Size of the data: ``n_cases``, ``n_folds``, and ``n_seeds``, the fewest where they differ."""
    return {
        "n_cases": sum(map(len, a)),
        "n_folds": len(a),
        "n_seeds": min(block.shape[1] for method in methods_of(a, b) for block in method),
    }


def tied(values: ArrayLike) -> Array:
    """Round to 1e-12, so that decimal scores that are equal tie: ranks need true ties."""
    return np.round(np.asarray(values, dtype=float), _DECIMALS)


def best_first(values: ArrayLike, higher_is_better: bool = True) -> Array:
    """Turn and round values so that ranks count from the best, 1, and equal scores tie."""
    return -tied(values) if higher_is_better else tied(values)
