"""Repetitions of a piece of work, and the parts of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from kitsbench.devices.parts import OTHER, watched
from kitsbench.devices.peaks import reset_peaks
from kitsbench.training.meters.energy import EnergyMeter

MOST = 200  # repetitions

Lap = dict[str, float]
"""Seconds of each part of a repetition; their sum is the repetition."""


class Effort(Protocol):
    """How much is done to measure; see :class:`~kitsbench.profiling.job.ProfileJob`."""

    @property
    def seconds(self) -> float:
        """About how long the repetitions take that count."""

    @property
    def warm(self) -> int:
        """Repetitions that do not count."""

    @property
    def least(self) -> int:
        """Repetitions that count, whatever they take."""


def repeat(
    work: Callable[[], object],
    device: torch.device,
    effort: Effort,
    meter: EnergyMeter | None = None,
) -> list[Lap]:
    """Do some work again and again, and time the parts of each repetition.

    Parameters
    ----------
    work : callable
    device : torch.device
    effort : Effort
        The repetitions that do not count load kernels, search for convolutions and find the clock
        rate of the device.
    meter : EnergyMeter, optional
        Runs with the repetitions that count.
    """
    for _ in range(effort.warm):
        work()
    finish(device)
    # Without the search for convolutions, whose memory no step of training takes.
    reset_peaks(device)
    if meter is not None:
        meter.start()
    with watched(device) as clock:
        clock.lap()
        end, done = time.perf_counter() + effort.seconds, 0
        while done < effort.least or (time.perf_counter() < end and done < MOST):
            work()
            clock.lap()
            done += 1
        found = clock.laps()
    if meter is not None:
        meter.stop()
    return found


def finish(device: torch.device) -> None:
    """Wait for what the device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def wholes(laps: Sequence[Lap]) -> list[float]:
    """Seconds of each repetition."""
    return [sum(lap.values()) for lap in laps]


def quartiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median and third, in milliseconds."""
    low, median, high = np.percentile(seconds, (25, 50, 75)) * 1000
    return float(low), float(median), float(high)


def split(laps: Sequence[Lap], order: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What each part takes of a repetition.

    Medians of parts do not add up to the median of the whole. So a part is the mean over the
    repetitions whose whole lies in the middle half: those means do, and an odd repetition moves
    them no more than a median.

    Parameters
    ----------
    laps : sequence of dict
    order : sequence of str
        Of the parts that are known. They come first, also where they took nothing.

    Returns
    -------
    dict
        {part: ``ms``, quartiles ``ms_low`` and ``ms_high`` over all repetitions, and ``share``
        of the whole}. What lies in no named part is ``other``.
    """
    total = np.array(wholes(laps))
    ranked = np.argsort(total, kind="stable")
    quarter = len(laps) // 4
    middle = [laps[k] for k in ranked[quarter : len(laps) - quarter]]
    whole = float(np.mean(wholes(middle)))
    names = dict.fromkeys([*order, *(name for lap in laps for name in lap if name != OTHER)])
    found = {}
    for name in [*names, OTHER]:
        mean = float(np.mean([lap.get(name, 0.0) for lap in middle]))
        low, _, high = quartiles([lap.get(name, 0.0) for lap in laps])
        share = mean / whole if whole else 0.0
        found[name] = {"ms": mean * 1000, "ms_low": low, "ms_high": high, "share": share}
    return found


def named(key: str, seconds: Sequence[float]) -> dict[str, float]:
    """Median and quartiles in milliseconds under a key, and it with ``_low`` and ``_high``."""
    low, median, high = quartiles(seconds)
    return {key: median, f"{key}_low": low, f"{key}_high": high}


def milliseconds(seconds: Sequence[float]) -> list[float]:
    """Every repetition, to six digits."""
    return [float(f"{1000 * value:.6g}") for value in seconds]
