"""Rankings, groups that the tests cannot separate, and how stable ranks are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kitsbench.statistics.table.blocks import Blocks, ScoreBlocks
from kitsbench.statistics.tests.folds_and_cases import FOLDS_FOR_A_FOLD_TEST
from kitsbench.statistics.tests.joint import FEWEST_RUN_DF
from kitsbench.statistics.tests.samples import best_first
from kitsbench.statistics.tests.twoway import run_component

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
MOST_LETTERED = len(_LETTERS)
"""Architectures above which there are no letters: nobody reads them, and rank intervals say it."""
REPLICATES = 1000
CASES_AND_RUNS, FOLDS = "cases and training runs", "folds"
"""What a bootstrap of a ranking draws again."""
_CASES_TO_DRAW = 5  # in a fold: the fewer, the less of their variance do draws from them show


def rank(means: ArrayLike, higher_is_better: bool = True) -> NDArray[np.int64]:
    """Rank means, 1 = best, ties all get the smallest rank.

    Parameters
    ----------
    means : array of float, shape (..., architectures)
        Ranked along the last axis.
    higher_is_better : bool
        Direction.
    """
    ordered = best_first(means, higher_is_better)
    return stats.rankdata(ordered, method="min", axis=-1).astype(np.int64)


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
    counts : ndarray of int, shape (architectures, architectures)
        How often the architecture of a row got the rank of a column.
    tau : ndarray, shape (replicates,)
        Kendall's tau-b with the ranking of the data; NaN where one of the two is constant.
    means : ndarray, shape (replicates, architectures)
        What was ranked.
    """

    ranks: NDArray[np.int64]
    rank_low: NDArray[np.int64]
    rank_high: NDArray[np.int64]
    p_first: NDArray[np.float64]
    counts: NDArray[np.int64]
    tau: NDArray[np.float64]
    means: NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """What a two-level bootstrap drew: cases of each fold, and runs of each architecture in it.

    Attributes
    ----------
    cases : tuple of ndarray of int, shape (replicates, cases of the fold)
        By fold; the same for all architectures.
    runs : tuple of tuple of ndarray of int, shape (replicates, seeds)
        By architecture and fold; drawn independently.
    weights : tuple of ndarray, shape (replicates, cases of the fold), or None
        How often each case counts, where clusters of cases were drawn instead of ``cases``.
    """

    cases: tuple[NDArray[np.int64], ...]
    runs: tuple[tuple[NDArray[np.int64], ...], ...]
    weights: tuple[NDArray[np.float64], ...] | None = None


def draw(
    methods: Sequence[Blocks],
    replicates: int,
    random_seed: int,
    clusters: Sequence[NDArray[np.int64]] | None = None,
) -> Draws:
    """Draw cases (or clusters of them) and runs with replacement.

    Parameters
    ----------
    methods : sequence of blocks
        By architecture the arrays (cases, seeds) of all folds.
    replicates : int
        Number of draws.
    random_seed : int
        The result is a function of it and of the shapes.
    clusters : sequence of ndarray of int, optional
        By fold the cluster of each case, numbered over all folds; a cluster is drawn as a whole.
    """
    rng = np.random.default_rng(random_seed)
    cases = tuple(rng.integers(0, len(b), (replicates, len(b))) for b in methods[0])
    weights = None
    if clusters is not None:
        number = 1 + max(int(fold.max()) for fold in clusters)
        times = _counts(rng.integers(0, number, (replicates, number)))
        weights = tuple(times[:, fold] for fold in clusters)
    runs = tuple(
        tuple(rng.integers(0, b.shape[1], (replicates, b.shape[1])) for b in blocks)
        for blocks in methods
    )
    return Draws(cases, runs, weights)


