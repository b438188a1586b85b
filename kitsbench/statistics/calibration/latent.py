"""Exact means of the simulated Dice, so that a true gap is what it is said to be."""

from __future__ import annotations

import functools

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from kitsbench.statistics.calibration import simulation as latent
from kitsbench.statistics.table.blocks import Array

_STEP = 0.025
_LOGITS = np.arange(-45, 30, _STEP)
_FREQUENCIES = np.linspace(0, 8, 801)  # beyond it the normal part of the difficulty leaves nothing


@functools.cache
def mean_dice(shift: float, tau: float) -> float:
    """Expected Dice of :func:`~kitsbench.statistics.calibration.simulation.simulate`.

    Parameters
    ----------
    shift : float
        Latent advantage.
    tau : float
        SD of a fold mean between training runs.

    Returns
    -------
    float
        From the characteristic function of the logit, a sum of independent parts, by the trapezoid
        rule; the error is below 1e-5.
    """
    density = _density(tau)
    logit = _LOGITS + shift
    # The step that holds the cut counts in part.
    found = np.clip((logit - latent.MISSED_BELOW) / _STEP + 0.5, 0, 1)
    dice = found * expit(logit)
    return float((density * dice).sum() / density.sum())


@functools.cache
def shift_for(gap: float, tau: float) -> float:
    """Latent advantage that gives a gap in mean Dice, for a scatter of the runs.

    Parameters
    ----------
    gap : float
        Above the mean of an architecture whose runs do not scatter and which has no advantage.
    tau : float
        SD of a fold mean between the training runs of the architecture. A Dice is bounded above,
        so that scatter lowers its mean; the shift makes up for it.
    """
    target = mean_dice(0.0, 0.0) + gap
    return float(brentq(lambda shift: mean_dice(shift, tau) - target, -3, 3, xtol=1e-9))


@functools.cache
def _density(tau: float) -> Array:
    """Density of the logit without an advantage, up to a factor, at ``_LOGITS``."""
    u = _FREQUENCIES
    normal = latent.CASE_SD**2 + (tau / latent.DICE_PER_LOGIT) ** 2
    part = np.exp(1j * u * (latent.MEAN + latent.CASE_MEAN) - normal * u**2 / 2)
    part *= 1 - latent.HARD_SHARE + latent.HARD_SHARE / (1 + 1j * u * latent.HARD_SCALE)
    for sd in (latent.INTERACTION_SD, latent.NOISE_SD):
        # Student t with 3 degrees of freedom, whose scale is sd / sqrt(3).
        part *= (1 + sd * u) * np.exp(-sd * u)
    part[0] /= 2
    density = np.empty_like(_LOGITS)
    for start in range(0, len(_LOGITS), 500):
        x = _LOGITS[start : start + 500]
        density[start : start + 500] = (np.exp(-1j * np.outer(x, u)) @ part).real
    return density
