"""Where the wall time of an experiment went: in a line, in tables, and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kitsbench.experiments.records import AccountsRecord, Call, in_all
from kitsbench.experiments.records.accounts import CALL_PARTS, PARTS
from kitsbench.experiments.results import Results
from kitsbench.reporting import words
from kitsbench.reporting.tables import Table

NAMES = {
    "starting": "starting",
    "planning": "plugins and planning",
    "data": "data",
    "preparation": "preparation",
    "device": "measuring the device",
    "start_s": "starting trials",
    "training_s": "training",
    "loader_wait_s": "waiting for batches",
    "evaluation_s": "evaluation along the budget",
    "checkpoint_s": "checkpoints",
    "prediction_s": "prediction",
    "scoring_s": "scoring",
    "rest_s": "tables and maps",
    "process_s": "processes of trials",
    "lost_s": "trials that did not finish",
    "idle_s": "places without a trial",
    "profile": "profile",
    "report": "report",
}
LEFT_OVER = "not named"
MOST_TRIALS = 200
"""Trials that the report lists one by one; all are in its ``accounting.json``."""
SHOWN = 0.005
"""Share of the wall time below which the line at the end of a run is silent about a part."""


def parts_of(calls: Sequence[Call]) -> list[tuple[str, float, float | None]]:
    """Name, seconds of wall time, and seconds summed over trials side by side, of each part.

    Of what trials did beside each other the wall time is the sum divided by how many ran, at most,
    so that the first numbers add up to the wall time of the calls.

    Parameters
    ----------
    calls : sequence of Call

    Returns
    -------
    list of (str, float, float or None)
        The second number is None for what happens once a call.
    """
    found: list[tuple[str, float, float | None]] = []
    for part in CALL_PARTS:
        if part != "trials":
            found.append((NAMES[part], sum(getattr(call, f"{part}_s") for call in calls), None))
            continue
        for key in (*PARTS, "process_s", "lost_s", "idle_s"):
            sums = [(call.slot_seconds().get(key, 0.0), max(call.slots, 1)) for call in calls]
            found.append((NAMES[key], sum(s / slots for s, slots in sums), sum(s for s, _ in sums)))
    named = sum(wall for _, wall, _ in found)
    found.append((LEFT_OVER, sum(call.wall_s for call in calls) - named, None))
    return found


def told(call: Call) -> list[str]:
    """What a call took and how good its estimate was, in a line each.

    Parameters
    ----------
    call : Call
    """
    parts = parts_of([call])
    shown = [(name, wall) for name, wall, _ in parts if wall >= SHOWN * call.wall_s]
    rest = sum(wall for _, wall, _ in parts) - sum(wall for _, wall in shown)
    shown += [("all else", rest)] * (rest >= SHOWN * call.wall_s)
    beside = (
        f" (wall time: what {call.slots} trials did side by side is divided by {call.slots})"
        if call.slots > 1
        else ""
    )
    listed = ", ".join(f"{name} {words.exactly(wall)}" for name, wall in shown)
    lines = [f"Time: {words.exactly(call.wall_s)} in all{beside}: {listed}."]
    if call.foreseen_s is not None and call.foreseen_took_s is not None:
        lines.append(
            f"Estimated were {words.exactly(call.foreseen_s)} from the plan to the end; it took "
            f"{words.exactly(call.foreseen_took_s)}{_ratio(call.foreseen_took_s, call.foreseen_s)}."
        )
    return lines


def _ratio(took: float, foreseen: float) -> str:
    if foreseen <= 0:
        return ""
    return f", {took / foreseen:.2g} times as long"


def call_table(calls: Sequence[Call]) -> Table:
    """Wall time by part, over all calls that ran trials."""
    side = max(call.slots for call in calls)
    whole = sum(call.wall_s for call in calls)
    rows = []
    for name, wall, summed in parts_of(calls):
        if not wall and not summed:
            continue
        row = [name, words.exactly(wall), words.percent(wall / whole if whole else None, 1)]
        rows.append([*row, words.DASH if summed is None else words.exactly(summed)])
    trials = sum(call.trials_s * call.slots for call in calls)
    rows.append(["in all", words.exactly(whole), "100 %", words.exactly(trials)])
    head = ["Part", "Wall time", "Share", "Summed over trials side by side"]
    caption = (
        f"Of {words.plural(len(calls), 'call')} of kitsbench run, which ran "
        f"{words.plural(sum(call.trials for call in calls), 'trial')}, at most {side} at a time. "
        "The first numbers add up to the time on the wall. What trials did side by side is given "
        "as its sum, too; its wall time is the sum divided by how many ran at a time. The report "
        "counts until this table was written."
    )
    return Table(head, rows, caption)


def trial_rows(results: Results) -> list[dict[str, Any]]:
    """Of each trial with an account: which it is, and seconds by part over all its sittings."""
    return [
        {
            "trial": trial.id,
            "architecture": trial.name,
            "fold": trial.fold,
            "seed": trial.seed,
            "sittings": len(trial.ledger.sittings),
            **in_all(trial.ledger.sittings),
        }
        for trial in results.trials
        if trial.ledger is not None and trial.ledger.sittings
    ]


def trial_table(results: Results) -> Table | None:
    """Wall time of trials by part: of each, or of each architecture's mean where they are many."""
    found = trial_rows(results)
    if not found:
        return None
    many = len(found) > MOST_TRIALS
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in found:
        place = (row["architecture"], str(row["fold"]), str(row["seed"]))
        groups.setdefault(place[: 1 if many else 3], []).append(row)
    keys = [key for key in PARTS if any(row[key] for row in found)]
    rows = [
        [*place, *(words.exactly(_mean(own, key)) for key in (*keys, "wall_s"))]
        for place, own in groups.items()
    ]
    mean = [words.exactly(_mean(found, key)) for key in (*keys, "wall_s")]
    first = ["Architecture"] if many else ["Architecture", "Fold", "Seed"]
    rows.append(["mean", *[""] * (len(first) - 1), *mean])
    head = [*first, *(NAMES[key].capitalize() for key in keys), "In all"]
    caption = (
        f"Wall time of {'the trials, means over folds and seeds' if many else 'each trial'}, with "
        "that of processes that were stopped and whose work went on. Training is what the budget "
        "counts."
    )
    return Table(head, rows, caption, text_columns=len(first))


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    return float(sum(row[key] for row in rows) / len(rows))


def plain(results: Results, accounts: AccountsRecord | None) -> dict[str, Any]:
    """The same as plain data: calls, their parts, and trials, all in seconds."""
    calls = () if accounts is None else accounts.calls
    return {
        "calls": [as_plain(call) for call in calls],
        "wall_s": sum(call.wall_s for call in calls),
        "parts": [
            {"part": name, "wall_s": wall, "summed_s": summed}
            for name, wall, summed in (parts_of(calls) if calls else [])
        ],
        "trials": trial_rows(results),
    }


def as_plain(call: Call) -> dict[str, Any]:
    """A call as plain data, with what is left over of its wall time."""
    return {**call.model_dump(mode="json"), "left_over_s": call.left_over_s}
