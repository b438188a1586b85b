"""The power of a design: how often the very analysis of a comparison finds a gap.

What a design will find is not only a matter of its standard error. Few runs leave few degrees of
freedom, a family of pairs is judged far out in the tail, and how much training scatters must be
estimated on the way. So the analysis itself is run, on mean squares drawn as a normal model with
given variance components has them (their expectations are those of the analysis of variance).
Scores between 0 and 1 scatter less near 1, so an architecture that is ahead may scatter less than
the others: how much, a pilot table tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize, special

from kitsbench.statistics.design.power import Components
from kitsbench.statistics.design.scope import allows_verdict
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.families import adjust
from kitsbench.statistics.tests.joint import (
    FEWEST_RUN_DF,
    PairStatistics,
    folds_test,
    joint_test,
)
from kitsbench.statistics.tests.moments import Moments, Spread

_PAIRS_DRAWN = 400_000
_FEWEST_DRAWS, _MOST_DRAWS = 1000, 8000
_SEED = 7  # the same draws for every gap, so that power rises with it
_MOST = 40  # standard errors; a design that finds nothing at that has no gap to tell


@dataclass(frozen=True)
class Design:
    """A balanced design, and how its scores scatter.

    Attributes
    ----------
    cases, folds, seeds : int
        Cases over all folds; folds, 1 for a hold-out; runs per architecture and fold.
    architectures : int
        Compared in one family; one of them is better than all others, which are equal.
    components : Components
        Standard deviations.
    """

    cases: int
    folds: int
    seeds: int
    architectures: int
    components: Components

    @property
    def se(self) -> float:
        """Standard error of a difference of two means.

        ``SE^2 = 2 case_sd^2 / N + 2 noise_sd^2 / (N S) + 2 tau^2 / (F S)``.
        """
        c = self.components
        by_case = c.case_sd**2 / self.cases + c.noise_sd**2 / (self.cases * self.seeds)
        return float(np.sqrt(2 * by_case + 2 * c.seed_sd**2 / (self.folds * self.seeds)))

    def power(self, gap: float, alpha: float = 0.05) -> float:
        """Chance that the better architecture is found to be better than one of the others.

        Parameters
        ----------
        gap : float
            By which it is better.
        alpha : float
            Level of the family, adjusted by Holm.

        Returns
        -------
        float
            Mean over the pairs with the better one; NaN where the design allows no verdict.
        """
        if not allows_verdict(self.folds, self.seeds):
            return float("nan")
        ahead = self.components.ahead(gap)
        # Where scores scatter alike everywhere, a gap moves estimates alone, so that one set of
        # experiments serves all gaps.
        found = self._alike if ahead == self.components else self._pairs(ahead)
        with_better = np.triu_indices(self.architectures, 1)[0] == 0
        estimate = found.estimate + gap * with_better
        p = 2 * special.stdtr(found.df, -np.abs(estimate) / found.se)
        hit = (adjust(p, "holm") < alpha) & (estimate > 0)
        return float(hit[:, with_better].mean())

    def detectable_gap(self, power: float = 0.8, alpha: float = 0.05) -> float:
        """Smallest gap that is found with a given power; NaN where there is none."""
        if not allows_verdict(self.folds, self.seeds) or self.se == 0:
            return float("nan")

        def missing(ratio: float) -> float:
            return self.power(ratio * self.se, alpha) - power

        most = 4.0
        while missing(most) < 0:
            most *= 2
            if most > _MOST:
                return float("nan")
        gap = float(optimize.brentq(missing, 0.0, most, xtol=0.005) * self.se)
        room = math.inf if self.components.mean is None else 1 - self.components.mean
        return gap if gap < room else float("nan")

    @cached_property
    def _alike(self) -> PairStatistics:
        return self._pairs(self.components)

    def _pairs(self, ahead: Components) -> PairStatistics:
        """All pairs of experiments whose first architecture is the better, with no gap yet."""
        first, second = np.triu_indices(self.architectures, 1)
        if self.folds * (self.seeds - 1) >= FEWEST_RUN_DF:
            return joint_test(self._drawn(ahead), first, second)
        return folds_test(self._drawn(ahead), first, second)

    def _drawn(self, ahead: Components) -> Moments:
        """Moments of experiments without a gap, the first architecture with its own components."""
        k, n, f, s = self.architectures, self.cases, self.folds, self.seeds
        c, draws = self.components, _PAIRS_DRAWN // (k * (k - 1) // 2)
        draws = min(max(draws, _FEWEST_DRAWS), _MOST_DRAWS)
        rng = np.random.default_rng(_SEED)
        run_df, case_df = f * (s - 1), n - f
        noise, seed = np.full(k, c.noise_sd**2), np.full(k, c.seed_sd**2)
        noise[0], seed[0] = ahead.noise_sd**2, ahead.seed_sd**2
        of_case = c.case_sd**2 + noise / s
        of_run = seed + noise * f / n
        # Means of folds: each has cases and runs of its own. Balanced means, mean squares between
        # cases, between runs, and of the rest are independent of each other.
        by_fold = rng.standard_normal((draws, k, f))
        by_fold *= np.sqrt(of_case * f / n + seed / s)[:, None]
        variances = _pair_variances(rng, draws, np.sqrt(of_case), case_df) / n if case_df else 0.0
        whole = np.ones((draws, k))

        def spread(expected: Array, df: int, weight: float) -> Spread:
            square = rng.chisquare(df, (draws, k)) / df * expected if df else 0 * whole
            return Spread(square, df * whole, weight * whole)

        return Moments(
            mean=by_fold.mean(axis=-1),
            case_variance=np.zeros((draws, k, k)) + variances,
            case_df=float(case_df),
            third=np.zeros((draws, k, k)),
            run=spread(of_run, run_df, 1 / (f * s)),
            residual=spread(noise, case_df * (s - 1), 1 / (n * s)),
            fold_means=by_fold,
            fold_weights=np.full(f, 1 / f),
            fold_clusters=None,
            units=n,
            n_cases=n,
            seeds=np.full(k, s),
        )


def _pair_variances(rng: np.random.Generator, draws: int, sd: Array, df: int) -> Array:
    """Mean squares of the differences of independent normal samples, one for each SD.

    Shape (draws, samples, samples). The samples are not drawn one by one: their products are a
    Wishart matrix, which is that of a triangle of chi and normal variables (Bartlett, 1933).
    """
    k = len(sd)
    if df < k:
        values = rng.standard_normal((draws, k, df))
        gram = values @ values.swapaxes(-1, -2)
    else:
        triangle = np.tril(rng.standard_normal((draws, k, k)), -1)
        index = np.arange(k)
        triangle[:, index, index] = np.sqrt(rng.chisquare(df - index, (draws, k)))
        gram = triangle @ triangle.swapaxes(-1, -2)
    gram *= sd[:, None] * sd
    own = np.einsum("dkk->dk", gram)
    return np.asarray((own[:, :, None] + own[:, None, :] - 2 * gram) / df)
