"""From what was said of ``--until decided`` to the looks of an experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.claimed import match_pair
from kitsbench.experiments.asked.until import Until
from kitsbench.experiments.records import EntrantRecord, UntilNote
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.tests.folds_and_cases import FOLDS_FOR_A_FOLD_TEST
from kitsbench.statistics.tests.joint import FEWEST_RUN_DF
from kitsbench.statistics.tests.rule import DEFAULT_RULE


def note_until(
    until: Until | None, entrants: Sequence[EntrantRecord], folds: int, endpoint: str
) -> UntilNote | None:
    """What an experiment's file says of when it stops; None for a fixed design.

    Parameters
    ----------
    until : Until or None
    entrants : sequence of EntrantRecord
    folds : int
        How many are run.
    endpoint : str
        ``region:metric`` that verdicts are about.

    Raises
    ------
    UsageError
        No look could give a verdict, or the question is about somebody who does not take part.
    """
    if until is None:
        return None
    asked = [e for e in entrants if e.status == "ok" and e.asked]
    compared = [e.name for e in asked if e.elsewhere is None or not e.elsewhere.apart]
    if len(compared) < 2:
        raise UsageError(
            f"--until decided compares architectures, and {len(compared)} can be compared: name "
            "two or more, or leave --until out."
        )
    if until.kind == "baseline" and until.named not in compared:
        raise UsageError(
            f"The question is {until.question}, and no entrant has that name; choose one of "
            f"{', '.join(compared)}."
        )
    first = first_look(folds)
    if until.max_seeds < first:
        raise UsageError(
            f"--max-seeds {until.max_seeds} on {folds} fold{'s' * (folds != 1)} allows no verdict, "
            f"so there is nothing to decide: say --max-seeds {first} or more, or more --folds."
        )
    claimed = _claimed(until, compared, endpoint)
    _check_elsewhere(until, {e.name for e in asked if e.elsewhere is not None}, compared, folds)
    return UntilNote(
        question=until.kind,  # type: ignore[arg-type]
        named=until.named or None,
        pairs=claimed,
        looks=tuple(range(first, until.max_seeds + 1)),
        spending=until.spending,
        alpha=DEFAULT_RULE.alpha,
        futility=until.futility,
        share=LookPlan.share,
    )


def _check_elsewhere(until: Until, outside: set[str], compared: Sequence[str], folds: int) -> None:
    """See that some pair may be settled: few folds tell nothing of who has one run in each."""
    here = [name for name in compared if name not in outside]
    if folds >= FOLDS_FOR_A_FOLD_TEST or (until.named not in outside and len(here) >= 2):
        return
    raise UsageError(
        f"{', '.join(sorted(outside))} was trained elsewhere, so it has one run in each fold, and "
        f"on {folds} fold{'s' * (folds != 1)} no number of seeds allows a verdict on it: there is "
        f"nothing to decide. Say {FOLDS_FOR_A_FOLD_TEST} --folds or more, or ask another question."
    )


def first_look(folds: int) -> int:
    """Seeds from which on a design allows a verdict by cases and runs; never one alone.

    Parameters
    ----------
    folds : int
        How many are run; each has ``seeds - 1`` degrees of freedom for the scatter of runs.
    """
    return 1 + math.ceil(FEWEST_RUN_DF / max(folds, 1))


def _claimed(until: Until, known: Sequence[str], endpoint: str) -> tuple[tuple[str, str], ...]:
    """Entrants that the steps of a claim compare on the endpoint."""
    if until.kind != "claim":
        return ()
    asked = [step for step in until.steps if step[2] == endpoint]
    if not asked:
        others = list(dict.fromkeys(step[2] for step in until.steps))
        remedy = f"say --endpoint {others[0]}" if others else "ask another question"
        raise UsageError(
            f"The claim {until.named} compares {', '.join(others) or 'nothing'}, and the verdicts "
            f"are about {endpoint}: {remedy}."
        )
    found = []
    for higher, lower, _ in asked:
        pair, lacking = match_pair(higher, lower, known)
        if pair is None:
            raise UsageError(
                f"The claim {until.named} compares {' and '.join(lacking)}, which "
                f"{'do' if len(lacking) > 1 else 'does'} not take part; those that do are "
                f"{', '.join(known)}."
            )
        found.append(pair)
    return tuple(dict.fromkeys(found))
