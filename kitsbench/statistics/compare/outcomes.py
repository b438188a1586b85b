"""The rows of a comparison: judged pairs and the ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitsbench.statistics.compare.by_looks import Looked, by_look, stated
from kitsbench.statistics.compare.means import interval_of_mean
from kitsbench.statistics.compare.pairs import PairTest, number
from kitsbench.statistics.compare.verdicts import (
    FAILURES_WITHOUT_VERDICT,
    Finding,
    Verdict,
    decide,
)
from kitsbench.statistics.design.power import POWER, detectable_gaps
from kitsbench.statistics.ranks.ranking import (
    Stability,
    percentile_interval,
    rank,
    rank_groups,
    rank_intervals,
)
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.tests.effects import effect_sizes
from kitsbench.statistics.tests.families import adjust
from kitsbench.statistics.tests.folds_and_cases import FOLDS_FOR_A_FOLD_TEST
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.statements import simultaneous, state

_CHUNK = 1000
MOST_WALSH_PAIRS = 500
"""Pairs (32 architectures) up to which the Hodges-Lehmann estimate of each is made."""
SEEDS_FOR_A_BOOTSTRAP = 3  # with fewer runs to draw from, percentile intervals are too short


def judge(
    blocks: ScoreBlocks,
    tests: list[PairTest],
    rule: Rule,
    margin: float | None,
    dataset: str,
    stability: Stability | None,
    lost: dict[str, float],
    judged: Looked | None = None,
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Adjust the families of p-values and say the verdict on each pair.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    tests : list of PairTest
        All pairs of the family.
    rule : Rule
        Its level and its correction.
    margin : float or None
        Margin of equivalence.
    dataset : str
        Name for the sentences.
    stability : Stability or None
        Bootstrap of the means, for the intervals that check those of the tests.
    lost : dict
        Means of the architectures that have not learned the endpoint.
    judged : mapping, optional
        What looks say of each pair; of a pair that is missing, nothing is said.

    Returns
    -------
    rows : list of dict
        One per pair.
    separated : list of (str, str)
        The better and the worse of each pair between which a difference was found.
    """
    # What cannot give a verdict is no member of the family: it would only make the rest stricter.
    settles = np.array([test.settles for test in tests], dtype=bool)
    together = int(settles.sum())
    nan = np.full(len(tests), np.nan)

    def family(values: list[float]) -> np.ndarray:
        return np.where(settles, np.array(values, dtype=float), nan)

    found = state(
        family([t.result.p_value for t in tests]),
        family([t.p_exceeds for t in tests]),
        family([t.p_within for t in tests]),
        rule.alpha,
        rule.correction,
    )
    resampled = adjust([test.p_nadeau_bengio for test in tests], rule.correction)
    gaps = detectable_gaps([t.result.se for t in tests], [t.result.df for t in tests], rule.alpha)
    # What can give no verdict detects nothing.
    gaps = np.where(settles, gaps, np.nan)
    bounds = _simultaneous(tests, settles, rule, found.differs < rule.alpha)
    redrawn = _bootstrapped(blocks, tests, stability, rule.alpha)
    rates = {name: blocks.failure_rate(name) for name in blocks.architectures}
    rows, separated = [], []
    for index, test in enumerate(tests):
        finding = Finding(
            a=test.a,
            b=test.b,
            endpoint=blocks.endpoint,
            result=test.result,
            settles=test.settles,
            low=bounds[index][0],
            high=bounds[index][1],
            pairs=together,
            most_seeds=max(
                block.shape[1] for name in (test.a, test.b) for block in blocks.of(name, test.folds)
            ),
            p_adjusted=float(found.differs[index]),
            p_exceeds=float(found.exceeds[index]),
            p_within=float(found.within[index]),
            p_nadeau_bengio=test.p_nadeau_bengio,
            margin=margin,
            gap=float(gaps[index]),
            alpha=rule.alpha,
            power=POWER,
            dataset=dataset,
            failures={
                name: rates[name]
                for name in (test.a, test.b)
                if rates[name] > FAILURES_WITHOUT_VERDICT
            },
            not_learned={name: lost[name] for name in (test.a, test.b) if name in lost},
        )
        if judged is not None:
            finding = by_look(finding, judged.get((test.a, test.b)))
        verdict, better = decide(finding)
        if better is not None:
            separated.append((better, test.b if better == test.a else test.a))
        row = _pair_row(blocks, test, finding, verdict, better)
        row |= _training_sets(blocks, finding, better, float(resampled[index]))
        rows.append(row | _checks(test, redrawn[index]))
    return rows, separated


def _simultaneous(
    tests: Sequence[PairTest], settles: np.ndarray, rule: Rule, found: np.ndarray
) -> list[tuple[float, float]]:
    """Intervals of all pairs that hold together; of each alone outside the family."""
    results = [test.result for test in tests]
    estimate, se, df = (
        np.array([getattr(result, name) for result in results], dtype=float)
        for name in ("estimate", "se", "df")
    )
    apart = found & ~np.array([result.contradicted for result in results], dtype=bool)
    low, high = simultaneous(estimate, se, df, rule.alpha, max(int(settles.sum()), 1), apart)
    member = settles & np.isfinite(se) & (se != 0)
    return [
        (float(low[i]), float(high[i])) if member[i] else (result.ci_low, result.ci_high)
        for i, result in enumerate(results)
    ]


