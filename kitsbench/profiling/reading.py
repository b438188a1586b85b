"""What the figures of a profile mean, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# From one process to the next, and from one hour to the next, medians of the same code differ by
# some per cent.
NOISE = 0.05

LOADER_BOUND = 0.1
"""Share of a step in which the device waits for a batch, from which on the loader is the bound."""


def bound(row: Mapping[str, Any]) -> str | None:
    """What bounds training, in words, such as ``loader-bound: the device waits 31 %``.

    Parameters
    ----------
    row : mapping
        A profile.

    Returns
    -------
    str or None
        None where nothing was measured with data.
    """
    wait = row.get("loader_wait")
    if wait is None:
        return None
    if wait >= LOADER_BOUND:
        return f"loader-bound: the device waits {100 * wait:.0f} %"
    spare = row["patches_per_s_loader"] / row["patches_per_s_full"]
    shares = {name: own["share"] for name, own in row["parts"].items() if name != "loader"}
    largest = max(shares, key=lambda name: shares[name])
    return (
        f"not loader-bound: {largest} takes {100 * shares[largest]:.0f} %, the device waits "
        f"{100 * wait:.0f} %, the loader alone is {spare:.1f} times as fast"
    )


def impossible(row: Mapping[str, Any]) -> str | None:
    """What cannot be in a profile, in words: steps with data that are faster than without.

    The quartiles must lie apart, and the medians by more than one process is from another; less
    than that is noise.
    """
    full = row.get("full_step_ms_high")
    if full is None or full >= row["train_step_ms_low"]:
        return None
    if row["full_step_ms"] >= (1 - NOISE) * row["train_step_ms"]:
        return None
    return (
        f"impossible: a step with data took {row['full_step_ms']:.1f} ms and one without "
        f"{row['train_step_ms']:.1f} ms. The machine changed its speed between the two; measure "
        "again while it is quiet"
    )


def company(row: Mapping[str, Any]) -> str | None:
    """That the machine was busy, in words; None where it was not."""
    if not row.get("busy"):
        return None
    shares = row["company"]
    told = [
        f"{100 * shares[name]:.0f} % {name}"
        for name in ("before", "during", "after")
        if shares.get(name) is not None
    ]
    text = f"the machine was busy: other processes took {', '.join(told)}"
    gpu = [
        f"{100 * shares[f'gpu_{name}']:.0f} % {name}"
        for name in ("before", "during")
        if shares.get(f"gpu_{name}")
    ]
    if gpu:
        text += f", and of the GPU {', '.join(gpu)}"
    again = row.get("measured") == 2
    return text + (" (the calmer of two measurements)" if again else "")


def remarks(row: Mapping[str, Any]) -> list[str]:
    """Everything that a reader of the row must know."""
    return [found for found in (bound(row), impossible(row), company(row)) if found is not None]
