"""Looks at simulated experiments: many at once, seed by seed, by the functions of real looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kitsbench.statistics.design.scope import seeds_for_a_verdict
from kitsbench.statistics.looks.clock import Clock, counted_df, share_of_cases
from kitsbench.statistics.looks.course import (
    FEWEST_FOR_A_LOOK,
    FEWEST_IN_ALL,
    Evidence,
    Flags,
    Standing,
    advance,
    beginning,
    still_running,
)
from kitsbench.statistics.looks.ordering import reach
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.families import exceeds_p
from kitsbench.statistics.tests.joint import FEWEST_RUN_DF, folds_test, joint_test
from kitsbench.statistics.tests.moments import Index, Moments, Spread, moments_of_means
from kitsbench.statistics.tests.statements import margin_p, unseen


class Rounds:
    """Scores of many experiments, to be looked at seed by seed.

    Parameters
    ----------
    scores : ndarray, shape (experiments, architectures, folds, cases, seeds)
        ``cases`` is per fold.
    """

    def __init__(self, scores: Array) -> None:
        r, k, self.folds, self.cases, self.seeds = scores.shape
        count = np.arange(1, self.seeds + 1)
        n = self.folds * self.cases
        by_case = scores.cumsum(axis=-1) / count
        by_run = scores.mean(axis=-2)  # (r, k, folds, seeds)
        mean = by_run.cumsum(axis=-1) / count
        self._run = (by_run**2).cumsum(axis=-1).sum(axis=2) - (mean**2 * count).sum(axis=2)
        total = np.einsum("rkfcs,rkfcs->rks", scores, scores).cumsum(axis=-1)
        cases = np.einsum("rkfcs,rkfcs->rks", by_case, by_case) * count
        self._rest = np.maximum(total - cases - self.cases * self._run, 0.0)
        self.size = (r, k)
        self._by_case = by_case.reshape(r, k, n, self.seeds)

    def moments(self, seeds: Index) -> Moments:
        """Moments where every architecture has some of its seeds, the first ones.

        Parameters
        ----------
        seeds : ndarray of int, shape (experiments, architectures)
        """
        at = (seeds - 1)[..., None]
        n, f = self.folds * self.cases, self.folds
        means = np.take_along_axis(self._by_case, at[..., None], axis=-1)[..., 0]
        run_df, rest_df = f * (seeds - 1.0), (n - f) * (seeds - 1.0)

        def spread(squares: Array, df: Array, weight: Array) -> Spread:
            found = np.take_along_axis(squares, at, axis=-1)[..., 0]
            return Spread(found / np.maximum(df, 1), df, weight)

        return moments_of_means(
            means,
            [self.cases] * f,
            None,
            spread(self._run, run_df, 1 / (f * seeds)),
            spread(self._rest, rest_df, 1 / (n * seeds)),
            seeds.min(axis=0),
        )


def asked(plan: LookPlan, architectures: int) -> tuple[Index, Index]:
    """Places of the architectures of every pair that a plan asks about.

    Parameters
    ----------
    plan : LookPlan
        Its baseline, if it has one, is the first architecture, whatever its name.
    architectures : int
        How many.

    Returns
    -------
    first, second : ndarray of int, shape (pairs,)
    """
    if plan.question == "baseline":
        others = np.arange(1, architectures)
        return others, np.zeros_like(others)
    return np.triu_indices(architectures, 1)


def evidence(
    moments: Moments, seeds: Index, plan: LookPlan, fresh: Flags, first: Index, second: Index
) -> Evidence:
    """What scores say of each pair, as a look at a table finds it.

    Parameters
    ----------
    moments : Moments
        Of experiments at a look.
    seeds : ndarray of int, shape (experiments, architectures)
        Runs in each fold.
    plan : LookPlan
        With a margin.
    fresh : ndarray of bool, shape (experiments, pairs)
        Pairs with new runs.
    first, second : ndarray of int, shape (pairs,)
        Architectures of each pair.
    """
    shape = (len(moments.mean), len(first))
    cases = np.ones(shape)
    both = (1 / seeds[:, first] + 1 / seeds[:, second]) / 2
    runs = 1 / (both * plan.looks)
    if moments.run.df.min() >= FEWEST_RUN_DF:
        found = joint_test(moments, first, second)
        enough = np.minimum(moments.run.df[:, first], moments.run.df[:, second])
        share = share_of_cases(found.v_case, found.v_run, found.v_residual, cases, runs)
    else:
        found = folds_test(moments, first, second)
        enough = np.full(shape, moments.n_folds - 1)
        share = np.full(shape, plan.share)
    missed = np.maximum(moments.mean[..., first], moments.mean[..., second])
    margin = plan.margin or 0.0
    exceeds, within_p = margin_p(
        found.estimate, found.se, found.df, found.skew, margin, missed, moments.units,
        unseen(plan.alpha, len(first)),
    )  # fmt: skip
    return Evidence(
        estimate=found.estimate,
        se=found.se,
        df=found.df,
        p=exceeds_p(found.estimate, found.se, found.df, 0.0),
        p_exceeds=exceeds,
        p_within=within_p,
        share=share,
        cases=cases,
        runs=runs,
        fresh=fresh,
        enough=(enough >= FEWEST_FOR_A_LOOK) & (found.df >= FEWEST_IN_ALL),
        hopeless=np.zeros(shape, dtype=bool),
        means=moments.mean,
        trains=np.ones(moments.mean.shape[-1], dtype=bool),
        higher=True,
    )


@dataclass(frozen=True)
class Followed:
    """Experiments after their last look.

    Attributes
    ----------
    standing : Standing
    seeds : ndarray of int, shape (experiments, architectures)
        Runs in each fold at the end.
    first : int
        Number of the first look that could test anything.
    bounds, tested : list of ndarray, shape (experiments, pairs)
        By look: what the estimate of each pair had to reach, and whether it was tested.
    """

    standing: Standing
    seeds: Index
    first: int
    bounds: list[Array]
    tested: list[Array]


def follow(rounds: Rounds, plan: LookPlan, clock: Clock, stop: bool = True) -> Followed:
    """Take all looks at experiments.

    Parameters
    ----------
    rounds : Rounds
    plan : LookPlan
    clock : Clock
        With the spending of the plan.
    stop : bool
        Whether architectures stop that have no open pair; otherwise all run to the end.
    """
    size, k = rounds.size
    first, second = asked(plan, k)
    standing = beginning((size, len(first)), plan.margin is not None)
    earliest = seeds_for_a_verdict(rounds.folds)
    seeds = np.zeros((size, k), dtype=np.int64)
    runs = np.ones((size, k), dtype=bool)
    bounds, tested = [], []
    for number in range(1, plan.looks + 1):
        seeds = seeds + runs
        if number < earliest or not runs.any():
            continue
        # Who stopped after one seed tells nothing of runs; a second one stands in for it.
        least = 1 if rounds.folds * (number - 1) < FEWEST_RUN_DF else 1 + -(-2 // rounds.folds)
        counted = np.maximum(seeds, least)
        fresh = runs[:, first] & runs[:, second]
        seen = evidence(rounds.moments(counted), counted, plan, fresh, first, second)
        standing = advance(standing, seen, plan, clock, number, first, second)
        df = counted_df(standing.df, number >= plan.looks, len(first))
        bounds.append(reach(standing.bound, standing.se, df))
        tested.append(standing.tested_at == number)
        if stop:
            runs = runs & still_running(standing.state, first, second, k)
    return Followed(standing, seeds, earliest, bounds, tested)
