"""``kitsbench compare --look``: a comparison by looks, and their record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import tell
from kitsbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from kitsbench.statistics import Comparison, Endpoint, Rule

_OF_LOOKS = ("question", "spending", "futility")
_OF_PLANS = ("alpha", "correction", "conservative", "endpoint", "baseline", *_OF_LOOKS)


@dataclass(frozen=True)
class Looking:
    """What a plan of looks needs beside a rule."""

    question: str
    spending: str
    futility: float


def check_look(
    look: tuple[int, int] | None, spent: Path | None, given: Collection[str], test: str
) -> None:
    """Refuse options of looks that do not go together.

    Parameters
    ----------
    look : tuple of int, optional
        Round and planned rounds.
    spent : path, optional
        Record of looks.
    given : collection of str
        Options that were given.
    test : str
        The test that was asked for.

    Raises
    ------
    UsageError
        One is given without the other, or the test is none of looks.
    """
    if (look is None) != (spent is None):
        have, lack = ("--look", "--spent FILE") if spent is None else ("--spent", "--look K/M")
        raise UsageError(
            f"{have} was given without {lack}; a look needs both: which one it is, and the record "
            "of those before, to which it is added."
        )
    if look is None:
        lone = next((name for name in _OF_LOOKS if name in given), None)
        if lone is not None:
            raise UsageError(f"--{lone} is about looks; it goes with --look K/M and --spent FILE.")
    elif test != "auto":
        raise UsageError(
            f"--look goes with the test 'auto'; '{test}' speaks of trained models, which no "
            "further seed changes."
        )


def compare_and_record(
    table: pd.DataFrame,
    target: Endpoint,
    look: tuple[int, int],
    spent: Path,
    rule: Rule,
    margin: float | None,
    wanted: Looking,
    given: Collection[str],
    chosen: Mapping[str, Any],
) -> Comparison:
    """Compare by a look, and add it to its record.

    Parameters
    ----------
    table : DataFrame
        Scores so far.
    target : Endpoint
    look : tuple of int
        Round and planned rounds.
    spent : path
        The record; made where there is none.
    rule : Rule
        Of the first look.
    margin : float or None
        As it was asked for.
    wanted : Looking
    given : collection of str
        Options that were given: they must be those of the record.
    chosen : mapping
        Others of :func:`~kitsbench.statistics.compare`.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError, DataError
        The look does not fit the record, or the scores are not those of the looks before and more.
    """
    from dataclasses import replace

    from kitsbench.statistics import LookPlan, compare_at_look
    from kitsbench.statistics.looks.record import open_record
    from kitsbench.statistics.table.endpoints import margin_of

    number, rounds = look
    question = wanted.question if rule.baseline is None else "baseline"
    plan = LookPlan(
        looks=rounds,
        question=question,
        baseline=rule.baseline,
        spending=wanted.spending,
        alpha=rule.alpha,
        margin=margin_of(target, margin),
        futility=wanted.futility,
        correction=rule.correction,
        endpoint=target.name,
        conservative=rule.conservative,
        fold_count=rule.fold_count,
    )
    asked = {name: getattr(plan, name) for name in (*_OF_PLANS, "margin") if name in given}
    record = open_record(spent, plan, {**asked, "looks": rounds})
    found, taken = compare_at_look(table, record.plan, record.looks, number=number, **chosen)
    if not record.looks:
        record = record.model_copy(
            update={"plan": replace(plan, architectures=taken.architectures)}
        )
    if taken not in record.looks:
        record.with_look(taken).write(spent)
        tell(f"look {number} of {rounds} is recorded in {spent}")
    return found
