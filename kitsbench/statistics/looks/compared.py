"""A comparison whose verdicts rest on looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from kitsbench.look import Look
from kitsbench.metrics import Metric
from kitsbench.statistics.compare.comparison import Comparison, compare
from kitsbench.statistics.looks.evidence import run_counts
from kitsbench.statistics.looks.final import final_pairs
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.looks.take import take_look
from kitsbench.statistics.table.endpoints import parse_endpoint


def compare_at_look(
    scores: pd.DataFrame,
    plan: LookPlan,
    earlier: Sequence[Look] = (),
    *,
    number: int | None = None,
    protocol: str | None = None,
    dataset: str | None = None,
    declared: Mapping[str, Metric] | None = None,
    cases: pd.DataFrame | None = None,
    cluster: str | None = None,
    **options: Any,
) -> tuple[Comparison, Look]:
    """Take a look, and compare by it: verdicts, groups and rank intervals hold over all looks.

    Parameters
    ----------
    scores, plan, earlier, number, protocol, dataset, declared, cases, cluster
        As for :func:`~kitsbench.statistics.looks.take.take_look`.
    **options
        Others of :func:`~kitsbench.statistics.compare`: ``strata``, ``demsar``, ``bootstrap`` ...

    Returns
    -------
    Comparison
        Its means and effect sizes are of all scores at hand; difference, interval, p-values and
        verdict of a pair are those of the look that tested it last. There is no P(first), and of a
        question about one pair no group. ``look`` holds the plan, the look, and the estimates of
        :func:`~kitsbench.statistics.looks.final.final_pairs`.
    Look
        To be kept, for the next one.
    """
    chosen = {
        "protocol": protocol,
        "dataset": dataset,
        "declared": declared,
        "cases": cases,
        "cluster": cluster,
    }
    look = take_look(scores, plan, earlier, number=number, **chosen)  # type: ignore[arg-type]
    # Whom the look left out, since he shares no fold with the others, is left out here as well.
    unseen = {*look.architectures} - {*run_counts(look.trials)}
    found = compare(
        scores[~scores["architecture"].isin(unseen)],
        parse_endpoint(plan.endpoint, declared),
        rule=plan.rule(),
        margins={plan.endpoint: plan.margin},
        judged=look.pairs,
        **chosen,  # type: ignore[arg-type]
        **options,
    )
    looks = [*(one for one in earlier if one.number < look.number), look]
    told = {
        "plan": asdict(plan),
        **look.to_dict(),
        "final": [pair.to_dict() for pair in final_pairs(looks, plan)],
    }
    asked = {frozenset(pair.name) for pair in look.pairs}
    pairs = [row for row in found.pairs if frozenset((row["a"], row["b"])) in asked]
    # Who comes first in a bootstrap knows of no looks; of some pairs alone no group can be told.
    silent: dict[str, Any] = {"p_first": None}
    if len(pairs) < len(found.pairs):
        silent |= dict.fromkeys(("group", "rank_low", "rank_high"))
    ranking = [{**row, **silent} for row in found.ranking]
    notes = [*look.notes, *found.warnings]
    return replace(found, pairs=pairs, ranking=ranking, look=told, warnings=notes), look
