"""Tests of all pairs of one endpoint, before any correction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.tests.casetests import run_test
from kitsbench.statistics.tests.families import equivalence_p
from kitsbench.statistics.tests.folds_and_cases import (
    Posterior,
    bayesian_test,
    nadeau_bengio,
)
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.samples import fold_means
from kitsbench.statistics.tests.twoway import TestResult


@dataclass(frozen=True)
class PairTest:
    """A pair with its test.

    Attributes
    ----------
    a, b : str
        Architectures; ``result.estimate`` is ``a`` minus ``b``.
    result : TestResult
        The test with the widest scope that the data allow.
    p_equivalence : float
        Unadjusted; NaN without a margin or without spread.
    p_nadeau_bengio : float
        NaN where the folds are no cross-validation.
    posterior : Posterior or None
        Of the Bayesian correlated t-test; None there, and without a margin.
    """

    a: str
    b: str
    result: TestResult
    p_equivalence: float
    p_nadeau_bengio: float
    posterior: Posterior | None

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
) -> list[PairTest]:
    """Test pairs of architectures.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    pairs : list of (str, str)
        Which.
    rule : Rule
        How.
    margin : float, optional
        Margin of equivalence; without one equivalence is not tested.
    """
    fold_count = rule.folds(len(blocks.folds))
    results = []
    for a, b in pairs:
        first, second = blocks.values[a], blocks.values[b]
        result = run_test(first, second, rule)
        equivalence = resampled = float("nan")
        posterior = None
        if margin is not None:
            equivalence = equivalence_p(result.estimate, result.se, result.df, -margin, margin)
        if fold_count >= 2 and len(blocks.folds) >= 2:
            differences = fold_means(first, second)
            ratio = 1 / (fold_count - 1)
            resampled = nadeau_bengio(differences, ratio, rule.alpha).p_value
            if margin is not None:
                higher = blocks.endpoint.higher_is_better
                posterior = bayesian_test(differences, ratio, margin, higher)
        results.append(PairTest(a, b, result, equivalence, resampled, posterior))
    return results


def number(value: float) -> float | None:
    """Return a finite float, or None for JSON."""
    return float(value) if math.isfinite(value) else None
