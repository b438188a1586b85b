"""The plateau rule: lower the learning rate where what is gained is lost in the noise.

Papers write the rule for a schedule of a fixed length: cut when a moving average of the loss has
not reached a new minimum for so many epochs. What it does there follows from how much the loss
still falls within a patience, and from the noise of that average, which is small since an epoch
has many steps. Under a short budget a patience has few steps, their average is mostly noise, and
the same words cut when nothing has settled, again and again.

So the rule is stated by what it does in the full schedule. The losses that were seen are fitted by
a falling exponential, from which follows what one patience gains; successive losses tell the noise
of one step, from which follows that of the average in a schedule of ``full`` steps. Where the gain
is smaller than that, the rule of the full schedule finds no new minimum, and cuts.

Against torch's ``ReduceLROnPlateau`` on the full schedule (1000 epochs of 84 steps, patience 30,
average of 0.93) on six shapes of loss curves: ``tests/training/optimisation/test_plateau.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kitsbench.recipe import Schedule

Floats = NDArray[np.float64]

BINS = 128  # of the budget, in which losses are averaged before they are fitted
LOOKS = 400  # times in a budget that the rule is asked
LEAST = 4  # losses; fewer cannot tell a slope
THRESHOLD = 3e-7  # a gain that is none even without noise
# The full rule was never seen to cut before a third of a schedule on which the loss falls, and a
# slope from fewer steps says little.
EARLIEST = 0.3
# What lies before this share of the time is not fitted: losses fall faster at first than any
# exponential that describes the rest.
FORGET = 0.25
# After a cut every other patience has a new minimum by chance, which begins the wait again.
AGAIN = 2.0
RATES = np.geomspace(0.25, 64.0, 33)  # of the exponential, per budget


class Plateau:
    """State of the rule in one stage.

    Parameters
    ----------
    state : dict
        As :attr:`state` of another, to go on from there; empty to begin.
    begun : float
        Progress at which the stage began.

    Attributes
    ----------
    state : dict
        Plain data: the factor, the last loss, the sum of squared steps between losses and their
        number, where the last cut was and how many there were, the next look; for each bin the
        number of losses, their sum, and that of their places.
    """

    def __init__(self, state: dict[str, Any], begun: float = 0.0):
        self.begun = begun
        self.state = state
        if not state:
            state.update(
                factor=1.0, previous=None, squares=0.0, seen=0, cuts=0, cut_at=begun, look_at=begun
            )
            state.update(counts=[0] * BINS, losses=[0.0] * BINS, places=[0.0] * BINS)

    def observe(self, loss: float, schedule: Schedule, progress: float) -> bool:
        """Take a step's loss, and say whether the learning rate is lowered now.

        Parameters
        ----------
        loss : float
        schedule : Schedule
        progress : float
            Share of the budget that was spent before the step.
        """
        state = self.state
        if state["previous"] is not None:
            # Between neighbours the trend is nothing, so half the square is the noise of a step.
            state["squares"] += (loss - state["previous"]) ** 2 / 2
        state["previous"] = loss
        state["seen"] += 1
        place = min(int(progress * BINS), BINS - 1)
        state["counts"][place] += 1
        state["losses"][place] += loss
        state["places"][place] += progress
        if not self._may_cut(schedule, progress):
            return False
        if self.gain(schedule, progress) > max(self.noise(schedule, progress), THRESHOLD):
            return False
        state["factor"] = max(state["factor"] * schedule.factor, schedule.least)
        state["cuts"] += 1
        state["cut_at"] = progress
        return True

    def _may_cut(self, schedule: Schedule, progress: float) -> bool:
        state = self.state
        if progress - self.begun < EARLIEST * (1 - self.begun) or state["seen"] < LEAST:
            return False
        if state["factor"] <= schedule.least or progress < state["look_at"]:
            return False
        state["look_at"] = progress + 1 / LOOKS
        wait = schedule.patience * (AGAIN if state["cuts"] else 1.0)
        return bool(progress - state["cut_at"] > wait)

    def noise(self, schedule: Schedule, progress: float) -> float:
        """Standard deviation of the moving average in a schedule of full length."""
        state = self.state
        step = math.sqrt(state["squares"] / (state["seen"] - 1))
        full = schedule.full or state["seen"] / max(progress - self.begun, 1e-9)
        # Of an average that forgets in n steps; that of fewer than one is the loss itself.
        return step / math.sqrt(max(2 * schedule.memory * full, 1.0))

    def gain(self, schedule: Schedule, progress: float) -> float:
        """By how much the loss falls within a patience, from the fit; negative where it rises."""
        counts = np.array(self.state["counts"], dtype=float)
        there = counts > 0
        weights = counts[there]
        places = np.array(self.state["places"])[there] / weights
        losses = np.array(self.state["losses"])[there] / weights
        recent = places >= self.begun + FORGET * (progress - self.begun)
        if recent.sum() < 3:  # steps so long that few bins have any
            recent[:] = True
        weights, places, losses = weights[recent], places[recent], losses[recent]
        # Each rate has its best height in closed form. Scaled by the largest, since e^(64) is 1e27.
        shapes, scales = _falling(places - progress)
        weights = weights / weights.sum()
        centred = shapes - (shapes @ weights)[:, None]
        rest = losses - losses @ weights
        size = np.maximum(centred**2 @ weights, 1e-300)
        heights = (centred * rest) @ weights / size
        misfit = (rest - heights[:, None] * centred) ** 2 @ weights
        best = int(np.argmin(misfit))
        return float(heights[best] / scales[best] * RATES[best] * schedule.patience)


def _falling(before: Floats) -> tuple[Floats, Floats]:
    """Exponentials of all rates, 0 now and at most 1 before, and what they were divided by."""
    shapes = np.expm1(-RATES[:, None] * before)
    scales = np.maximum(shapes.max(axis=1), 1e-300)
    return shapes / scales[:, None], scales
