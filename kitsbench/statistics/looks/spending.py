"""How much of alpha may be spent by when: shapes of Lan and DeMets."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from kitsbench.statistics.table.blocks import Array


def spent(kind: str, level: ArrayLike, fraction: ArrayLike) -> Array:
    """Alpha that may be spent until a fraction of the information is there, two-sided.

    Parameters
    ----------
    kind : str
        One of :data:`~kitsbench.look.SPENDING`.
    level : array of float
        Alpha of the pair over all looks, two-sided: each side spends half.
    fraction : array of float
        0 to 1; beyond it everything is spent.

    Returns
    -------
    ndarray
        Rises from 0 to ``level``.

    Notes
    -----
    Source: K. K. G. Lan and D. L. DeMets, Discrete sequential boundaries for clinical trials,
    Biometrika 70, 1983: ``2 - 2 Phi(z / sqrt(t))`` and ``a log(1 + (e - 1) t)`` of each side.
    """
    a = np.asarray(level, dtype=float)
    t = np.clip(np.asarray(fraction, dtype=float), 0.0, 1.0)
    if kind == "pocock":
        return np.asarray(a * np.log1p((math.e - 1) * t))
    at = special.ndtri(a / 4)  # below 0
    with np.errstate(divide="ignore"):
        return np.asarray(4 * special.ndtr(at / np.sqrt(t)))
