"""What a look found, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kitsbench.look import Look, PairLook
from kitsbench.statistics.compare.pairs import PairTest
from kitsbench.statistics.design.scope import advice
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.looks.sharing import least_hope


def reason_of(
    row: PairLook,
    test: PairTest | None,
    lost: Mapping[str, float],
    failing: Mapping[str, float],
    plan: LookPlan,
    number: int,
) -> str:
    """Say why a pair has its state.

    Parameters
    ----------
    row : PairLook
        The pair, but for the reason.
    test : PairTest or None
        Its test at this look.
    lost, failing : mapping
        Architectures that have not learned the endpoint, and those with many failed predictions.
    plan : LookPlan
    number : int
        Of the look.
    """
    if row.state == "difference":
        size = {True: ", by more than the margin", False: ", by less than the margin", None: ""}
        return f"{row.better} is better{size[row.relevant]} (look {row.settled_at})"
    if row.state == "equivalence":
        return f"the difference lies within the margin {plan.margin:g} (look {row.settled_at})"
    if row.state == "not asked":
        return "the question needs no answer: one of the two is out, or neither leads"
    if row.a in lost and row.b in lost:
        return "neither has learned the endpoint"
    bad = [name for name in (row.a, row.b) if name in failing]
    if bad:
        return f"more than 10 % of the predictions of {' and '.join(bad)} failed"
    if number >= plan.looks:
        if row.tested_at is not None and row.tested_at < number:
            return f"it got no more runs after look {row.tested_at}, which gave it up"
        return "the planned rounds are over"
    if row.state == "futile" and test is not None and not test.settles:
        return "one of the two has one run in a fold, and so few folds allow no test of it"
    if row.state == "futile":
        chance = row.chance or 0.0
        told = f"the chance to settle it by round {plan.looks} is {100 * chance:.1f} %"
        if chance < plan.futility:
            return f"{told}, below {100 * plan.futility:g} %"
        return (
            f"{told}, too little for architectures that would go on for little else (one pair "
            f"alone needs {200 * least_hope(plan.futility):.1f} %)"
        )
    if test is None:
        return "one of the two has no scores yet, or shares no fold with the others"
    if not test.settles:
        more = advice(test.result.n_folds, test.result.n_seeds)
        return f"so few runs allow no test yet. {more}".strip()
    if row.chance is None:
        return "nothing is known of it yet"
    return f"the chance to settle it by round {plan.looks} is {100 * row.chance:.0f} %"


def notes_of(look: Look, plan: LookPlan, earlier: Sequence[Look], is_short: bool) -> list[str]:
    """Say what a reader must know of a look.

    Parameters
    ----------
    look : Look
        But for its notes.
    plan : LookPlan
    earlier : sequence of Look
        The looks before.
    is_short : bool
        Whether it is the last planned look, and no pair has what was planned.
    """
    notes = []
    if is_short:
        notes.append(
            f"Look {look.number} is the last that is planned, and no pair has 95 % of the planned "
            "cases and runs: alpha is spent by what is there, as at the looks before."
        )
    if not look.planned:
        listed = ", ".join(map(str, plan.planned)) or f"1 to {plan.looks}"
        cost = f"it spends {look.price:.2g} of alpha"
        if look.price <= 0:
            cost = "no alpha is left for it, so it can settle nothing"
            if look.number < plan.looks:
                cost = "it brings no information, so it spends no alpha and settles nothing"
        notes.append(
            f"Look {look.number} is not planned (planned: {listed}): {cost}, "
            f"{look.spent:.2g} of {plan.alpha:g} with the looks before."
        )
    seen = len({trial for before in earlier for trial in before.trials})
    if earlier and len(look.trials) == seen and look.number < plan.looks:
        notes.append("No trial is new since the look before.")
    return notes
