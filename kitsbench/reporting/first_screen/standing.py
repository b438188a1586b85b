"""Who stands where: the rows of the first figure, whatever draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from kitsbench.metrics import find
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.axis import Axis
from kitsbench.reporting.first_screen.curves import still_rising
from kitsbench.reporting.first_screen.leading import leaders, unjudged
from kitsbench.reporting.scores import interval_of_mean
from kitsbench.statistics.table.endpoints import cut
from kitsbench.text import one_line

MOST_ROWS = 20
"""Rows of the figure; the tables have all."""
State = Literal["first", "level", "behind", "lost", "unjudged", "plain"]


@dataclass(frozen=True)
class Place:
    """A row of the figure.

    Attributes
    ----------
    name : str
    mean : float
    low, high : float or None
        The line beside the dot; None where there is none.
    state : str
        ``first``, ``level`` (not separated from the first), ``behind`` (separated from it),
        ``lost`` (learned nothing), ``unjudged`` (too many predictions failed), or ``plain`` where
        no verdict on architectures is given.
    rising : bool
        Whether its curve was still rising at the end of the budget.
    failed : int
        Its trials that failed.
    elsewhere : bool
        Whether it was trained elsewhere.
    """

    name: str
    mean: float
    low: float | None
    high: float | None
    state: State
    rising: bool
    failed: int
    elsewhere: bool = False

    @property
    def remark(self) -> str:
        """What is written beside its number; empty if nothing."""
        if self.failed:
            return f"{self.failed} failed"
        own = {"lost": "not learned", "unjudged": "no verdict"}.get(self.state, "")
        return own or "trained elsewhere" * self.elsewhere


@dataclass(frozen=True)
class Standing(Axis):
    """The rows of the figure, and its axis.

    Attributes
    ----------
    places : list of Place
        Best first.
    left_out : int
        Rows that the figure has no room for.
    together : bool
        Whether the lines are simultaneous intervals beside the first; else each is the interval
        over cases of a mean by itself.
    baseline : str
        The one that all others are compared with, which comes first then; else empty.
    endpoint : str
        Such as ``tumour Dice``, and which direction is better where it is not upwards.
    tips : dict of str to str
        What a pointer is told that rests on a row.
    official : dict of str to str
        The score by the challenge's rule, where it has one.
    groups : dict of str to str
        Letters of those that are not separated; empty where all share one, or nobody has one.
    """

    places: list[Place]
    left_out: int
    together: bool
    endpoint: str
    tips: dict[str, str] = field(default_factory=dict)
    official: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    baseline: str = ""

    def value(self, place: Place) -> str:
        """The mean of a row, with the digits of the tables where it is small."""
        return words.number(place.mean, 3 if self.high <= 10 else 2 if self.high <= 100 else 1)

    @property
    def beside(self) -> str:
        """What the lines are laid beside."""
        return self.baseline or "the first"

    @property
    def legend(self) -> str:
        """What dots, lines and marks are."""
        states = {place.state for place in self.places}
        if self.together:
            lines = (
                f"lines: where each may stand beside {self.beside} (95 %, for all pairs together). "
                f"A line that crosses the dashed one: not told apart from {self.beside} (blue); "
                f"orange: {'told apart from' if self.baseline else 'behind'} it"
            )
        else:
            lines = (
                "lines: 95 % interval over the scans, of these trained networks only; "
                "training again is not in it"
            )
        parts = [f"Dots: mean {self.endpoint}; {lines}."]
        if self.together and any(p.low is None and p.state == "level" for p in self.places):
            parts.append("No line: no look could test it yet, so it may stand anywhere.")
        if states & {"lost", "unjudged"}:
            what = [
                *["no better than finding nothing"] * ("lost" in states),
                *["too many failed predictions"] * ("unjudged" in states),
            ]
            parts.append(f"Hollow: {' or '.join(what)}.")
        if self.groups:
            parts.append("Letters: who shares one is not separated.")
        if any(place.rising for place in self.places):
            parts.append("↗ still rising when the budget ended.")
        if self.left_out:
            parts.append(f"{self.left_out} more stand in the table below.")
        return " ".join(parts)


def standing(analysis: Analysis) -> Standing | None:
    """Put the ranking into rows; None where there is no mean to show.

    Where verdicts on architectures are given, a row's line is the simultaneous interval of its
    difference from the first, laid beside the mean of the first: it crosses that mean if, and only
    if, the statistics do not separate the two. One that was separated narrowly ends at the mean.
    """
    rows = _rows(analysis)
    if not rows:
        return None
    together = analysis.scope not in ("", "L0")
    if analysis.baseline is not None:  # all lines are laid beside the first row, so it is that
        rows = sorted(rows, key=lambda row: row["architecture"] != analysis.baseline)
    first = str(rows[0]["architecture"])
    beside = _beside(analysis, first) if together else {}
    lost, doubtful = set(analysis.not_learned), set(unjudged(analysis))
    level = set(leaders(analysis))
    rising = set(still_rising(analysis))
    places = []
    for row in rows:
        name, mean = str(row["architecture"]), float(row["mean"])
        state: State = "plain"
        if name in doubtful:
            state = "unjudged"
        elif name in lost:
            state = "lost"
        elif together:
            state = "first" if name == first else "level" if name in level else "behind"
        low, high = beside.get(name, (None, None)) if together else _alone(row, analysis.metric)
        own = [trial for trial in analysis.results.trials if trial.name == name]
        failed = sum(trial.state == "failed" for trial in own)
        outside = name in analysis.elsewhere
        places.append(Place(name, mean, low, high, state, name in rising, failed, outside))
    shown = places[:MOST_ROWS]
    left, right = _axis(shown, analysis.metric)
    return Standing(
        places=shown,
        left_out=len(places) - len(shown),
        together=together,
        endpoint=_endpoint(analysis),
        low=left,
        high=right,
        tips={place.name: _tip(analysis, place) for place in shown},
        official=official_scores(analysis),
        groups=_groups(analysis),
        baseline=analysis.baseline or "",
    )


def _groups(analysis: Analysis) -> dict[str, str]:
    """Letters of the groups where they tell anything."""
    found = {str(row["architecture"]): row.get("group") or "" for row in analysis.ranking}
    return found if len(set(found.values())) > 1 else {}


def official_scores(analysis: Analysis) -> dict[str, str]:
    """What the rule of the challenge ranks, by architecture; empty where it has no rule."""
    rows = (analysis.comparison.get("official") or {}).get("rows", [])
    return {
        str(row["architecture"]): words.number(row.get("composite", row.get("mean_rank")))
        for row in rows
    }


def _tip(analysis: Analysis, place: Place) -> str:
    """What a pointer is told that rests on a row: all that the row stands for."""
    row = analysis.row(analysis.protocol, place.name, analysis.region, analysis.metric)
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    parts = [f"{place.name}: mean {endpoint} {words.number(place.mean)}"]
    span = interval_of_mean(row) if row else words.DASH
    if span != words.DASH:
        parts.append(f"95 % interval {span}")
    if row:
        cases, folds, seeds = (int(row[key]) for key in ("n_cases", "n_folds", "n_seeds"))
        design = f"{words.plural(folds, 'fold')} × {words.plural(seeds, 'seed')}"
        parts.append(f"{words.plural(cases, 'case')}, {design}")
    official = official_scores(analysis).get(place.name)
    if official:
        parts.append(f"official KiTS score {official}")
    own = [trial for trial in analysis.results.trials if trial.name == place.name]
    parts.append(f"{place.failed} of {words.plural(len(own), 'trial')} failed")
    return one_line("; ".join(parts))


def _endpoint(analysis: Analysis) -> str:
    """The endpoint, with the direction that is better where it is not upwards."""
    name = words.endpoint_name(analysis.region, analysis.metric)
    better = find(analysis.metric).better
    return f"{name}, {better} is better" if better == "lower" else name


def _rows(analysis: Analysis) -> list[dict[str, Any]]:
    """Rows with a mean, best first; of the summary where nothing was compared."""
    rows = analysis.ranking
    if not rows and not analysis.summary.empty:
        rows = [
            {**analysis.row(analysis.protocol, name, analysis.region, analysis.metric)}
            for name in analysis.scored
        ]
    return [row for row in rows if row and not words.missing(row.get("mean"))]


def _beside(analysis: Analysis, first: str) -> dict[str, tuple[float | None, float | None]]:
    """Of each other, where its mean may lie if that of the first stays where it is."""
    at = next(float(r["mean"]) for r in analysis.ranking if r["architecture"] == first)
    found: dict[str, tuple[float | None, float | None]] = {}
    for pair in analysis.pairs:
        low, high = pair["ci_simultaneous_low"], pair["ci_simultaneous_high"]
        if first not in (pair["a"], pair["b"]) or words.missing(low) or words.missing(high):
            continue
        if pair["a"] == first:
            found[pair["b"]] = cut(at - high, at - low, analysis.metric)
        else:
            found[pair["a"]] = cut(at + low, at + high, analysis.metric)
    return found


def _alone(row: dict[str, Any], metric: str) -> tuple[float | None, float | None]:
    """The interval of a mean by itself."""
    low: Any = row.get("ci_low")
    high: Any = row.get("ci_high")
    if words.missing(low) or words.missing(high):
        return None, None
    return cut(float(low), float(high), metric)


def _axis(places: list[Place], metric: str) -> tuple[float, float]:
    """Round ends that hold every dot and line, inside the metric's range."""
    values = [v for p in places for v in (p.mean, p.low, p.high) if v is not None]
    low, high = min(values), max(values)
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-3)))
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    if 0 < low < high - low:
        low = 0.0  # where it costs little room, so that no line seems to be cut
    low, high = cut(low, high, metric)
    return (low, high) if high > low else (low - step, high + step)
