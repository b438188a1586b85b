"""Profiles as other programs read them: CSV, and the storage of pytest-benchmark."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

import kitsbench

Row = Mapping[str, Any]

TIMED = {
    "step": "training step on data that lie on the device",
    "full": "training step with data",
    "loader": "a batch by the loader alone",
    "inference": "forward pass of one patch",
}
"""What is repeated and timed, by its name in ``samples_ms``."""


def label(row: Row) -> str:
    """What a row is called among others: architecture, and what it was computed in."""
    return f"{row['architecture']} [{row['precision']}]"


def flat(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows with one column a figure, and the columns, for a table in CSV.

    What lies in another figure has both names, such as ``parts.forward.ms``; of scans each is named
    by its size, such as ``scans.median.seconds``. Single repetitions and the points of a line are
    left to JSON.
    """
    found = [dict(_flat(row)) for row in rows]
    columns = list(dict.fromkeys(name for row in found for name in row))
    return [{name: row.get(name, "") for name in columns} for row in found], columns


def _flat(row: Row, before: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in row.items():
        name = f"{before}{key}"
        if key in ("samples_ms", "key", "points"):
            continue
        if key == "scans":
            for scan in value or ():
                own = {what: figure for what, figure in scan.items() if what != "size"}
                yield from _flat(own, f"{name}.{scan['size']}.")
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            yield name, "x".join(map(str, value))
        else:
            yield name, "" if value is None else value


def as_benchmark(rows: Sequence[Row]) -> dict[str, Any]:
    """The rows as ``pytest-benchmark compare`` and its histograms read them.

    Every timed figure is a benchmark, in the group of its kind; what was counted stands in its
    ``extra_info``.
    """
    now = datetime.now(UTC)
    return {
        "machine_info": {
            "node": platform.node(),
            "processor": platform.processor(),
            "machine": platform.machine(),
            "python_implementation": platform.python_implementation(),
            "python_version": platform.python_version(),
            "system": platform.system(),
            "release": platform.release(),
            "cpu": {"brand_raw": next((r["device_name"] for r in rows if "device_name" in r), "")},
        },
        "commit_info": {
            "id": "unversioned",
            "time": None,
            "author_time": None,
            "dirty": False,
            "project": "kitsbench",
            "branch": "(unknown)",
        },
        "benchmarks": [one for row in rows for one in _benchmarks(row)],
        "datetime": now.isoformat(),
        "version": f"kitsbench {kitsbench.__version__}",
    }


def _benchmarks(row: Row) -> Iterable[dict[str, Any]]:
    for name, samples in (row.get("samples_ms") or {}).items():
        yield {
            "group": TIMED[name],
            "name": label(row),
            "fullname": f"{label(row)}::{name}",
            "params": None,
            "param": None,
            "extra_info": {
                key: row.get(key)
                for key in (
                    "parameters",
                    "flops_forward",
                    "flops_step",
                    "patch",
                    "batch",
                    "peak_memory_bytes",
                    "device_name",
                    "threads",
                    "busy",
                )
            },
            "options": {
                "disable_gc": False,
                "timer": "perf_counter",
                "min_rounds": 1,
                "max_time": 0.0,
                "min_time": 0.0,
                "warmup": True,
            },
            "stats": _stats([value / 1000 for value in samples]),
        }


def _stats(seconds: Sequence[float]) -> dict[str, Any]:
    """Seconds of repetitions in pytest-benchmark's words; outliers by Tukey's fences."""
    low, median, high = (float(value) for value in np.percentile(seconds, (25, 50, 75)))
    reach = 1.5 * (high - low)
    mean, deviation = statistics.fmean(seconds), float(np.std(seconds, ddof=len(seconds) > 1))
    beyond = [value for value in seconds if not low - reach <= value <= high + reach]
    apart = [value for value in seconds if abs(value - mean) > deviation]
    inside = [value for value in seconds if low - reach <= value <= high + reach]
    return {
        "min": min(seconds),
        "max": max(seconds),
        "mean": mean,
        "stddev": deviation,
        "rounds": len(seconds),
        "median": median,
        "iqr": high - low,
        "q1": low,
        "q3": high,
        "iqr_outliers": len(beyond),
        "stddev_outliers": len(apart),
        "outliers": f"{len(apart)};{len(beyond)}",
        "ld15iqr": min(inside),
        "hd15iqr": max(inside),
        "ops": 1 / mean,
        "total": sum(seconds),
        "iterations": 1,
        "data": list(seconds),
    }
