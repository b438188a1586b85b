"""A comparison whose verdicts are those of the looks that were taken, and not those of its scores.

Who tests the scores of a run that stopped because of what it saw, as if nobody had looked, errs
more often than he says. What such a test gives stands beside each verdict as ``naive``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kitsbench.look import Look, PairLook
from kitsbench.statistics.compare.by_looks import both_ways, by_look, stated
from kitsbench.statistics.compare.comparison import Comparison
from kitsbench.statistics.compare.sensitivity import only_named
from kitsbench.statistics.compare.verdicts import (
    FAILURES_WITHOUT_VERDICT,
    Finding,
    decide,
)
from kitsbench.statistics.design.power import POWER
from kitsbench.statistics.looks.final import FinalPair, final_pairs
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.ranks.ranking import rank_groups, rank_intervals
from kitsbench.statistics.ranks.schemes import with_wins
from kitsbench.statistics.table.endpoints import parse_endpoint
from kitsbench.statistics.table.grid import NOT_IMPUTED
from kitsbench.statistics.tests.twoway import TestResult

NAIVE = (
    "difference",
    "verdict",
    "better",
    "p_adjusted",
    "p_equivalence",
    "p_exceeds_margin",
    "ci_simultaneous_low",
    "ci_simultaneous_high",
)
"""Keys of a pair that looks decide; what they would be without looks stands below ``naive``."""
LOOK = (
    "state", "reason", "settled_at", "tested_at", "estimate", "se", "df", "fraction", "bound",
    "chance", "spent",
)  # fmt: skip
ENDS = ("unbiased", "ordered_low", "ordered_high")


def respecting(
    comparison: Comparison, plans: Sequence[LookPlan], looks: Sequence[Sequence[Look]]
) -> Comparison:
    """Give a comparison the verdicts of its looks.

    Parameters
    ----------
    comparison : Comparison
        Of the scores that the looks have counted.
    plans : sequence of LookPlan
        Of each family.
    looks : sequence of sequence of Look
        Those that were taken at each, in their order; at least one.

    Returns
    -------
    Comparison
        With the pairs that the looks are about, in the order of the comparison. Each has a key
        ``look`` with what the last look found, and the estimate and the interval by the order of
        looks; and ``naive`` with what a test finds that knows of no looks. Groups, intervals of
        ranks and wins follow from the verdicts; there is no P(first). Runs that collapsed are
        named, and no verdict without them is given.
    """
    known = both_ways(pair for taken in looks for pair in taken[-1].pairs)
    final: dict[tuple[str, str], FinalPair] = {}
    for plan, taken in zip(plans, looks, strict=True):
        for one in final_pairs(taken, plan):
            final |= {(one.a, one.b): one, (one.b, one.a): one.turned()}
    rows, separated = [], []
    for row in comparison.pairs:
        pair = known.get((row["a"], row["b"]))
        if pair is None:
            continue
        own = _respected(row, pair, final[pair.name], comparison, plans[0])
        rows.append(own)
        if own["better"] is not None:
            separated.append((own["better"], row["b" if own["better"] == row["a"] else "a"]))
    # Of some pairs alone no group can be told.
    names = {str(row["architecture"]) for row in comparison.ranking}
    whole = len(rows) == math.comb(len(names), 2)
    question = plans[0].question if whole else "some"
    counted = whole and comparison.rankings and any(own["scope"] != "L0" for own in rows)
    better = [own["better"] for own in rows] if counted else None
    collapsed, told = comparison.collapsed, comparison.warnings
    if comparison.collapsed is not None:
        # Judged again without them it was by a test that knows of no looks.
        naive, collapsed = comparison.collapsed, only_named(comparison.collapsed["runs"])
        told = [collapsed["sentence"] if one == naive["sentence"] else one for one in told]
    notes = [note for taken in looks for note in taken[-1].notes]
    return replace(
        comparison,
        pairs=rows,
        ranking=_ranked(comparison.ranking, separated, question),
        alpha=plans[0].alpha,
        smallest_detectable_gap=None,
        collapsed=collapsed,
        rankings=with_wins(comparison.rankings, better) if comparison.rankings else {},
        # Who stopped lacks nothing: its other runs were not needed.
        warnings=[
            *(n for n in told if not n.endswith(NOT_IMPUTED)),
            *(n for n in notes if n not in told),
        ],
    )


def _respected(
    row: dict[str, Any], pair: PairLook, end: FinalPair, comparison: Comparison, plan: LookPlan
) -> dict[str, Any]:
    """A pair's row with the verdict that the looks allow."""
    finding = by_look(_finding(row, pair, comparison, plan), pair)
    verdict, better = decide(finding)
    found = stated(finding, verdict, better)
    found["sentence"] += f" By the looks: {pair.reason}."
    found["robust_to_training_set"] = None if better is None else row["robust_to_training_set"]
    found["smallest_detectable_gap"] = None
    look = {
        **{key: getattr(pair, key) for key in LOOK},
        **{key: getattr(end, key) for key in ENDS},
    }
    return {**row, **found, "look": look, "naive": {key: row[key] for key in NAIVE}}


