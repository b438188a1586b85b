"""Simulated scores whose truth is known: what the error rates of tests are measured on.

The scores resemble the tumour Dice of KiTS: a long left tail, a few per cent of missed tumours,
cases that are hard for every architecture, and one shift for each trained model that all its cases
share. That shift is what tests over cases do not see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from kitsbench.statistics.table.blocks import Array

GAP_SHIFTS = {0.0: 0.0, 0.02: 0.20108133554458618, 0.05: 0.552191436290741}
"""Latent advantage of the first architecture that gives a gap in mean Dice."""

MEAN, MISSED_BELOW = 2.10, -0.9  # of the logit, and what counts as missed
HARD_SHARE, HARD_SCALE = 0.18, 1.9
CASE_MEAN, CASE_SD = 0.25, 0.75
INTERACTION_SD = NOISE_SD = 0.5
DICE_PER_LOGIT = 0.105  # what a unit of the logit moves mean Dice by
_TRAINING_FOLDS = 5


def simulate(
    rng: np.random.Generator,
    replicates: int,
    architectures: int = 2,
    folds: int = 5,
    cases: int = 42,
    seeds: int = 3,
    tau: float | Sequence[float] = 0.01,
    tau_train: float = 0.0,
    shifts: float | Sequence[float] = 0.0,
) -> Array:
    """Draw scores of many experiments at once.

    On a latent logit scale a score is the sum of a mean, the difficulty of the case, architecture x
    case (Student t, 3 degrees of freedom), the shift of the trained model, optionally a shift of
    the training set (models of different folds share three quarters of theirs) and case x run
    noise. The logistic function makes it a Dice score; below a cut the tumour is missed: 0.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    replicates, architectures, folds, cases, seeds : int
        Experiments, and the size of each; ``cases`` is per fold.
    tau : float or sequence of float
        SD of a fold mean of Dice between training runs, of all architectures or of each. Where the
        runs of one scatter more, its mean sinks a little: see
        :func:`~kitsbench.statistics.calibration.latent.shift_for`.
    tau_train : float
        The same between training sets.
    shifts : float or sequence of float
        Latent advantage of the first architecture, or of each; see :data:`GAP_SHIFTS`. Without
        it the architectures are exchangeable: equal in mean, median and rank.

    Returns
    -------
    ndarray, shape (replicates, architectures, folds, cases, seeds)
    """
    r, k, f, c, s = replicates, architectures, folds, cases, seeds
    difficulty = rng.normal(CASE_MEAN, CASE_SD, (r, 1, f, c, 1))
    hard = rng.random(difficulty.shape) < HARD_SHARE
    difficulty -= hard * rng.exponential(HARD_SCALE, difficulty.shape)
    logit = MEAN + difficulty + _heavy_tailed(rng, (r, k, f, c, 1), INTERACTION_SD)
    logit = logit + _heavy_tailed(rng, (r, k, f, c, s), NOISE_SD)
    if np.any(tau):
        scatter = np.broadcast_to(np.asarray(tau, dtype=float), (k,)) / DICE_PER_LOGIT
        logit += rng.normal(0, 1, (r, k, f, 1, s)) * scatter[:, None, None, None]
    if tau_train:
        logit += _training_sets(rng, r, k, f)[:, :, :, None, None] * (tau_train / DICE_PER_LOGIT)
    advantage = np.zeros(k)
    if np.ndim(shifts):
        advantage[:] = shifts
    else:
        advantage[0] = shifts
    logit += advantage[:, None, None, None]
    return np.where(logit > MISSED_BELOW, expit(logit), 0.0)


def _heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...], sd: float) -> Array:
    return rng.standard_t(3, shape) * (sd / np.sqrt(3))


def _training_sets(
    rng: np.random.Generator, replicates: int, architectures: int, folds: int
) -> Array:
    """Shift of unit variance: what the folds a model was trained on do to it, all but its own."""
    influence = rng.normal(0, 1, (replicates, architectures, max(_TRAINING_FOLDS, folds)))
    others = influence.sum(axis=2, keepdims=True) - influence
    return others[:, :, :folds] / np.sqrt(influence.shape[2] - 1)
