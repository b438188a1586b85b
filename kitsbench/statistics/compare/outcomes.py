"""The rows of a comparison: judged pairs, the ranking, the sensitivity analysis, warnings."""

from __future__ import annotations

import math
from typing import Any

from kitsbench.statistics.compare.pairs import PairTest, analyse_pairs, mean_rows, number
from kitsbench.statistics.compare.verdicts import (
    FAILURES_TO_WARN,
    FAILURES_WITHOUT_VERDICT,
    Finding,
    Verdict,
    decide,
    nothing_learned,
    sentence,
)
from kitsbench.statistics.design.power import POWER, smallest_detectable_gap
from kitsbench.statistics.ranks.ranking import Stability, percentile_interval, rank, rank_groups
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.tests.effects import effect_sizes
from kitsbench.statistics.tests.families import adjust
from kitsbench.statistics.tests.folds_and_cases import FOLDS_FOR_A_FOLD_TEST, best_test
from kitsbench.statistics.tests.rule import Rule

FEW_CASES = 50
SEEDS_FOR_A_BOOTSTRAP = 3  # with fewer runs to draw from, percentile intervals are too short


def judge(
    blocks: ScoreBlocks,
    tests: list[PairTest],
    rule: Rule,
    margin: float | None,
    dataset: str,
    stability: Stability,
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
    stability : Stability
        Bootstrap of the means, for the intervals that check those of the tests.

    Returns
    -------
    rows : list of dict
        One per pair.
    separated : list of (str, str)
        The pairs between which a difference was found.
    """
    differences = adjust([test.result.p_value for test in tests], rule.correction)
    equivalences = adjust([test.p_equivalence for test in tests], rule.correction)
    resampled = adjust([test.p_nadeau_bengio for test in tests], rule.correction)
    rates = {name: blocks.failure_rate(name) for name in blocks.architectures}
    rows, separated = [], []
    columns = (tests, differences, equivalences, resampled)
    for test, p_adjusted, p_equivalence, p_resampled in zip(*columns, strict=True):
        failures = {
            name: rates[name] for name in (test.a, test.b) if rates[name] > FAILURES_WITHOUT_VERDICT
        }
        finding = Finding(
            a=test.a,
            b=test.b,
            endpoint=blocks.endpoint,
            result=test.result,
            p_adjusted=float(p_adjusted),
            p_equivalence=float(p_equivalence),
            p_nadeau_bengio=test.p_nadeau_bengio,
            margin=margin,
            gap=smallest_detectable_gap(test.result.se, test.result.df, rule.alpha),
            alpha=rule.alpha,
            power=POWER,
            dataset=dataset,
            failures=failures,
        )
        verdict, better = decide(finding)
        if better is not None:
            separated.append((test.a, test.b))
        row = _pair_row(blocks, test, finding, verdict, better)
        row |= _training_sets(blocks, finding, better, float(p_resampled))
        rows.append(row | _redrawn(blocks, test, stability, rule.alpha))
    return rows, separated


def _pair_row(
    blocks: ScoreBlocks, test: PairTest, finding: Finding, verdict: Verdict, better: str | None
) -> dict[str, Any]:
    effects = effect_sizes(
        blocks.values[finding.a], blocks.values[finding.b], blocks.endpoint.higher_is_better
    )
    return {
        **test.numbers(blocks.endpoint),
        "p_value": number(test.result.p_value),
        "p_adjusted": number(finding.p_adjusted),
        "p_equivalence": number(finding.p_equivalence),
        "p_nadeau_bengio": number(finding.p_nadeau_bengio),
        "win": effects.win,
        "tie": effects.tie,
        "loss": effects.loss,
        "rank_biserial": number(effects.rank_biserial),
        "verdict": verdict,
        "better": better,
        "sentence": sentence(finding, verdict, better),
        "scope": test.result.scope,
        "test": test.result.test,
        "hodges_lehmann": number(effects.hodges_lehmann),
        "dz": number(effects.dz),
        "probability_better": number(effects.probability_better),
        "smallest_detectable_gap": number(finding.gap),
    }


def _training_sets(
    blocks: ScoreBlocks, finding: Finding, better: str | None, p_adjusted: float
) -> dict[str, Any]:
    """Scope L2: whether a finding also holds for other training sets; None where it is none."""
    settled = better is not None and len(blocks.folds) >= FOLDS_FOR_A_FOLD_TEST
    settled = settled and finding.result.scope == "L1" and math.isfinite(p_adjusted)
    return {
        "p_nadeau_bengio_adjusted": number(p_adjusted),
        "robust_to_training_set": p_adjusted < finding.alpha if settled else None,
    }


def _redrawn(
    blocks: ScoreBlocks, test: PairTest, stability: Stability, alpha: float
) -> dict[str, Any]:
    """Cross-checks: percentile interval of the two-level bootstrap, and posterior probabilities."""
    low = high = None
    if test.result.n_seeds >= SEEDS_FOR_A_BOOTSTRAP:
        a, b = (blocks.architectures.index(name) for name in (test.a, test.b))
        low, high = percentile_interval(stability.means[:, a] - stability.means[:, b], alpha)
    posterior = test.posterior
    return {
        "ci_bootstrap_low": low,
        "ci_bootstrap_high": high,
        "posterior_a_better": None if posterior is None else posterior.first_better,
        "posterior_equivalent": None if posterior is None else posterior.equivalent,
        "posterior_b_better": None if posterior is None else posterior.second_better,
    }


def ranking(
    blocks: ScoreBlocks,
    separated: list[tuple[str, str]],
    rule: Rule,
    stability: Stability,
) -> list[dict[str, Any]]:
    """Rank architectures by their mean, best first, with rank intervals and groups.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    separated : list of (str, str)
        Pairs between which a difference was found.
    rule : Rule
        Of the intervals. With a baseline there are no groups: most pairs were not tested.
    stability : Stability
        Bootstrap of the ranks.
    """
    means = list(blocks.means.values())
    ranks = rank(means, blocks.endpoint.higher_is_better)
    order = sorted(range(len(means)), key=lambda i: (ranks[i], blocks.architectures[i]))
    groups: dict[str, str] = {}
    if rule.baseline is None:
        groups = rank_groups([blocks.architectures[i] for i in order], separated)
    rows = []
    for i in order:
        name = blocks.architectures[i]
        interval = best_test(blocks.values[name], None, rule.alpha, rule.conservative)
        rows.append(
            {
                "architecture": name,
                "mean": means[i],
                "rank": int(ranks[i]),
                "rank_low": int(stability.rank_low[i]),
                "rank_high": int(stability.rank_high[i]),
                "p_first": float(stability.p_first[i]),
                "group": groups.get(name),
                "ci_low": number(interval.ci_low),
                "ci_high": number(interval.ci_high),
                "failure_rate": blocks.failure_rate(name),
            }
        )
    return rows


def listwise(
    blocks: ScoreBlocks, names: list[tuple[str, str]], rule: Rule
) -> dict[str, Any] | None:
    """Compare again without the cases that failed for any architecture.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    names : list of (str, str)
        Pairs.
    rule : Rule
        How pairs are tested.

    Returns
    -------
    dict or None
        None where nothing failed.
    """
    if not any(blocks.failure_rate(name) for name in blocks.architectures):
        return None
    kept = blocks.without_failures()
    what = "listwise: without the cases that failed for any architecture"
    if kept is None:
        return {"rule": what, "n_cases": 0, "means": [], "pairs": []}
    tests = analyse_pairs(kept, names, rule)
    return {
        "rule": what,
        "n_cases": kept.n_cases,
        "means": mean_rows(kept),
        "pairs": [test.brief() for test in tests],
    }


def warnings_of(blocks: ScoreBlocks, tests: list[PairTest], rule: Rule) -> list[str]:
    """Say what a reader must know before believing the tables.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    tests : list of PairTest
        The pairs that were tested.
    rule : Rule
        Its ``test`` is what was asked for.
    """
    notes = list(blocks.notes)
    if not tests:
        notes.append("There is one architecture only, so there is nothing to compare it with.")
    for name in blocks.architectures:
        rate = blocks.failure_rate(name)
        if rate > FAILURES_WITHOUT_VERDICT:
            notes.append(
                f"{100 * rate:.0f} % of the predictions of {name} failed (more than 10 %): they "
                "count with the penalty, and no verdict is given on it."
            )
        elif rate > FAILURES_TO_WARN:
            notes.append(
                f"{100 * rate:.1f} % of the predictions of {name} failed; they count with the "
                "penalty. Without those cases: see the sensitivity analysis."
            )
    if blocks.n_cases < FEW_CASES:
        notes.append(
            f"Number of cases {blocks.n_cases}: below {FEW_CASES} the intervals of single means "
            "cover less than they say."
        )
    if tests and rule.test != "auto":
        notes.append(
            f"Asked for: {tests[0].result.test}. It takes the trained networks as given (scope "
            "L0): between equal architectures it finds differences far more often than alpha "
            "says, because all cases of a fold share one network."
        )
    elif blocks.n_cases > 1 and any(test.result.scope == "L0" for test in tests):
        notes.append(
            "Without a second seed or four folds the tests speak of these trained models only "
            "(scope L0); rank intervals vary the cases alone. Run at least two seeds."
        )
    if nothing_learned(blocks.endpoint.metric, blocks.means.values()):
        notes.append(
            f"No architecture has learned the region: every mean {blocks.endpoint.name} is below "
            f"{blocks.endpoint.facts.learned_from:g}. That they are alike says nothing about them; "
            "train longer."
        )
    values = [block for name in blocks.architectures for block in blocks.values[name]]
    if all((block == values[0].flat[0]).all() for block in values):
        notes.append(
            f"Every score of {blocks.endpoint.name} is {values[0].flat[0]:g}; constant scores "
            "cannot tell architectures apart."
        )
    return notes
