"""What the joint analysis takes from scores: means, and how much each source makes them vary.

Arrays may have leading axes ``...``, one element for each experiment, so that a calibration runs
the very functions that a comparison runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kitsbench.statistics.table.blocks import Array, Blocks
from kitsbench.statistics.tests.twoway import Component, residual_component, run_component

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Spread:
    """Mean squares of one source of variance, by architecture.

    Attributes
    ----------
    square, df, weight : ndarray, shape (..., architectures)
        Mean square, its degrees of freedom, and its weight in the variance of a mean.
    """

    square: Array
    df: Array
    weight: Array

    @property
    def variance(self) -> Array:
        """Contribution to the variance of each architecture's mean, shape (..., architectures)."""
        return self.square * self.weight


@dataclass(frozen=True)
class Moments:
    """First to third moments of the scores of all architectures on common cases.

    Attributes
    ----------
    mean : ndarray, shape (..., architectures)
        Mean over cases of seed-averaged scores.
    case_variance : ndarray, shape (..., architectures, architectures)
        Variance of the difference of two means between cases (or clusters of cases).
    case_df : float
        Its degrees of freedom.
    third : ndarray, shape (..., architectures, architectures)
        Third cumulant of that difference; positive where few cases favour the first by much.
    run, residual : Spread
        Between the training runs of a fold, and of case x run.
    fold_means : ndarray, shape (..., architectures, folds)
    fold_weights : ndarray, shape (folds,)
        Share of the cases of each fold.
    fold_clusters : ndarray, shape (..., architectures, architectures) or None
        What clusters that lie in several folds add to the variance between folds.
    units : int
        Independent cases, or clusters of cases.
    n_cases : int
    seeds : ndarray of int, shape (architectures,)
        Fewest runs in a fold.
    """

    mean: Array
    case_variance: Array
    case_df: float
    third: Array
    run: Spread
    residual: Spread
    fold_means: Array
    fold_weights: Array
    fold_clusters: Array | None
    units: int
    n_cases: int
    seeds: Index

    @property
    def n_folds(self) -> int:
        """Folds that hold cases."""
        return len(self.fold_weights)

    def take(self, architectures: Sequence[int]) -> Moments:
        """Moments of some of the architectures, by their places."""
        one = np.asarray(architectures)
        two = (..., one[:, None], one)

        def of(spread: Spread) -> Spread:
            return Spread(spread.square[..., one], spread.df[..., one], spread.weight[..., one])

        return replace(
            self,
            mean=self.mean[..., one],
            case_variance=self.case_variance[two],
            third=self.third[two],
            run=of(self.run),
            residual=of(self.residual),
            fold_means=self.fold_means[..., one, :],
            fold_clusters=None if self.fold_clusters is None else self.fold_clusters[two],
            seeds=self.seeds[one],
        )


def moments_of(
    methods: Sequence[Blocks | Sequence[Array]], clusters: Sequence[Index] | None = None
) -> Moments:
    """Take the moments of scores in blocks.

    Parameters
    ----------
    methods : sequence of blocks
        By architecture one array (cases, seeds) per fold; all on the same cases.
    clusters : sequence of ndarray of int, optional
        Per fold the cluster of each case, numbered over all folds: cases of one cluster depend on
        each other. Without it every case stands for itself.
    """
    sizes = [len(block) for block in methods[0]]
    means = np.stack([np.concatenate([b.mean(axis=1) for b in blocks]) for blocks in methods])
    numbers = None if clusters is None else np.concatenate(list(clusters))
    return moments_of_means(
        means,
        sizes,
        numbers,
        _spread([run_component(blocks) for blocks in methods]),
        _spread([residual_component(blocks) for blocks in methods]),
        np.array([min(block.shape[1] for block in blocks) for blocks in methods]),
    )


def moments_of_many(scores: Array, clusters: Index | None = None) -> Moments:
    """Take the moments of many experiments of one balanced design.

    Parameters
    ----------
    scores : ndarray, shape (..., architectures, folds, cases, seeds)
        ``cases`` is per fold.
    clusters : ndarray of int, shape (folds, cases), optional
        Cluster of each case.
    """
    folds, cases, seeds = scores.shape[-3:]
    n, df = folds * cases, folds * (seeds - 1)
    run_means = scores.mean(axis=-2)
    centred = run_means - run_means.mean(axis=-1, keepdims=True)
    run_squares = (centred**2).sum(axis=(-1, -2))
    case_means = scores.mean(axis=-1)
    rest = scores - run_means[..., None, :] - case_means[..., None]
    rest += scores.mean(axis=(-1, -2), keepdims=True)
    rest_squares = np.einsum("...fcs,...fcs->...", rest, rest)

    def spread(squares: Array, df: int, weight: float) -> Spread:
        whole = np.ones_like(squares)
        return Spread(squares / df if df else 0 * squares, df * whole, weight * whole)

    return moments_of_means(
        case_means.reshape(*case_means.shape[:-2], n),
        [cases] * folds,
        None if clusters is None else clusters.reshape(-1),
        spread(run_squares, df, 1 / (folds * seeds)),
        spread(rest_squares, (n - folds) * (seeds - 1), 1 / (n * seeds)),
        np.full(scores.shape[-4], seeds),
    )


