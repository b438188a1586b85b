"""Quality against what it costs, and who is on the Pareto front of each cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kitsbench.experiments.records import LedgerRecord
from kitsbench.metrics import find
from kitsbench.profiling.reading import bound, company, impossible
from kitsbench.profiling.roofline import read
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.drawing.figures import Picture
from kitsbench.reporting.drawing.tradeoff_plot import tradeoff
from kitsbench.reporting.tables import Table

MARK = "★"

COSTS = {
    "device_seconds": "Device time",
    "peak_memory_bytes": "Peak memory",
    "flops": "FLOPs of a step",
    "parameters": "Parameters",
    "energy_joules": "Energy",
}
"""What quality is set against, by its key."""


@dataclass(frozen=True)
class Tradeoff:
    """An architecture's quality and costs.

    Attributes
    ----------
    name : str
    quality : float
        Mean of the endpoint.
    costs : dict of str to (float or None)
        By the keys of :data:`COSTS`.
    """

    name: str
    quality: float
    costs: Mapping[str, float | None]


def tradeoffs(analysis: Analysis) -> list[Tradeoff]:
    """Every ranked architecture that was trained here, best first."""
    found = []
    for row in analysis.ranking:
        name = str(row["architecture"])
        if words.missing(row["mean"]) or name in analysis.elsewhere:
            continue
        ledgers = [
            t.ledger
            for t in analysis.results.trials
            if t.state == "finished" and t.name == name and t.trained and t.ledger is not None
        ]
        profile = analysis.results.profiles.get(name)
        costs: dict[str, float | None] = {
            "device_seconds": _mean(ledgers, "device_seconds"),
            "peak_memory_bytes": _largest(ledgers, "peak_memory_bytes"),
            "flops": None if profile is None else profile.flops_step,
            "parameters": None if profile is None else profile.parameters,
            "energy_joules": _mean(ledgers, "energy_joules"),
        }
        if any(value is not None for value in costs.values()):
            found.append(Tradeoff(name, float(row["mean"]), costs))
    return found


def front(rows: Sequence[Tradeoff], cost: str, metric: str) -> set[str]:
    """Who is not dominated: nobody else is at least as good for at most as much, and differs.

    Parameters
    ----------
    rows : sequence of Tradeoff
    cost : str
        A key of :data:`COSTS`.
    metric : str
        Of the endpoint.
    """
    known = [
        (row.name, find(metric).order(row.quality), float(value))
        for row in rows
        if (value := row.costs[cost]) is not None
    ]
    return {
        name
        for name, quality, price in known
        if not any(
            other <= quality and less <= price and (other, less) != (quality, price)
            for _, other, less in known
        )
    }


def table(analysis: Analysis) -> Table | None:
    """Quality against each cost; None with fewer than two architectures to set side by side."""
    rows = tradeoffs(analysis)
    if len(rows) < 2:
        return None
    shown = [key for key in COSTS if any(row.costs[key] is not None for row in rows)]
    fronts = {key: front(rows, key, analysis.metric) for key in shown}
    lines = [
        [
            row.name,
            words.number(row.quality),
            *(_cell(key, row.costs[key], row.name in fronts[key]) for key in shown),
        ]
        for row in rows
    ]
    head = ["Architecture", f"Mean {words.endpoint_name(analysis.region, analysis.metric)}"]
    caption = (
        f"{MARK} marks the Pareto front of a cost: nobody else is at least as good for at most as "
        "much. Differences that the tests leave open count here like any other. Device time and "
        "energy are means over trials, memory is the largest of training; FLOPs are those of a "
        "training step for one patch."
    )
    return Table([*head, *(COSTS[key] for key in shown)], lines, caption)


def remarks(analysis: Analysis) -> list[str]:
    """What bounds each training, where steps lie under the roof, and which rows are in doubt."""
    found = []
    for name in analysis.names:
        profile = analysis.results.profiles.get(name)
        if profile is None:
            continue
        row = profile.row()
        told = [bound(row), None if row["roofline"] is None else read(row["roofline"])]
        told += [impossible(row), company(row)]
        found += [f"{name}: {one}." for one in told if one is not None]
    return found


def _cell(key: str, value: float | None, marked: bool) -> str:
    shown: dict[str, Any] = {
        "device_seconds": words.duration,
        "peak_memory_bytes": words.memory,
        "flops": lambda number: words.big(number, "FLOP"),
        "parameters": words.big,
        "energy_joules": lambda number: words.big(number, "J"),
    }
    return f"{shown[key](value)} {MARK}" if marked else str(shown[key](value))


def _values(ledgers: Sequence[LedgerRecord], key: str) -> list[float]:
    return [float(v) for one in ledgers if (v := getattr(one, key)) is not None]


def _mean(ledgers: Sequence[LedgerRecord], key: str) -> float | None:
    values = _values(ledgers, key)
    return sum(values) / len(values) if values else None


def _largest(ledgers: Sequence[LedgerRecord], key: str) -> float | None:
    return max(_values(ledgers, key), default=None)


SCALES = {
    "device_seconds": ("Device time, min", 60.0),
    "peak_memory_bytes": ("Peak memory, GiB", 2.0**30),
    "flops": ("FLOPs of a step, G", 1e9),
    "parameters": ("Parameters, M", 1e6),
    "energy_joules": ("Energy, kJ", 1e3),
}


def figure(analysis: Analysis) -> Picture | None:
    """The same as points; None where there is no table."""
    rows = tradeoffs(analysis)
    panels, fronts = {}, {}
    for key, (label, unit) in SCALES.items():
        points = [(r.name, v / unit, r.quality) for r in rows if (v := r.costs[key])]
        if len(points) > 1:
            panels[label] = points
            fronts[label] = front(rows, key, analysis.metric)
    if not panels:
        return None
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    return tradeoff(panels, fronts, f"Mean {endpoint}", analysis.names)
