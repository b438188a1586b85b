"""The tables of metrics in the page about evaluation, made from `kitsbench.metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kitsbench.metrics import METRICS, Metric, say

DASH = "–"


def facts() -> str:
    """One row a metric: what it is, its range, the best value, and the margin of equivalence."""
    head = ["metric", "definition", "unit", "range", "best", "margin", "as defined by"]
    return _table(
        head,
        (
            [
                f"`{metric.name}`",
                metric.meaning,
                metric.unit or DASH,
                metric.limits or "open",
                f"{metric.best:g}",
                _margin(metric),
                metric.source,
            ]
            for metric in METRICS.values()
        ),
    )


def empty_and_missing() -> str:
    """One row a metric: what it is where a mask is empty, and where there is no prediction."""
    head = [
        "metric",
        "prediction empty (`empty_prediction`)",
        "truth empty (`false_positive`)",
        "both empty (`both_empty`)",
        "no prediction (`failed`)",
        "no prediction, truth empty (`failed`)",
        "mean over",
    ]
    over = {
        "protocol": "cases as the protocol says",
        "present": "cases whose truth has the region",
        "all": "all cases",
    }
    rows = (
        [
            f"`{metric.name}`",
            say(metric.empty_prediction),
            say(metric.false_positive),
            say(metric.both_empty),
            say(metric.failed),
            say(metric.failed_without),
            over[metric.mean_over],
        ]
        for metric in METRICS.values()
    )
    return _table(head, rows)


def _margin(metric: Metric) -> str:
    if metric.margin is None:
        return DASH
    return f"{metric.margin:g}; {metric.margin_with_kidney:g} with the kidney"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
