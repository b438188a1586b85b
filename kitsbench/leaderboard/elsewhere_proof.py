"""What can be proven of an entry that was trained elsewhere.

What it was trained on is declared, and sealed. What follows from that, and from its label maps, is
worked out again.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kitsbench.data.datasets.leaks import why_known
from kitsbench.experiments.plan.elsewhere import BESIDE
from kitsbench.experiments.plan.entrant import NO_RECIPE
from kitsbench.experiments.records import ElsewhereRecord
from kitsbench.leaderboard.proof import differs, short
from kitsbench.leaderboard.schema import Entry
from kitsbench.metrics import FAILED, UNDEFINED
from kitsbench.training.budget import NO_BUDGET


def elsewhere_faults(entry: Entry, scores: pd.DataFrame | None) -> list[str]:
    """What is wrong with an entry that was trained elsewhere; nothing of any other.

    Parameters
    ----------
    entry : Entry
    scores : DataFrame or None
        Its table; None where something is wrong with that.
    """
    known = entry.elsewhere
    if known is None:
        return []
    found = [*_run_faults(entry, known)]
    if scores is not None:
        found += _case_faults(entry, known, scores)
    return found


def _run_faults(entry: Entry, known: ElsewhereRecord) -> Iterator[str]:
    by, given = "what was trained elsewhere", known.kind == "predictions"
    yield from differs("seeds", entry.seeds, 1, by)
    yield from differs("recipe.digest", entry.recipe.digest, NO_RECIPE.digest(), by)
    yield from differs("recipe.tuning", entry.recipe.tuning, None, by)
    if entry.identity is not None:
        budget = (NO_BUDGET.amount, NO_BUDGET.unit)
        yield from differs("identity.budget", entry.identity.budget, budget, by)
        yield from differs("identity.preparation", entry.identity.preparation, {}, by)
    for number, run in enumerate(entry.trials.runs):
        where = f"trials.runs.{number}"
        if run.members:
            yield f"the key {where}.members is {short(run.members)}; {by} combines nobody"
        if run.spent is None:
            continue
        for key in ("device_seconds", "steps", "voxels", "flops"):
            yield from differs(f"{where}.spent.{key}", getattr(run.spent, key), 0, by)
        if given and run.spent.inference_s is not None:
            yield f"the key {where}.spent.inference_s is set, but label maps were given"
    if known.hours is not None and not given:
        yield "the key elsewhere.hours is set, which only whoever gives label maps says"
    if known.missing and not given:
        yield f"the key elsewhere.missing is {known.missing}; a system leaves no case out"


def _case_faults(entry: Entry, known: ElsewhereRecord, scores: pd.DataFrame) -> Iterator[str]:
    cases = sorted(scores["case"].unique())
    right = why_known(
        known.trained_on,
        entry.dataset.name,
        cases,
        real=not entry.synthetic,
        synthetic=entry.synthetic,
    )
    # What lies beside label maps may tell of a leak that nobody has declared, never of none.
    told = known.leak is not None and known.leak.startswith(BESIDE)
    if not (told and known.kind == "predictions"):
        yield from differs("elsewhere.leak", known.leak, right, "elsewhere.trained_on")
    lost = scores[scores["status"].isin([*FAILED, UNDEFINED])]
    whole = scores.groupby("case").size()
    failed = int((lost.groupby("case").size().reindex(whole.index, fill_value=0) == whole).sum())
    if known.missing > failed:
        yield (
            f"the key elsewhere.missing is {known.missing}; the table has {failed} cases without "
            "any score of their own"
        )
