"""Cells and sentences that all tables of a board share, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kitsbench.data.phantom.dataset import ON_MASKS
from kitsbench.leaderboard.parts import Curve, Score
from kitsbench.leaderboard.schema import Entry
from kitsbench.metrics.titles import endpoint_name
from kitsbench.text import markdown, markdown_code, numbers

DASH = "–"
_BLOCKS = "▁▂▃▄▅▆▇█"
# Names of papers that a link can be made of; whatever else stands there stays text.
_PAPER = re.compile(r"\b(doi|arxiv):([A-Za-z0-9][A-Za-z0-9._/-]*[A-Za-z0-9])", re.IGNORECASE)
_HOMES = {"doi": "https://doi.org/", "arxiv": "https://arxiv.org/abs/"}


def title(region: str, metric: str) -> str:
    """Head of a score's column."""
    name = endpoint_name(region, metric)
    return name[0].upper() + name[1:]


def lines(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def synthetic(first: Entry) -> str:
    """What a page must say of scans that are made up; empty of others."""
    if not first.synthetic:
        return ""
    if first.dataset.note.startswith(ON_MASKS):
        return (
            f"**{ON_MASKS}.** Only shapes, sizes and positions are those of patients. These "
            "numbers show how the architectures learn on simulated intensities under this budget; "
            "they say nothing about patients.\n"
        )
    return (
        "**Synthetic scans.** These numbers show how the architectures learn on a phantom "
        "under this budget; they say nothing about patients.\n"
    )


def scans(first: Entry) -> str:
    """The dataset, and the protocol that scores it."""
    aside = f", {first.dataset.n_excluded} set aside" if first.dataset.n_excluded else ""
    return (
        f"Dataset {markdown(first.dataset.name)} ({first.dataset.n_cases} cases{aside}, "
        f"fingerprint {markdown_code(first.dataset.fingerprint)}), protocol "
        f"{markdown(first.protocol)}"
    )


def other_endpoints(ordered: list[Entry]) -> list[Score]:
    """Dice of the other regions, first the protocol's, then labels that are not among them."""
    found: dict[str, Score] = {}
    first = next((entry for entry in ordered if entry.scores), ordered[0])
    protocols = [first.protocol, "labels"]
    for score in sorted(
        (s for s in first.scores if s.protocol in protocols and s.mean is not None),
        key=lambda s: protocols.index(s.protocol),
    ):
        if score.metric == "dice" and f"{score.region}:dice" != first.endpoint:
            found.setdefault(score.region, score)
    return list(found.values())


def named(entry: Entry) -> str:
    """Name and title, what it is planted for, what its training began with, how looks ended it."""
    text = " ".join(filter(None, [markdown_code(entry.name), markdown(entry.title)]))
    planted = f"planted: {entry.planted}" if entry.planted else ""
    said = [planted, entry.beginning, entry.ended_by_looks]
    return text + "".join(f" ({markdown(one)})" for one in said if one)


def with_interval(score: Score | None) -> str:
    """A mean with its interval."""
    if score is None or score.mean is None:
        return DASH
    if score.ci_low is None or score.ci_high is None:
        return f"{score.mean:.3f}"
    # With a space that no line breaks at: a narrow column keeps the interval in one piece.
    return f"{score.mean:.3f} [{score.ci_low:.3f},\u00a0{score.ci_high:.3f}]"


def mean_of(score: Score | None) -> str:
    """A mean alone."""
    return DASH if score is None or score.mean is None else f"{score.mean:.3f}"


def trials_of(entry: Entry) -> str:
    """How many training runs finished, of how many."""
    count = entry.trials.finished + entry.trials.failed
    return f"{entry.trials.finished}/{count}" + (" (failures)" if entry.trials.failed else "")


def big(value: float | None) -> str:
    """A number in three digits and a letter, where there is one."""
    return DASH if value is None else numbers.big(value)


def memory(value: int | None) -> str:
    """Bytes."""
    return DASH if value is None else f"{value / 2**20:.0f} MiB"


def duration(seconds: float | None) -> str:
    """Seconds on a device, in the unit in which they are no more than three digits."""
    if seconds is None:
        return DASH
    for factor, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def sparkline(curve: Curve | None) -> str:
    """Dice along the budget as a line of blocks, of which the lowest is 0 and the highest 1."""
    if curve is None:
        return DASH
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(value * top)] for value in curve.dice)


def paper(text: str) -> str:
    """What a plugin calls its paper, with links for whatever has a name that is one."""
    parts, at = [], 0
    for found in _PAPER.finditer(text):
        home = _HOMES[found[1].lower()]
        before = text[at : found.start()]
        gap = " " if before.endswith(" ") else ""  # which escaping takes away
        parts.append(f"{markdown(before)}{gap}[{markdown(found[0])}]({home}{found[2]})")
        at = found.end()
    return "".join([*parts, markdown(text[at:])])
