"""Two profiles of the same architectures side by side: ratios, and what lies beyond noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kitsbench.profiling.reading import NOISE

Row = Mapping[str, Any]

TIMES = {
    "train_step_ms": "step, on device",
    "full_step_ms": "step, with data",
    "loader_ms": "loader alone",
    "inference_ms": "inference",
}
EXACT = {"parameters": "parameters", "flops_forward": "FLOPs forward", "flops_step": "FLOPs step"}
SIZES = {"peak_memory_bytes": "peak memory"}

LEAST = 1e-9
"""Milliseconds below which a time is none, and no ratio to it means anything."""

MINOR = 0.02
"""Share of a step below which a part is not compared."""

CONDITIONS = ("device_name", "threads", "patch", "batch", "layout")


@dataclass(frozen=True)
class Change:
    """One figure of an architecture, then and now.

    Attributes
    ----------
    architecture, figure : str
    old, new : float
    low, high : float
        The ratio at the quartiles that favour either.
    beyond : bool
        Whether it is more than noise.
    """

    architecture: str
    figure: str
    old: float
    new: float
    low: float
    high: float
    beyond: bool

    @property
    def ratio(self) -> float:
        """New by old."""
        return self.new / self.old


def compare(old: Sequence[Row], new: Sequence[Row]) -> tuple[list[Change], list[str]]:
    """Compare the profiles of two times.

    A time is beyond noise where the quartiles of both, which are those of one process, lie apart
    and the medians differ by more than 5 %; a count, where it differs at all; memory, where it
    differs by more than 5 %.

    Parameters
    ----------
    old, new : sequence of dict
        Profiles, as ``kitsbench profile --json`` gives them.

    Returns
    -------
    changes : list of Change
        In the order of ``new``; of parts of a step only those that take a share of it.
    remarks : list of str
        What stands in one alone, and conditions that differ.
    """
    before = {_key(row): row for row in old if "parameters" in row}
    now = {_key(row): row for row in new if "parameters" in row}
    remarks = [f"{' '.join(key)}: not in the old file" for key in now if key not in before]
    remarks += [f"{' '.join(key)}: in the old file alone" for key in before if key not in now]
    changes: list[Change] = []
    for key, row in now.items():
        if key in before:
            remarks += _differences(before[key], row)
            changes += _changes(before[key], row)
    return changes, remarks


def _key(row: Row) -> tuple[str, str]:
    return str(row["architecture"]), str(row["precision"])


def _differences(old: Row, new: Row) -> list[str]:
    """Conditions that differ, which a ratio is not to blame on the network."""
    found = []
    one, other = old.get("conditions") or {}, new.get("conditions") or {}
    pairs = [(name, old.get(name), new.get(name)) for name in CONDITIONS]
    pairs += [(name, one.get(name), other.get(name)) for name in ("torch", "python", "cudnn")]
    for name, was, now in pairs:
        if _plain(was) != _plain(now) and None not in (was, now):
            found.append(f"{new['architecture']}: {name} was {_plain(was)} and is {_plain(now)}")
    for key, figure in {**TIMES, **EXACT, **SIZES}.items():
        if bool(old.get(key)) != bool(new.get(key)):
            when = "now" if old.get(key) else "then"
            found.append(f"{new['architecture']}: {figure} is not known of {when}")
    for row, when in ((old, "then"), (new, "now")):
        if row.get("busy"):
            found.append(f"{new['architecture']}: the machine was busy {when}")
    return found


def _plain(value: Any) -> Any:
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _changes(old: Row, new: Row) -> list[Change]:
    name, found = str(new["architecture"]), []
    for key, figure in TIMES.items():
        if min(old.get(key) or 0, new.get(key) or 0) > LEAST:
            found.append(_timed(name, figure, _spread(old, key), _spread(new, key)))
    for part, now in (new.get("parts") or {}).items():
        was = (old.get("parts") or {}).get(part)
        if was and was["ms"] > LEAST and max(was["share"], now["share"]) >= MINOR:
            found.append(_timed(name, f"  {part}", _spread(was, "ms"), _spread(now, "ms")))
    for key, figure in {**EXACT, **SIZES}.items():
        if old.get(key) and new.get(key):
            ratio = new[key] / old[key]
            beyond = abs(ratio - 1) > (NOISE if key in SIZES else 0)
            found.append(Change(name, figure, old[key], new[key], ratio, ratio, beyond))
    return found


def _spread(row: Row, key: str) -> tuple[float, float, float]:
    """First quartile, middle and third; the middle alone where no quartiles are told."""
    middle = row[key]
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    # The mean of the middle half need not lie between the quartiles.
    return (
        min(middle if low is None else low, middle),
        middle,
        max(middle if high is None else high, middle),
    )


def _timed(
    name: str, figure: str, old: tuple[float, float, float], new: tuple[float, float, float]
) -> Change:
    low, high = new[0] / old[2], new[2] / max(old[0], LEAST)
    ratio = new[1] / old[1]
    beyond = not low <= 1 <= high and abs(ratio - 1) > NOISE
    return Change(name, figure, old[1], new[1], low, high, beyond)
