"""Score tables for tests: from arrays, and from a generator of KiTS-like tumour Dice."""

from __future__ import annotations

import numpy as np
import pandas as pd


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
