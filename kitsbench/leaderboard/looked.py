"""Entries of runs that stopped by themselves: their looks, taken again from their tables.

What a look saw is told by the tables alone: at each, of every entrant, the seeds that it had run by
then. So nothing that an entry says of verdicts has to be believed.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from pydantic import Field

from kitsbench.errors import DataError
from kitsbench.experiments.looks.design import plans_of, seen_by
from kitsbench.experiments.plan.until import first_look
from kitsbench.experiments.records import UntilNote
from kitsbench.experiments.results import Results
from kitsbench.files.documents import Part
from kitsbench.look import Look
from kitsbench.statistics import Comparison, Rule, compare
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.looks.respected import respecting
from kitsbench.statistics.looks.take import take_look
from kitsbench.statistics.tests.rule import DEFAULT_RULE


class EntryLooks(Part):
    """What an entry says of the looks of its experiment.

    Attributes
    ----------
    until : UntilNote
        What had been declared beforehand.
    folds : int
        How many were run.
    compared : tuple of str
        Entrants that the question was about.
    taken : tuple of int
        Seeds at each look that was taken.
    over : bool
        Whether nothing was left to decide; False where hours ended the run.
    """

    until: UntilNote
    folds: int = Field(ge=1)
    compared: tuple[str, ...] = Field(min_length=2)
    taken: tuple[int, ...] = Field(min_length=1)
    over: bool


def looks_of(results: Results) -> EntryLooks | None:
    """The looks of an experiment, for its entries; None of a fixed design.

    Raises
    ------
    DataError
        They compared with who was trained elsewhere.
    """
    record, looks = results.experiment, results.looks
    if record.until is None or looks is None or not looks.looks:
        return None
    names = dict.fromkeys(n for f in looks.looks[0].families for n in f.architectures)
    if outside := [name for name in names if name in results.elsewhere]:
        raise DataError(
            f"The looks of experiment {record.id} compared with {', '.join(outside)}, trained "
            "elsewhere. A board takes looks again from the entries of an experiment, and who was "
            "trained elsewhere belongs to none.\nPublish the fixed design of the same trials "
            f"(`kitsbench run --add --seeds {record.seeds}`), or a run of its own architectures."
        )
    return EntryLooks(
        until=record.until,
        folds=len(record.folds.used),
        compared=tuple(names),
        taken=tuple(look.seeds for look in looks.looks),
        over=looks.over,
    )


def retaken(
    table: pd.DataFrame, endpoint: str, protocol: str, looks: EntryLooks
) -> list[list[Look]]:
    """The looks at each family of the question, taken once more from the first one on.

    Parameters
    ----------
    table : DataFrame
        Scores of all entries of the experiment.
    endpoint, protocol : str
    looks : EntryLooks

    Raises
    ------
    KitsbenchError
        The scores break a rule of the statistics, or are not those that were looked at.
    """
    found = []
    for plan in plans_of(looks.until, looks.compared, endpoint, looks.folds):
        of_plan = seen_by(plan, table, protocol)
        taken: list[Look] = []
        for seeds in looks.taken:
            seen = of_plan[of_plan["seed"] < seeds].reset_index(drop=True)
            taken.append(take_look(seen, plan, taken, number=seeds))
        found.append(taken)
    return found


def looked_comparison(
    table: pd.DataFrame, endpoint: str, protocol: str, fold_count: int, looks: EntryLooks
) -> Comparison:
    """Compare the entries of an experiment as its looks allow.

    Parameters
    ----------
    table : DataFrame
    endpoint, protocol : str
    fold_count : int
        Folds of the whole cross-validation.
    looks : EntryLooks

    Raises
    ------
    KitsbenchError
        As of :func:`retaken`.
    """
    until = looks.until
    region, metric = endpoint.split(":")
    found = compare(
        table[table["metric"] == metric],
        endpoint=(region, metric),
        rule=Rule(
            fold_count=fold_count,
            baseline=until.named if until.question == "baseline" else None,
        ),
        protocol=protocol,
        secondary=False,
    )
    plans = plans_of(until, looks.compared, endpoint, looks.folds)
    return respecting(found, plans, retaken(table, endpoint, protocol, looks))


def said_faults(
    looks: EntryLooks, folds: int, asked: Sequence[str], names: Sequence[str]
) -> list[str]:
    """What no run would have declared, in sentences: it would make looks cost less than they do.

    Parameters
    ----------
    looks : EntryLooks
    folds : int
        Folds of the entries.
    asked : sequence of str
        Entries of the experiment that are no members of an ensemble: alpha is shared by them all.
    names : sequence of str
        All of its entries.
    """
    until = looks.until
    planned = tuple(range(first_look(folds), until.looks[-1] + 1))
    rules: list[tuple[str, object, object]] = [
        ("folds", looks.folds, folds),
        ("until.looks", until.looks, planned),
        ("until.alpha", until.alpha, DEFAULT_RULE.alpha),
        ("until.share", until.share, LookPlan.share),
        ("taken", looks.taken, planned[: len(looks.taken)]),
    ]
    faults = [
        f"the key looks.{key} is {said}; a run of this design has {right}"
        for key, said, right in rules
        if said != right
    ]
    if strangers := sorted({*looks.compared} - {*names}):
        faults.append(f"the key looks.compared names '{strangers[0]}', which has no entry here")
    if left := sorted({*asked} - {*looks.compared}) if until.question != "claim" else []:
        faults.append(f"the key looks.compared lacks '{left[0]}', which shares alpha")
    return faults


def seed_faults(
    seeds: Sequence[tuple[str, int]], looks: EntryLooks, taken: Sequence[Sequence[Look]]
) -> list[str]:
    """Entries that have other seeds than the looks let them have, in sentences.

    Parameters
    ----------
    seeds : sequence of (str, int)
        Of each entry its name and how many it has.
    looks : EntryLooks
    taken : sequence of sequence of Look
        The looks at each family.
    """
    open_now = {name for family in taken for name in family[-1].open}
    newest = looks.taken[-1]
    faults = []
    if looks.over == bool(open_now):
        still = f"pairs of {', '.join(sorted(open_now))} open" if open_now else "no pair open"
        faults.append(f"the key looks.over is {looks.over}, and the last look left {still}")
    for name, own in seeds:
        if name not in looks.compared:
            continue
        if own not in looks.taken:
            faults.append(f"'{name}' has {own} seeds, and there was no look after them")
        elif own < newest and name in open_now:
            faults.append(
                f"'{name}' has {own} seeds, and had a pair open at the look after {newest}"
            )
    return faults