def bootstrap_means(methods: Sequence[Blocks], draws: Draws) -> NDArray[np.float64]:
    """Mean score of every architecture in every replicate.

    Parameters
    ----------
    methods : sequence of blocks
        By architecture the arrays (cases, seeds) of all folds.
    draws : Draws
        From :func:`draw`.

    Returns
    -------
    ndarray, shape (replicates, architectures)
        Mean over the drawn cases of the mean over the drawn runs. What the drawn runs add to all
        runs is made larger by ``sqrt(seeds / (seeds - 1))``: of two runs every second draw takes
        one of them twice, and yet their means vary half as much as those of new runs would.
    """
    replicates = len(draws.cases[0])
    means = np.zeros((replicates, len(methods)))
    n_cases: Any = sum(len(block) for block in methods[0])
    if draws.weights is not None:
        n_cases = np.maximum(sum(w.sum(axis=1) for w in draws.weights), 1)[:, None]
    for fold, drawn in enumerate(draws.cases):
        # How often a case was drawn is its weight, so all replicates and all architectures are
        # one product of matrices.
        columns = [blocks[fold] for blocks in methods]
        weights = _counts(drawn) if draws.weights is None else draws.weights[fold]
        totals = weights @ np.concatenate(columns, axis=1)
        start = 0
        for index, block in enumerate(columns):
            seeds = block.shape[1]
            part = totals[:, start : start + seeds]
            usual = part.mean(axis=1)
            taken = np.take_along_axis(part, draws.runs[index][fold], 1).mean(axis=1)
            larger = np.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
            means[:, index] += usual + larger * (taken - usual)
            start += seeds
    return means / n_cases


def means_of_drawn_folds(
    methods: Sequence[Blocks], replicates: int, random_seed: int
) -> NDArray[np.float64]:
    """Mean score of every architecture when folds are drawn again, each with its networks.

    Parameters
    ----------
    methods : sequence of blocks
        By architecture the arrays (cases, seeds) of all folds.
    replicates, random_seed : int
        Number of draws, and their seed.

    Returns
    -------
    ndarray, shape (replicates, architectures)
        Spread out by ``sqrt(folds / (folds - 1))``, as those of drawn runs are.
    """
    sizes = np.array([len(block) for block in methods[0]], dtype=float)
    by_fold = np.array([[block.mean() for block in blocks] for blocks in methods])
    rng = np.random.default_rng(random_seed)
    times = _counts(rng.integers(0, len(sizes), (replicates, len(sizes)))) * sizes
    usual = by_fold @ (sizes / sizes.sum())
    drawn = times @ by_fold.T / times.sum(axis=1, keepdims=True)
    return np.asarray(usual + np.sqrt(len(sizes) / (len(sizes) - 1)) * (drawn - usual))


