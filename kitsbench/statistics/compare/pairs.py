"""Tests of all pairs of one endpoint, before any correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from kitsbench.errors import UsageError
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.tests.casetests import CASE_TESTS, run_test
from kitsbench.statistics.tests.folds_and_cases import (
    FOLD_T,
    FOLDS_FOR_A_FOLD_TEST,
    Posterior,
    bayesian_test,
    nadeau_bengio,
)
from kitsbench.statistics.tests.joint import (
    FEWEST_CLUSTER_DF,
    FEWEST_RUN_DF,
    JOINT,
    PairStatistics,
    folds_test,
    joint_test,
)
from kitsbench.statistics.tests.moments import Moments, moments_of
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.samples import fold_means
from kitsbench.statistics.tests.statements import margin_p, unseen
from kitsbench.statistics.tests.twoway import TestResult, t_result


@dataclass(frozen=True)
class PairTest:
    """A pair with its test.

    Attributes
    ----------
    a, b : str
        Architectures; ``result.estimate`` is ``a`` minus ``b``.
    folds : tuple of int
        Folds that both have.
    result : TestResult
        The test with the widest scope that the data allow.
    p_exceeds, p_within : float
        Unadjusted p-values that the difference exceeds the margin, and that it lies within it; NaN
        without a margin or without spread. ``p_within`` also where too few cases were scored to
        rule out misses that would exceed the margin.
    p_nadeau_bengio : float
        NaN where the folds are no cross-validation.
    posterior : Posterior or None
        Of the Bayesian correlated t-test; None there, and without a margin.
    """

    a: str
    b: str
    folds: tuple[int, ...]
    result: TestResult
    p_exceeds: float
    p_within: float
    p_nadeau_bengio: float
    posterior: Posterior | None

    @property
    def settles(self) -> bool:
        """Whether the test may give a verdict: on architectures, or on models if asked for them."""
        return self.result.scope == "L1" or self.result.test in CASE_TESTS

    def numbers(self, endpoint: Endpoint) -> dict[str, Any]:
        """Return what every table of pairs shows: who, on what, how many, how large."""
        result = self.result
        return {
            "a": self.a,
            "b": self.b,
            "region": endpoint.region,
            "metric": endpoint.metric,
            "n_cases": result.n_cases,
            "n_seeds": result.n_seeds,
            "n_folds": result.n_folds,
            "difference": result.estimate,
            "se": number(result.se),
            "df": number(result.df),
            "ci_low": number(result.ci_low),
            "ci_high": number(result.ci_high),
        }

    def brief(self) -> dict[str, Any]:
        """Return what tables beside the main one show: the difference, its interval and p-value."""
        result = self.result
        return {
            "a": self.a,
            "b": self.b,
            "difference": result.estimate,
            "ci_low": number(result.ci_low),
            "ci_high": number(result.ci_high),
            "p_value": number(result.p_value),
        }


def mean_rows(blocks: ScoreBlocks) -> list[dict[str, Any]]:
    """Mean of each architecture as rows of a table."""
    return [{"architecture": name, "mean": mean} for name, mean in blocks.means.items()]


def pair_names(architectures: tuple[str, ...], baseline: str | None) -> list[tuple[str, str]]:
    """All pairs, or each architecture against the baseline.

    Parameters
    ----------
    architectures : tuple of str
        Names.
    baseline : str or None
        One of them.

    Raises
    ------
    UsageError
        The baseline is not among them.
    """
    if baseline is None:
        return list(combinations(architectures, 2))
    if baseline not in architectures:
        raise UsageError(
            f"The baseline '{baseline}' is not in the table; choose one of "
            f"{', '.join(architectures)}."
        )
    return [(name, baseline) for name in architectures if name != baseline]


def analyse_pairs(
    blocks: ScoreBlocks,
    pairs: list[tuple[str, str]],
    rule: Rule,
    margin: float | None = None,
    family: int | None = None,
) -> list[PairTest]:
    """Test pairs of architectures, each on all folds that both have.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    pairs : list of (str, str)
        Which.
    rule : Rule
        How.
    margin : float, optional
        Margin of equivalence; without one nothing is said about margins.
    family : int, optional
        How many pairs share alpha, where not all of them are there yet.
    """
    # An architecture that lags behind must not take folds from the pairs of all others.
    together: dict[tuple[int, ...], list[tuple[str, str]]] = {}
    for a, b in pairs:
        together.setdefault(blocks.shared(a, b), []).append((a, b))
    found: dict[tuple[str, str], PairTest] = {}
    for folds, group in together.items():
        for test in _on_folds(blocks, folds, group, rule, margin, family or len(pairs)):
            found[test.a, test.b] = test
    return [found[pair] for pair in pairs]


def _on_folds(
    blocks: ScoreBlocks,
    folds: tuple[int, ...],
    pairs: list[tuple[str, str]],
    rule: Rule,
    margin: float | None,
    family: int,
) -> list[PairTest]:
    bound = unseen(rule.alpha, family)
    # All that have these folds take part: they tell how much training runs scatter.
    names = [name for name in blocks.architectures if set(folds) <= set(blocks.every[name])]
    moments = moments_of([blocks.of(name, folds) for name in names], blocks.cluster_numbers(folds))
    tested = _tests(blocks, folds, names, pairs, moments, rule)
    results = []
    fold_count = rule.folds(len(blocks.cases))
    mean = dict(zip(names, moments.mean, strict=True))
    worst = _worst(blocks, folds, names) if margin is not None else 0.0
    for (a, b), (result, skew) in zip(pairs, tested, strict=True):
        exceeds = within = resampled = float("nan")
        posterior = None
        if margin is not None:
            missed = np.array(max(abs(mean[name] - worst) for name in (a, b)))
            estimate, se, df, tilt = map(np.array, (result.estimate, result.se, result.df, skew))
            stated = margin_p(estimate, se, df, tilt, margin, missed, moments.units, bound)
            exceeds, within = map(float, stated)
        if fold_count >= 2 and len(folds) >= 2:
            differences = fold_means(blocks.of(a, folds), blocks.of(b, folds))
            ratio, weights = 1 / (fold_count - 1), moments.fold_weights
            resampled = nadeau_bengio(differences, ratio, rule.alpha, weights).p_value
            if margin is not None:
                higher = blocks.endpoint.higher_is_better
                posterior = bayesian_test(differences, ratio, margin, higher, weights)
        results.append(PairTest(a, b, folds, result, exceeds, within, resampled, posterior))
    return results


def _worst(blocks: ScoreBlocks, folds: tuple[int, ...], names: list[str]) -> float:
    """What a case costs that is missed: as the metric has it, else the worst score there is."""
    worth = blocks.endpoint.facts.at("empty_prediction")
    if isinstance(worth, (int, float)):
        return float(worth)
    every = np.concatenate([block.ravel() for name in names for block in blocks.of(name, folds)])
    return float(every.min() if blocks.endpoint.higher_is_better else every.max())


def _tests(
    blocks: ScoreBlocks,
    folds: tuple[int, ...],
    names: list[str],
    pairs: list[tuple[str, str]],
    moments: Moments,
    rule: Rule,
) -> list[tuple[TestResult, float]]:
    """The result and the skewness of each pair, by the test that its data allow."""
    place = {name: index for index, name in enumerate(names)}
    enough_clusters = blocks.clusters is None or moments.case_df >= FEWEST_CLUSTER_DF
    # Architectures with too few runs say nothing about how much runs scatter.
    several = [
        index
        for index, df in enumerate(moments.run.df)
        if df >= FEWEST_RUN_DF and moments.case_df > 0 and enough_clusters
    ]
    found: dict[tuple[str, str], tuple[TestResult, float]] = {}

    def run(test: str, some: Sequence[int], chosen: list[tuple[str, str]]) -> None:
        at = {names[index]: place for place, index in enumerate(some)}
        part = moments.take(some)
        first, second = (np.array([at[pair[side]] for pair in chosen]) for side in (0, 1))
        if test == JOINT:
            statistics = joint_test(part, first, second, rule.conservative)
        else:
            statistics = folds_test(part, first, second)
        seeds = [int(n) for n in np.minimum(part.seeds[first], part.seeds[second])]
        found.update(_results(test, statistics, chosen, seeds, part, rule.alpha))

    if rule.test == "auto":
        chosen = [p for p in pairs if place[p[0]] in several and place[p[1]] in several]
        if chosen:
            run(JOINT, several, chosen)
        chosen = [pair for pair in pairs if pair not in found]
        if chosen and len(folds) >= FOLDS_FOR_A_FOLD_TEST and enough_clusters:
            run(FOLD_T, range(len(names)), chosen)
    for a, b in pairs:
        if (a, b) in found:
            continue
        first, second = blocks.of(a, folds), blocks.of(b, folds)
        variance = None
        if blocks.clusters is not None:
            variance = float(moments.case_variance[place[a], place[b]]), moments.case_df
        found[a, b] = run_test(first, second, rule, variance), 0.0
    return [found[pair] for pair in pairs]


def _results(
    test: str,
    statistics: PairStatistics,
    pairs: list[tuple[str, str]],
    seeds: list[int],
    moments: Moments,
    alpha: float,
) -> dict[tuple[str, str], tuple[TestResult, float]]:
    found = {}
    for index, (a, b) in enumerate(pairs):
        result = t_result(
            test,
            "L1",
            float(statistics.estimate[index]),
            float(statistics.se[index]),
            float(statistics.df[index]),
            alpha,
            n_cases=moments.n_cases,
            n_folds=moments.n_folds,
            n_seeds=seeds[index],
        )
        result = replace(
            result,
            v_case=float(statistics.v_case[index]),
            v_run=float(statistics.v_run[index]),
            v_residual=float(statistics.v_residual[index]),
        )
        found[a, b] = result, float(statistics.skew[index])
    return found


def number(value: float) -> float | None:
    """Return a finite float, or None for JSON."""
    return float(value) if math.isfinite(value) else None
