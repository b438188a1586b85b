"""The plan of looks of an experiment, the scores that they see, and what they found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from kitsbench.experiments.records import ExperimentRecord, LooksRecord, UntilNote
from kitsbench.look import Look, said
from kitsbench.statistics.looks.evidence import earliest_look
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.table.endpoints import margin_of, parse_endpoint


def plans(record: ExperimentRecord) -> list[LookPlan]:
    """The plans of looks of an experiment: one, or of a claim one for each pair that it compares.

    All steps of a claim must hold, so no step needs a correction for the others.

    Parameters
    ----------
    record : ExperimentRecord
        With its question.
    """
    assert record.until is not None
    names = [e.name for e in record.entrants if is_compared(record, e.name)]
    return plans_of(record.until, names, record.endpoint, len(record.folds.used))


def plans_of(until: UntilNote, names: Sequence[str], endpoint: str, folds: int) -> list[LookPlan]:
    """The same, of what an experiment says of itself.

    Parameters
    ----------
    until : UntilNote
    names : sequence of str
        Who is compared.
    endpoint : str
        ``region:metric``.
    folds : int
        How many are run.
    """
    plan = LookPlan(
        looks=until.looks[-1],
        planned=until.looks,
        architectures=tuple(sorted(names)),
        spending=until.spending,
        alpha=until.alpha,
        margin=margin_of(parse_endpoint(endpoint), None),
        futility=until.futility,
        share=until.share,
        endpoint=endpoint,
        fold_count=folds,
    )
    if until.question == "claim":
        return [
            replace(plan, question="pair", pair=pair, architectures=tuple(sorted(pair)))
            for pair in until.pairs
        ]
    baseline = until.named if until.question == "baseline" else None
    return [replace(plan, question=until.question, baseline=baseline)]


def seen_by(plan: LookPlan, scores: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Scores of the endpoint that a look sees, of those that its plan compares.

    Parameters
    ----------
    plan : LookPlan
    scores : DataFrame
        Long score table, of any protocols, regions and metrics.
    protocol : str
    """
    region, metric = plan.endpoint.split(":")
    rows = (
        (scores["protocol"] == protocol)
        & (scores["region"] == region)
        & (scores["metric"] == metric)
        & scores["architecture"].isin(plan.architectures)
    )
    return scores[rows].reset_index(drop=True)


def is_compared(record: ExperimentRecord, name: str) -> bool:
    """Whether an entrant is one that the question is about."""
    entrant = record.entrant(name)
    if entrant is None or not entrant.asked or entrant.status != "ok":
        return False
    return entrant.elsewhere is None or not entrant.elsewhere.apart


def taken(kept: LooksRecord, family: int) -> list[Look]:
    """The looks that were taken, at one of the families of the question."""
    return [look.families[family] for look in kept.looks]


def told_known(known: int) -> str:
    """Say that trials had finished before the looks were declared; empty where none had.

    Parameters
    ----------
    known : int
        How many.
    """
    if not known:
        return ""
    what = "1 trial of the plan had" if known == 1 else f"{known} trials of the plan had"
    return (
        f"{what} finished before the looks were declared. Whoever had looked at their scores by "
        "then has taken a look of his own, and the error of the looks here does not count it."
    )


def told_early(until: UntilNote, folds: int) -> str:
    """Say which looks can only give pairs up; empty where each can settle one.

    Parameters
    ----------
    until : UntilNote
    folds : int
        How many are run.
    """
    first = earliest_look(folds, until.looks)
    if first == until.looks[0]:
        return ""
    which = f"the last, after {first} seeds" if first == until.looks[-1] else f"after {first} seeds"
    return (
        f"With {folds} fold{'s' * (folds != 1)}, the first look that can settle a pair is {which}; "
        "before it a pair can only be given up."
    )


def told_look(kept: LooksRecord, place: int, last: int) -> str:
    """One sentence on a look.

    Parameters
    ----------
    kept : LooksRecord
    place : int
        Of the look among those that were taken, from 0.
    last : int
        Seeds of the last look planned.
    """
    look = kept.looks[place]
    states = [pair.state for pair in look.pairs]
    parts = [
        f"{states.count(state)} {what}"
        for state, what in (
            ("difference", "with a difference"),
            ("equivalence", "equivalent"),
            ("futile", said("futile", look.seeds >= last)),
            ("not asked", said("not asked")),
            ("open", said("open")),
        )
        if state in states
    ]
    on = f"{len(look.going)} go on: {', '.join(look.going)}" if look.going else "nobody goes on"
    pairs = f"{len(states)} pair" + "s" * (len(states) != 1)
    return f"Look after {look.seeds} seeds: {pairs}, {', '.join(parts)}; {on}."
