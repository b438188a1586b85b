"""Score tables for tests: from arrays, and from a generator of KiTS-like tumour Dice."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from kitsbench.statistics.calibration.simulation import simulate


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


def dice_table(architectures=2, folds=5, cases=12, seeds=3, offsets=None, **columns):
    rng = np.random.default_rng(4)
    scores = simulate(rng, 1, architectures, folds, cases, seeds)[0]
    scores = scores.reshape(architectures, folds * cases, seeds) * 0.6
    if offsets is not None:
        scores = scores + np.reshape(offsets, (-1, 1, 1))
    return long_table(scores, np.repeat(np.arange(folds), cases)).assign(**columns)


def plain(comparison):
    """What a reader of the JSON gets; fails on NaN."""
    return json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
