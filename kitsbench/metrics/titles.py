"""How regions, metrics and endpoints are called wherever people read them."""

from __future__ import annotations

from kitsbench.metrics.names import find
from kitsbench.metrics.table import METRICS
from kitsbench.text import one_line

REGION_NAMES = {
    "kidney_and_tumor": "Kidney and tumour",
    "kidney_and_mass": "Kidney and masses",
    "mass": "Masses (tumour or cyst)",
    "tumor": "Tumour",
    "kidney": "Kidney",
    "cyst": "Cyst",
}


def region_name(region: str) -> str:
    """Name of a region for people."""
    return REGION_NAMES.get(region, one_line(region).replace("_", " ").capitalize())


def metric_name(metric: str) -> str:
    """Name of a metric for people, with its unit, as the head of a column."""
    name = _metric_in_text(metric)
    return name[0].upper() + name[1:] if metric in METRICS else name


def endpoint_name(region: str, metric: str) -> str:
    """Such as ``tumour Dice``."""
    return f"{region_name(region).lower()} {_metric_in_text(metric)}"


def _metric_in_text(metric: str) -> str:
    facts = find(metric)
    return f"{facts.title} ({facts.unit})" if facts.known and facts.unit else facts.title