def percentile_interval(
    differences: NDArray[np.float64], alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap intervals of differences of two means: their quantiles over the replicates.

    Parameters
    ----------
    differences : ndarray, shape (replicates, ...)
    alpha : float
        1 minus the level.
    """
    low, high = np.quantile(differences, [alpha / 2, 1 - alpha / 2], axis=0)
    return low, high


def _counts(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each of ``size`` things was drawn in each replicate."""
    replicates, size = drawn.shape
    flat = drawn + np.arange(replicates)[:, None] * size
    return np.bincount(flat.ravel(), minlength=replicates * size).reshape(drawn.shape).astype(float)


def rank_stability(
    blocks: ScoreBlocks, replicates: int = REPLICATES, random_seed: int = 0
) -> Stability | None:
    """Rank by mean again and again, with cases and training runs drawn again.

    In each replicate the cases of every fold are drawn again (or their clusters), the same for all
    architectures, and the runs of every architecture and fold, independently. Without a second run
    to draw, folds are drawn with the networks that scored them.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of one endpoint.
    replicates : int
        Number of draws.
    random_seed : int
        Of the draws; the result is a function of it and the scores.

    Returns
    -------
    Stability or None
        None where neither runs nor folds can be drawn again. Drawing cases alone would say how
        certain these trained models are, not the architectures.
    """
    methods = [blocks.values[name] for name in blocks.architectures]
    what = redrawn(blocks)
    if what == CASES_AND_RUNS:
        drawn = draw(methods, replicates, random_seed, blocks.cluster_numbers(blocks.folds))
        means = bootstrap_means(methods, drawn)
    elif what == FOLDS:
        means = means_of_drawn_folds(methods, replicates, random_seed)
    else:
        return None
    original = rank(list(blocks.means.values()), blocks.endpoint.higher_is_better)
    return stability_of(rank(means, blocks.endpoint.higher_is_better), original, means)


def redrawn(blocks: ScoreBlocks) -> str | None:
    """Tell what a bootstrap of the ranking draws again; None where it can draw nothing.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of one endpoint.
    """
    methods = [blocks.values[name] for name in blocks.architectures]
    runs = all(run_component(method).df >= FEWEST_RUN_DF for method in methods)
    enough_folds = len(blocks.folds) >= FOLDS_FOR_A_FOLD_TEST
    # Of a fold with a single case nothing can be drawn but that case.
    if enough_folds and blocks.n_cases < _CASES_TO_DRAW * len(blocks.folds):
        return FOLDS
    if runs and blocks.n_cases > len(blocks.folds):
        return CASES_AND_RUNS
    return FOLDS if enough_folds else None


def stability_of(
    ranks: NDArray[np.int64],
    original: NDArray[np.int64],
    means: NDArray[np.float64],
) -> Stability:
    """Summarise ranks of replicates.

    Parameters
    ----------
    ranks : ndarray of int, shape (replicates, architectures)
        1 = best.
    original : ndarray of int
        Ranks of the data, with which those of the replicates are correlated.
    means : ndarray, shape (replicates, architectures)
        What was ranked.
    """
    first = ranks == 1
    places = np.arange(1, ranks.shape[1] + 1)
    return Stability(
        ranks=ranks,
        rank_low=np.quantile(ranks, 0.025, axis=0, method="lower").astype(np.int64),
        rank_high=np.quantile(ranks, 0.975, axis=0, method="higher").astype(np.int64),
        p_first=(first / first.sum(axis=1, keepdims=True)).mean(axis=0),
        counts=(ranks[:, :, None] == places).sum(axis=0),
        tau=kendall_tau(ranks, original),
        means=means,
    )


def kendall_tau(ranks: ArrayLike, other: ArrayLike) -> NDArray[np.float64]:
    """Kendall's tau-b between rankings.

    Parameters
    ----------
    ranks : array, shape (..., architectures)
        Rankings.
    other : array, shape (architectures,)
        The ranking to compare with.

    Returns
    -------
    ndarray, shape (...)
        1 where both agree, -1 where one is the reverse; NaN where one of them is constant.
    """
    a, b = np.asarray(ranks, dtype=float), np.asarray(other, dtype=float)
    i, j = np.triu_indices(b.size, 1)
    signs_a, signs_b = np.sign(a[..., i] - a[..., j]), np.sign(b[i] - b[j])
    size = np.sqrt((signs_a**2).sum(axis=-1) * (signs_b**2).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((signs_a * signs_b).sum(axis=-1) / size)


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
        from two groups that differ from each other is in both: ``ab``. Empty for more than
        :data:`MOST_LETTERED` architectures, and where there are more groups than letters.
    """
    if len(names) > MOST_LETTERED:
        return {}
    apart = {frozenset(pair) for pair in separated}
    order = {name: index for index, name in enumerate(names)}
    near = {a: {b for b in names if b != a and frozenset((a, b)) not in apart} for a in names}
    cliques = sorted(_maximal_cliques(near), key=lambda c: sorted(order[name] for name in c))
    if len(cliques) > len(_LETTERS):
        return {}
    letters: dict[str, str] = dict.fromkeys(names, "")
    for letter, clique in zip(_LETTERS, cliques, strict=False):
        for name in clique:
            letters[name] += letter
    return letters


def rank_intervals(
    names: Sequence[str], separated: Iterable[tuple[str, str]]
) -> dict[str, tuple[int, int]]:
    """Give the ranks that an architecture may have, as far as the tests can tell.

    Parameters
    ----------
    names : sequence of str
        All architectures.
    separated : iterable of pairs of str
        The better and the worse of each pair between which a difference was found.

    Returns
    -------
    dict
        Lowest and highest rank: one more than are found better, and as many as are not found worse.
        They hold for all architectures at once with the level of the family, and for ties: true
        means that are equal have all ranks that they share.

    Notes
    -----
    Source: M. Klein, T. Wright, J. Wieczorek, A joint confidence region for an overall ranking of
    populations, JRSS C 69, 2020 (ranks from intervals that hold together).
    """
    place = {name: index for index, name in enumerate(names)}
    better = np.zeros((len(names), len(names)), dtype=bool)
    for winner, loser in separated:
        better[place[winner], place[loser]] = True
    low, high = rank_bounds(better)
    return {name: (int(low[i]), int(high[i])) for name, i in place.items()}


def rank_bounds(better: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give lowest and highest ranks, as :func:`rank_intervals`, for many families at once.

    Parameters
    ----------
    better : ndarray of bool, shape (..., architectures, architectures)
        Whether the one of the row was found better than the one of the column.

    Returns
    -------
    low, high : ndarray of int, shape (..., architectures)
    """
    return 1 + better.sum(axis=-2), better.shape[-1] - better.sum(axis=-1)


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