def _pair_row(
    blocks: ScoreBlocks, test: PairTest, finding: Finding, verdict: Verdict, better: str | None
) -> dict[str, Any]:
    effects = effect_sizes(
        blocks.of(test.a, test.folds), blocks.of(test.b, test.folds),
        blocks.endpoint.higher_is_better,
        walsh=finding.pairs <= MOST_WALSH_PAIRS,
    )  # fmt: skip
    told = stated(finding, verdict, better)
    return {
        **test.numbers(blocks.endpoint),
        "p_value": number(test.result.p_value),
        "p_adjusted": told["p_adjusted"],  # beside the other p-values
        "p_equivalence": told["p_equivalence"],
        "p_nadeau_bengio": number(finding.p_nadeau_bengio),
        "win": effects.win,
        "tie": effects.tie,
        "loss": effects.loss,
        "rank_biserial": number(effects.rank_biserial),
        **told,
        "scope": test.result.scope,
        "test": test.result.test,
        "hodges_lehmann": number(effects.hodges_lehmann),
        "dz": number(effects.dz),
        "probability_better": number(effects.probability_better),
        "smallest_detectable_gap": number(finding.gap),
        # By the cases: the spread of runs may be that of all architectures, so it need not be 0.
        "identical": effects.tie > 0 == effects.win == effects.loss,
    }


def _training_sets(
    blocks: ScoreBlocks, finding: Finding, better: str | None, p_adjusted: float
) -> dict[str, Any]:
    """Scope L2: whether a finding also holds for other training sets; None where it is none."""
    settled = better is not None and finding.result.n_folds >= FOLDS_FOR_A_FOLD_TEST
    settled = settled and finding.result.scope == "L1" and math.isfinite(p_adjusted)
    return {
        "p_nadeau_bengio_adjusted": number(p_adjusted),
        "robust_to_training_set": p_adjusted < finding.alpha if settled else None,
    }


def _bootstrapped(
    blocks: ScoreBlocks, tests: Sequence[PairTest], stability: Stability | None, alpha: float
) -> NDArray[np.float64]:
    """Percentile intervals of the bootstrap, shape (pairs, 2); NaN where there is none."""
    bounds = np.full((len(tests), 2), np.nan)
    if stability is None:
        return bounds
    place = {name: index for index, name in enumerate(blocks.architectures)}
    drawn = [
        index
        for index, test in enumerate(tests)
        if test.result.n_seeds >= SEEDS_FOR_A_BOOTSTRAP and test.folds == blocks.folds
    ]
    for start in range(0, len(drawn), _CHUNK):
        part = drawn[start : start + _CHUNK]
        a, b = ([place[getattr(tests[i], side)] for i in part] for side in ("a", "b"))
        bounds[part] = np.stack(
            percentile_interval(stability.means[:, a] - stability.means[:, b], alpha), axis=-1
        )
    return bounds


def _checks(test: PairTest, bounds: NDArray[np.float64]) -> dict[str, Any]:
    """Cross-checks: percentile interval of the two-level bootstrap, and posterior probabilities."""
    posterior = test.posterior
    return {
        "ci_bootstrap_low": number(float(bounds[0])),
        "ci_bootstrap_high": number(float(bounds[1])),
        "posterior_a_better": None if posterior is None else posterior.first_better,
        "posterior_equivalent": None if posterior is None else posterior.equivalent,
        "posterior_b_better": None if posterior is None else posterior.second_better,
    }


def ranking(
    blocks: ScoreBlocks,
    tests: Sequence[PairTest],
    separated: list[tuple[str, str]],
    rule: Rule,
    stability: Stability | None,
) -> list[dict[str, Any]]:
    """Rank architectures by their mean, best first, with rank intervals and groups.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    tests : sequence of PairTest
        All pairs that were tested.
    separated : list of (str, str)
        The better and the worse of each pair between which a difference was found.
    rule : Rule
        Its baseline: with one, not all pairs were tested and there are no groups.
    stability : Stability or None
        Of the ranking when cases and runs are drawn again; None where they cannot be.

    Returns
    -------
    list of dict
        What does not hold for the design is None: rank intervals and groups of an architecture
        without a pair that could be settled, and P(first) unless all could be.
    """
    means, names = blocks.means, blocks.architectures
    found = rank([means[name] for name in names], blocks.endpoint.higher_is_better)
    ranks = {name: int(place) for name, place in zip(names, found, strict=True)}
    order = sorted(names, key=lambda name: (ranks[name], name))
    settled = {name for test in tests if test.settles for name in (test.a, test.b)}
    all_pairs = rule.baseline is None
    groups = rank_groups(order, separated) if all_pairs and settled else {}
    places = rank_intervals(order, separated)
    everywhere = all_pairs and bool(tests) and all(test.result.scope == "L1" for test in tests)
    rows = []
    for name in order:
        interval = interval_of_mean(blocks, name, rule)
        low, high = places[name] if all_pairs and name in settled else (None, None)
        if len(order) == 1:
            low = high = 1
        first = None
        if stability is not None and everywhere:
            first = float(stability.p_first[names.index(name)])
        rows.append(
            {
                "architecture": name,
                "mean": means[name],
                "rank": ranks[name],
                "rank_low": low,
                "rank_high": high,
                "p_first": first,
                "group": groups.get(name) if name in settled else None,
                "ci_low": number(interval.ci_low),
                "ci_high": number(interval.ci_high),
                "failure_rate": blocks.failure_rate(name),
            }
        )
    return rows
