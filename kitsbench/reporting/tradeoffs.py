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
from kitsbench.reporting.first_screen.entrants import equal_entrants
from kitsbench.reporting.tables import Table
from kitsbench.text.numbers import plain

MARK = "★"

COSTS = {
    "device_seconds": "Training, device time",
    "scan_seconds": "Prediction of a scan",
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
    """Every ranked architecture that was trained here, best first, and no planted control."""
    found = []
    for row in analysis.ranking:
        name = str(row["architecture"])
        entrant = analysis.results.experiment.entrant(name)
        if words.missing(row["mean"]) or (entrant is not None and entrant.members):
            continue
        if name in analysis.elsewhere or name in analysis.planted:
            continue
        ledgers = [
            t.ledger
            for t in analysis.results.trials
            if t.state == "finished" and t.name == name and t.trained and t.ledger is not None
        ]
        profile = analysis.results.profiles.get(name)
        costs: dict[str, float | None] = {
            "device_seconds": _mean(ledgers, "device_seconds"),
            "scan_seconds": scan_seconds(analysis, name),
            "peak_memory_bytes": _largest(ledgers, "peak_memory_bytes"),
            "flops": None if profile is None else profile.flops_step,
            "parameters": _parameters(analysis, name),
            "energy_joules": _mean(ledgers, "energy_joules"),
        }
        if any(value is not None for value in costs.values()):
            found.append(Tradeoff(name, float(row["mean"]), costs))
    return found


def _parameters(analysis: Analysis, name: str) -> float | None:
    """As the table of costs has them: of the profile, or of what was planned."""
    profile = analysis.results.profiles.get(name)
    if profile is not None:
        return profile.parameters
    entrant = analysis.results.experiment.entrant(name)
    return None if entrant is None else entrant.parameters


def scan_seconds(analysis: Analysis, name: str) -> float | None:
    """Wall time of a scan of the test, from reading to the label map and its scores, in seconds.

    Parameters
    ----------
    analysis : Analysis
    name : str
        Of an entrant.

    Returns
    -------
    float or None
        Mean over the scans of its finished trials; None where it has none.
    """
    done = [
        trial
        for trial in analysis.results.trials
        if trial.state == "finished" and trial.name == name and trial.ledger is not None
        and trial.record is not None
    ]  # fmt: skip
    scans = sum(len(t.record.context.test_cases) for t in done if t.record is not None)
    spent = sum(t.ledger.prediction_s for t in done if t.ledger is not None)
    return spent / scans if scans and spent else None


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
    ensembles = [
        entrant.name
        for entrant in analysis.results.experiment.entrants
        if entrant.status == "ok" and entrant.members
    ]
    head = ["Architecture", f"Mean {words.endpoint_name(analysis.region, analysis.metric)}"]
    caption = (
        f"{MARK} marks the Pareto front of a cost: nobody else is at least as good for at most as "
        "much. Differences that the tests leave open count here like any other, and so do those "
        "of times that are as large for one and the same network. Device time is "
        "that of a training, and like energy a mean over trials; memory is the largest of "
        "training, of the trials' own ledgers; FLOPs are those of a training step for one patch. "
        "Prediction of a scan is wall time, from reading to its scores, on scans of this test."
    )
    if ensembles:
        caption += (
            f" Without {words.listing(ensembles, most=12)}, which train nothing: an ensemble costs "
            "what its members cost together."
        )
    if analysis.planted:
        caption += f" Without {words.listing([*analysis.planted])}, planted as controls."
    return Table([*head, *(COSTS[key] for key in shown)], lines, caption, answers=(1, 2))


def warnings(analysis: Analysis) -> list[str]:
    """What makes every time of these tables doubtful, said once: a busy machine, and by how much.

    Parameters
    ----------
    analysis : Analysis
    """
    rows = [profile.row() for profile in analysis.results.profiles.values()]
    busy, wrong = sum(map(bool, map(company, rows))), sum(map(bool, map(impossible, rows)))
    found = []
    if busy:
        found.append(
            f"{busy} of {words.plural(len(rows), 'profile')} {'was' if busy == 1 else 'were'} "
            "measured while other processes used the machine: times and speeds of steps are "
            "doubtful, and only counts (parameters, FLOPs) are exact. Measure again on a quiet "
            "machine with kitsbench profile."
        )
    if wrong:
        found.append(
            f"{wrong} of {words.plural(len(rows), 'profile')} {'is' if wrong == 1 else 'are'} "
            "impossible: a step with data was faster than one without by more than noise, so the "
            "machine changed its speed meanwhile."
        )
    times = {row.name: row.costs["device_seconds"] for row in tradeoffs(analysis)}
    for names in equal_entrants(analysis):
        known = {n: value for n in names if (value := times.get(n))}
        if len(known) > 1:
            low, high = min(known.values()), max(known.values())
            found.append(
                f"{words.listing(list(known))} have equal scores, as one network has, and took "
                f"{words.duration(low)} to {words.duration(high)} of device time: times here "
                f"differ by a factor of {high / low:.3g} for the same work, so a smaller factor "
                "between two networks says nothing."
            )
    return found


def remarks(analysis: Analysis) -> list[str]:
    """What bounds each training, where steps lie under the roof, and which rows are in doubt."""
    found = []
    for name in analysis.names:
        profile = analysis.results.profiles.get(name)
        if profile is None:
            continue
        row = profile.row()
        place = None if row["roofline"] is None else read(row["roofline"])
        told = [
            bound(row),
            # Another question than that of the loader: of the computation itself.
            None if place is None else f"the computation itself reaches {place}",
            impossible(row),
            company(row),
        ]
        found += [f"{name}: {one}." for one in told if one is not None]
    return found


def _cell(key: str, value: float | None, marked: bool) -> str:
    if value is None:  # a failed trial has predicted nothing
        return words.DASH
    shown: dict[str, Any] = {
        "device_seconds": words.duration,
        "scan_seconds": lambda seconds: f"{plain(seconds)} s",
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
    "device_seconds": ("Training, device time, min", 60.0),
    "scan_seconds": ("Prediction of a scan, s", 1.0),
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