def _finding(
    row: dict[str, Any], pair: PairLook, comparison: Comparison, plan: LookPlan
) -> Finding:
    """What a verdict on the pair rests on, as of the look that its figures are from.

    Without what the look says of it, which is for :func:`by_look`.
    """
    means = {str(one["architecture"]): one for one in comparison.ranking}
    names = (row["a"], row["b"])
    rates = {name: float(means[name]["failure_rate"]) for name in names}
    at = pair.tested_at
    nan = math.nan

    def known(value: float | None) -> float:
        return nan if value is None else value

    estimate = row["difference"] if pair.estimate is None else pair.estimate
    result = TestResult(
        test=row["test"],
        scope=row["scope"] if at is None else "L1",
        estimate=estimate,
        se=known(pair.se),
        df=known(pair.df),
        t=nan,
        p_value=known(pair.p_value),
        ci_low=known(pair.low),
        ci_high=known(pair.high),
        n_cases=row["n_cases"],
        n_folds=row["n_folds"],
        n_seeds=row["n_seeds"],
    )
    return Finding(
        a=row["a"],
        b=row["b"],
        endpoint=parse_endpoint(comparison.endpoint),
        result=result,
        settles=at is not None,
        low=nan,
        high=nan,
        pairs=len(comparison.pairs),
        most_seeds=row["n_seeds"],
        p_adjusted=nan,
        p_exceeds=nan,
        p_within=nan,
        p_nadeau_bengio=known(row["p_nadeau_bengio"]),
        margin=plan.margin,
        gap=nan,  # of a fixed design; what a design with looks finds, `plan --until decided` says
        alpha=plan.alpha,
        power=POWER,
        dataset=comparison.dataset or "these data",
        failures={n: rate for n, rate in rates.items() if rate > FAILURES_WITHOUT_VERDICT},
        not_learned={n: float(means[n]["mean"]) for n in names if n in comparison.not_learned},
    )


def _ranked(
    ranking: list[dict[str, Any]], separated: list[tuple[str, str]], question: str
) -> list[dict[str, Any]]:
    """Rows of a ranking with the groups that the verdicts make; without, where few pairs are."""
    order = [str(row["architecture"]) for row in ranking]
    groups: dict[str, str] = {}
    places: dict[str, tuple[int, int]] = {}
    if question == "pairs":
        groups, places = rank_groups(order, separated), rank_intervals(order, separated)
    elif question == "top":  # who was found worse than anybody is out, whatever else is unknown
        out = {worse for _, worse in separated}
        groups = {name: "a" for name in order if name not in out}
    rows = []
    for row in ranking:
        name = str(row["architecture"])
        low, high = places.get(name, (None, None))
        own = {"group": groups.get(name), "rank_low": low, "rank_high": high, "p_first": None}
        rows.append({**row, **own})
    return rows
