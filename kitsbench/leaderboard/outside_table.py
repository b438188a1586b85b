"""The table of what was trained elsewhere: apart from the others, by the same statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kitsbench.data.datasets.leaks import NOTHING
from kitsbench.experiments.records import ElsewhereRecord
from kitsbench.leaderboard.cells import (
    DASH,
    lines,
    mean_of,
    memory,
    named,
    other_endpoints,
    scans,
    synthetic,
    title,
    trials_of,
    with_interval,
)
from kitsbench.leaderboard.schema import Entry
from kitsbench.text import markdown, markdown_code

Pairs = Sequence[Mapping[str, Any]]
_SAID = (
    ("better_relevant", True, "better by more than the margin than"),
    ("better", True, "better than"),
    ("better_negligible", True, "better by less than the margin than"),
    ("not_learned", True, "better than, which has not learned the endpoint,"),
    ("equivalent", None, "equivalent to"),
    ("better_negligible", False, "worse by less than the margin than"),
    ("better", False, "worse than"),
    ("better_relevant", False, "worse by more than the margin than"),
    ("not_learned", False, "has not learned the endpoint, and is worse than"),
    ("not_learned", None, "not compared, since one of the two has not learned the endpoint, with"),
    ("inconclusive", None, "not told apart from"),
)
"""Verdicts on a pair, and whether the one from elsewhere is the better: the best first."""


def table_of_outside(ordered: list[Entry], alone: bool, pairs: Pairs = ()) -> str:
    """Systems and label maps that were given, apart from what was trained under the budget.

    Parameters
    ----------
    ordered : list of Entry
    alone : bool
        Whether no table above says what the scans are.
    pairs : sequence of mapping
        Verdicts, see :func:`~kitsbench.leaderboard.beside.beside`.
    """
    first = ordered[0]
    region, metric = first.endpoint.split(":")
    others = other_endpoints(ordered)
    head = ["System or label maps", markdown(f"{title(region, metric)} (95 % CI)")]
    head += [markdown(title(score.region, score.metric)) for score in others]
    head += ["Trained on", "Cost of training", "Predicting a scan", "Peak memory", "Trials"]
    rows = [
        [
            named(entry),
            with_interval(entry.score(entry.endpoint)),
            *(mean_of(entry.score(f"{s.region}:{s.metric}", s.protocol)) for s in others),
            *_known(entry, entry.elsewhere),
            memory(entry.cost.peak_memory_bytes),
            trials_of(entry),
        ]
        for entry in ordered
        if entry.elsewhere is not None
    ]
    rules = ["---", *("---:" for _ in head[1:])]
    said = [synthetic(first), scans(first) + "."] if alone else []
    said.append(
        "They had no budget here and not the recipe of the others, so they have no rank: a mean "
        "beside those above compares systems as they are, and says nothing about architectures. "
        "What they were trained on is what whoever entered them says."
    )
    leaks = [
        f"{markdown_code(entry.name)} may know the scans of the test: "
        f"{markdown(entry.elsewhere.leak)}."
        for entry in ordered
        if entry.elsewhere is not None and entry.elsewhere.leak is not None
    ]
    lost = [
        f"{markdown_code(entry.name)} has no label map of {entry.elsewhere.missing} cases, which "
        "count as missed."
        for entry in ordered
        if entry.elsewhere is not None and entry.elsewhere.missing
    ]
    text = "\n".join(filter(None, [*said, *leaks, *lost]))
    verdicts = [line for entry in ordered for line in _verdicts(entry.name, pairs)]
    if verdicts:
        verdicts.insert(
            0, "By the same test of the same cases, corrected for all pairs together:\n"
        )
    return "\n\n".join(filter(None, [text, lines([head, rules, *rows]), "\n".join(verdicts)]))


def _verdicts(name: str, pairs: Pairs) -> list[str]:
    """What may be said of one beside each other, as one point of a list."""
    found: dict[tuple[str, bool | None], list[str]] = {}
    for pair in pairs:
        if name in (pair["a"], pair["b"]):
            other = pair["b"] if name == pair["a"] else pair["a"]
            wins = None if pair["better"] is None else pair["better"] == name
            found.setdefault((pair["verdict"], wins), []).append(other)
    said = [
        f"{words} {', '.join(map(markdown_code, found[verdict, wins]))}"
        for verdict, wins, words in _SAID
        if (verdict, wins) in found
    ]
    return [f"- {markdown_code(name)}: {'; '.join(said)}."] if said else []


def _known(entry: Entry, known: ElsewhereRecord) -> list[str]:
    """What it was trained on, what that took, and what predicting a scan takes."""
    if known.hours is not None:
        training = f"{known.hours:g} h, as reported"
    else:
        training = "none" if known.trained_on == (NOTHING,) else "unknown"
    seconds = entry.cost.predict_s
    predicting = "unknown" if known.kind == "predictions" else DASH
    if seconds is not None:
        predicting = f"{seconds:.3g} s on {markdown(entry.cost.device)}"
    return [markdown("; ".join(known.trained_on)), training, predicting]
