"""Bootstrap intervals of one sample, by scipy: a cross-check of the intervals in the tables."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kitsbench.errors import UsageError

_STATISTICS = {"mean": np.mean, "median": np.median}
_METHODS = {"percentile": "percentile", "basic": "basic", "bca": "BCa"}


@dataclass(frozen=True)
class BootstrapInterval:
    """Interval of a statistic.

    Attributes
    ----------
    low, high : float
        Bounds.
    degenerate : bool
        Whether all values are equal, so that the interval is a point.
    """

    low: float
    high: float
    degenerate: bool


def bootstrap_interval(
    x: ArrayLike,
    statistic: str = "mean",
    method: str = "bca",
    alpha: float = 0.05,
    replicates: int = 4999,
    random_seed: int = 0,
    distribution: ArrayLike | None = None,
) -> BootstrapInterval:
    """Interval of the mean or the median of one value per case.

    It varies the cases alone, so its scope is L0, and below 50 cases it covers less than it says.
    Intervals of a median fail on scores with many ties.

    Parameters
    ----------
    x : array of float, shape (cases,)
        Scores or differences.
    statistic : {"mean", "median"}
    method : {"percentile", "basic", "bca"}
        ``bca``: bias-corrected and accelerated.
    alpha : float
        1 minus the level.
    replicates, random_seed : int
        Number of draws and their seed.
    distribution : array of float, optional
        The statistic in replicates that were drawn elsewhere; nothing is drawn then.

    Raises
    ------
    UsageError
        There is no such statistic or method, or there are fewer than two values.
    """
    if statistic not in _STATISTICS or method not in _METHODS:
        raise UsageError(
            f"There is no bootstrap of the {statistic} by '{method}'; choose "
            f"{' or '.join(_STATISTICS)}, and {', '.join(_METHODS)}."
        )
    values = np.asarray(x, dtype=float)
    if values.size < 2:
        raise UsageError(f"A bootstrap got {values.size} values; it needs two or more.")
    if np.ptp(values) == 0:
        return BootstrapInterval(float(values[0]), float(values[0]), True)
    given = None
    if distribution is not None:
        given = SimpleNamespace(bootstrap_distribution=np.asarray(distribution, dtype=float))
    found = stats.bootstrap(
        (values,),
        _STATISTICS[statistic],
        n_resamples=replicates if given is None else 0,
        method=_METHODS[method],
        confidence_level=1 - alpha,
        rng=np.random.default_rng(random_seed),
        vectorized=True,
        bootstrap_result=given,
    ).confidence_interval
    return BootstrapInterval(float(found.low), float(found.high), False)