def _spread(components: Sequence[Component]) -> Spread:
    return Spread(
        np.array([c.mean_square for c in components]),
        np.array([c.df for c in components], dtype=float),
        np.array([c.weight for c in components]),
    )


def moments_of_means(
    means: Array,
    sizes: Sequence[int],
    clusters: Index | None,
    run: Spread,
    rest: Spread,
    seeds: Index,
) -> Moments:
    """Complete moments of which the mean squares of runs are known.

    Parameters
    ----------
    means : ndarray, shape (..., architectures, cases)
        Seed-averaged score of each case, fold by fold.
    sizes : sequence of int
        Cases of each fold.
    clusters : ndarray of int, shape (cases,), optional
        Cluster of each case.
    run, rest : Spread
        Between the training runs of a fold, and of case x run.
    seeds : ndarray of int, shape (architectures,)
        Fewest runs in a fold.
    """
    n = sum(sizes)
    fold_of = np.repeat(np.arange(len(sizes)), sizes)
    fold_means = means @ _indicator(fold_of, len(sizes)) / np.asarray(sizes)
    total = means.mean(axis=-1)
    # Within folds: the means of folds differ by the networks that scored them, which is not the
    # cases' doing.
    centred = means - fold_means[..., fold_of]
    units, fold_clusters = n, None
    if clusters is None or len(np.unique(clusters)) == n:
        df = float(n - len(sizes))
        factor = 1 / (n * df) if df else 0.0
        case_variance, third = _of_pairs(centred, factor)
    else:
        case_variance, third, df, units, fold_clusters = _clustered(
            means, centred, total, fold_of, clusters
        )
    return Moments(
        mean=total,
        case_variance=case_variance,
        case_df=df,
        third=third,
        run=run,
        residual=rest,
        fold_means=fold_means,
        fold_weights=np.asarray(sizes) / n,
        fold_clusters=fold_clusters,
        units=units,
        n_cases=n,
        seeds=seeds,
    )


def _of_pairs(values: Array, factor: float | Array) -> tuple[Array, Array]:
    """Weighted sums of squares and cubes of all differences of two rows, as variances of a mean.

    ``values`` is (..., architectures, units) and centred; ``factor`` is what a square weighs in the
    variance of a mean, for all units or for each.
    """
    weight = np.broadcast_to(np.asarray(factor, dtype=float), values.shape[-1:])
    weighted = values * weight
    gram = weighted @ values.swapaxes(-1, -2)
    own = np.einsum("...kk->...k", gram)
    squares = np.maximum(own[..., :, None] + own[..., None, :] - 2 * gram, 0.0)
    # (a - b)^3 = a^3 - 3 a^2 b + 3 a b^2 - b^3; the cube weighs the square's weight to 3/2.
    cubed = values * weight**1.5
    cross = (cubed * values) @ values.swapaxes(-1, -2)
    cube = np.einsum("...kk->...k", cross)
    cubes = cube[..., :, None] - cube[..., None, :] - 3 * (cross - cross.swapaxes(-1, -2))
    return squares, cubes


def _clustered(
    means: Array, centred: Array, total: Array, fold_of: Index, clusters: Index
) -> tuple[Array, Array, float, int, Array | None]:
    """Variances between clusters instead of cases (CR2; df of Bell and McCaffrey, 2002)."""
    names, index = np.unique(clusters, return_inverse=True)
    member = _indicator(index, len(names))
    n, size = len(index), member.sum(axis=0)
    folds = np.array([len(np.unique(fold_of[index == g])) for g in range(len(names))])
    nested = bool((folds == 1).all())
    if nested:
        fold_of_cluster = np.array([fold_of[index == g][0] for g in range(len(names))])
        whole = np.bincount(fold_of)[fold_of_cluster].astype(float)
        sums = centred @ member
    else:
        # Where clusters lie in several folds, centring within folds would take out a part of what
        # they share. So the whole table is centred; what the networks of a fold do to it is counted
        # twice then, which errs on the safe side.
        fold_of_cluster = np.zeros(len(names), dtype=np.int64)
        whole = np.full(len(names), float(n))
        sums = (means - total[..., None]) @ member
    # A cluster pulls the mean towards itself, the more so the larger it is.
    alone = size >= whole
    factor = np.where(alone, 0.0, 1 / np.where(alone, 1.0, 1 - size / whole))
    variance, third = _of_pairs(sums, factor / n**2)
    pull = factor * size**2
    together = fold_of_cluster[:, None] == fold_of_cluster
    off = np.where(together, pull[:, None] * pull / whole**2, 0.0)
    np.fill_diagonal(off, 0.0)
    spread = float(size[~alone].astype(float) @ size[~alone] + off.sum())
    df = float(size[~alone].sum()) ** 2 / spread if spread else 0.0
    across = None
    if not nested:
        # Folds and clusters cross: their variances add, and what a single case makes of both is
        # counted once (Cameron, Gelbach and Miller, 2011).
        single, _ = _of_pairs(means - total[..., None], 1 / (n * max(n - 1, 1)))
        across = variance - single
    return variance, third, df, len(names), across


def _indicator(index: Index, number: int) -> Array:
    return np.eye(number)[index]
