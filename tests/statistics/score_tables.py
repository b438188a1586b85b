"""Score tables for tests: from arrays, and from a generator of KiTS-like tumour Dice."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

# Latent shifts that give these gaps in mean Dice, found by the authors of the targets.
SHIFT_FOR_GAP = {0.0: 0.0, 0.02: 0.20108133554458618}


def long_table(scores, fold, region="tumor", metric="dice", names=None) -> pd.DataFrame:
    """Rows from an array (architectures, cases, seeds) and the fold of each case."""
    scores = np.asarray(scores, dtype=float)
    names = names or [f"arch{m}" for m in range(len(scores))]
    m, c, s = np.indices(scores.shape).reshape(3, -1)
    return pd.DataFrame(
        {
            "architecture": np.asarray(names, dtype=object)[m],
            "fold": np.asarray(fold)[c],
            "seed": s,
            "case": [f"case_{index:05d}" for index in c],
            "region": region,
            "metric": metric,
            "value": scores.ravel(),
        }
    )


def by_fold(scores, fold):
    """Split (cases, seeds) into blocks by fold."""
    scores, fold = np.asarray(scores, dtype=float), np.asarray(fold)
    if scores.ndim == 1:
        scores = scores[:, None]
    return [scores[fold == f] for f in np.unique(fold)]


def _heavy(rng, shape, sd):
    return rng.standard_t(3, shape) * sd / np.sqrt(3)


def simulate(rng, replicates, architectures=2, folds=5, cases=42, seeds=3, tau=0.01, gap=0.0):
    """KiTS-like Dice, shape (replicates, architectures, folds, cases, seeds).

    Latent logits: a mean, a case difficulty with hard cases, architecture x case, one shift per
    trained model (seed SD ``tau`` of a fold mean) and case x run noise; lesions below a cut are
    missed. Without a gap the architectures are exchangeable.
    """
    r, k, f, c, s = replicates, architectures, folds, cases, seeds
    hard = rng.random((r, 1, f, c, 1)) < 0.18
    logit = 2.10 + rng.normal(0.25, 0.75, hard.shape) - hard * rng.exponential(1.9, hard.shape)
    logit = logit + _heavy(rng, (r, k, f, c, 1), 0.5) + _heavy(rng, (r, k, f, c, s), 0.5)
    # A shift of the logit moves mean Dice by about 0.105 of it.
    logit = logit + rng.normal(0, 1, (r, k, f, 1, s)) * (tau / 0.105)
    logit[:, 0] += SHIFT_FOR_GAP[gap]
    return np.where(logit > -0.9, expit(logit), 0.0)
