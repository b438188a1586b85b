"""Rankings, groups that the tests cannot separate, and how stable ranks are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kitsbench.statistics.blocks import ScoreBlocks

_DECIMALS = 12  # so that decimal scores that are equal tie
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
REPLICATES = 1000


def rank(means: ArrayLike, higher_is_better: bool = True) -> NDArray[np.int64]:
    """Rank means, 1 = best, ties all get the smallest rank.

    Parameters
    ----------
    means : array of float, shape (..., architectures)
        Ranked along the last axis.
    higher_is_better : bool
        Direction.
    """
    values = np.round(np.asarray(means, dtype=float), _DECIMALS)
    ordered = -values if higher_is_better else values
    return stats.rankdata(ordered, method="min", axis=-1).astype(np.int64)


def rank_then_mean(values: ArrayLike, higher_is_better: bool = True) -> NDArray[np.int64]:
    """Rank architectures on each case, average the ranks, rank again.

    Parameters
    ----------
    values : array of float, shape (architectures, cases)
        Seed-averaged scores.
    higher_is_better : bool
        Direction.
    """
    table = np.round(np.asarray(values, dtype=float), _DECIMALS)
    ranks = stats.rankdata(-table if higher_is_better else table, method="min", axis=0)
    return rank(ranks.mean(axis=1), higher_is_better=False)


@dataclass(frozen=True)
class Stability:
    """How ranks vary when cases and training runs are drawn again.

    Attributes
    ----------
    ranks : ndarray, shape (replicates, architectures)
        Rank in each replicate.
    rank_low, rank_high : ndarray of int
        95 % interval, by architecture.
    p_first : ndarray of float
        Fraction of replicates in which an architecture has the best mean; those tied for the
        best share the replicate.
    """

    ranks: NDArray[np.int64]
    rank_low: NDArray[np.int64]
    rank_high: NDArray[np.int64]
    p_first: NDArray[np.float64]


def rank_stability(
    blocks: ScoreBlocks, replicates: int = REPLICATES, random_seed: int = 0
) -> Stability:
    """Two-level bootstrap of the ranking by mean.

    In each replicate the cases of every fold are drawn again, the same for all architectures,
    and the runs of every architecture and fold are drawn again, independently.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of one endpoint. With one seed only cases vary.
    replicates : int
        Number of draws.
    random_seed : int
        Of the draws; the result is a function of it and the scores.
    """
    rng = np.random.default_rng(random_seed)
    means = np.zeros((replicates, len(blocks.architectures)))
    for fold in range(len(blocks.folds)):
        case_counts = _draws(rng, len(blocks.cases[fold]), replicates)
        for column, name in enumerate(blocks.architectures):
            block = blocks.values[name][fold]
            run_counts = _draws(rng, block.shape[1], replicates)
            drawn = np.einsum("bc,cs,bs->b", case_counts, block, run_counts, optimize=True)
            means[:, column] += drawn / block.shape[1]
    return stability_of(rank(means / blocks.n_cases, blocks.endpoint.higher_is_better))


def stability_of(ranks: NDArray[np.int64]) -> Stability:
    """Summarise ranks of replicates.

    Parameters
    ----------
    ranks : ndarray of int, shape (replicates, architectures)
        1 = best.
    """
    first = ranks == 1
    return Stability(
        ranks=ranks,
        rank_low=np.quantile(ranks, 0.025, axis=0, method="lower").astype(np.int64),
        rank_high=np.quantile(ranks, 0.975, axis=0, method="higher").astype(np.int64),
        p_first=(first / first.sum(axis=1, keepdims=True)).mean(axis=0),
    )


def _draws(rng: np.random.Generator, size: int, replicates: int) -> NDArray[np.float64]:
    """How often each of ``size`` things is drawn when as many are drawn with replacement."""
    return rng.multinomial(size, np.full(size, 1 / size), size=replicates).astype(float)


def rank_groups(names: Sequence[str], separated: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name the maximal sets of architectures that no test separates.

    Parameters
    ----------
    names : sequence of str
        Best first.
    separated : iterable of pairs of str
        Pairs between which a difference was found.

    Returns
    -------
    dict
        By architecture the letters of its groups, ``a`` holding the best. One that cannot be told
        from two groups that differ from each other is in both: ``ab``.
    """
    apart = {frozenset(pair) for pair in separated}
    order = {name: index for index, name in enumerate(names)}
    near = {a: {b for b in names if b != a and frozenset((a, b)) not in apart} for a in names}
    cliques = sorted(_maximal_cliques(near), key=lambda c: sorted(order[name] for name in c))
    letters: dict[str, str] = dict.fromkeys(names, "")
    for index, clique in enumerate(cliques):
        letter = _LETTERS[index] if index < len(_LETTERS) else f"({index + 1})"
        for name in clique:
            letters[name] += letter
    return letters


def _maximal_cliques(near: dict[str, set[str]]) -> list[set[str]]:
    """Bron and Kerbosch's search with a pivot."""
    found: list[set[str]] = []

    def extend(clique: set[str], candidates: set[str], done: set[str]) -> None:
        if not candidates and not done:
            found.append(clique)
            return
        pivot = max(candidates | done, key=lambda name: len(near[name] & candidates))
        for name in sorted(candidates - near[pivot]):
            extend(clique | {name}, candidates & near[name], done & near[name])
            candidates = candidates - {name}
            done = done | {name}

    extend(set(), set(near), set())
    return found
