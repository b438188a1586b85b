"""Power, the smallest detectable gap, and the variance components behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from kitsbench.errors import DataError
from kitsbench.metrics import Metric
from kitsbench.statistics.table.blocks import Blocks, ScoreBlocks, choose_table, score_blocks
from kitsbench.statistics.table.elsewhere import trained_here
from kitsbench.statistics.table.endpoints import DEFAULT_ENDPOINT, Endpoint, parse_endpoint
from kitsbench.statistics.table.scoretable import validate_scores
from kitsbench.statistics.tests.moments import moments_of

POWER = 0.8
CASE_SD = 0.063
NOISE_SD = 0.065
_HIGHEST, _STEEPEST = 0.99, 3.0
_STEP, _FLAT = 0.02, 0.01
_EXACT_GAPS = 500
_FAR = 1e4  # standard errors from 0; one degree of freedom gets there at levels below 1e-4


@dataclass(frozen=True)
class Components:
    """Standard deviations behind the scores of an architecture.

    Attributes
    ----------
    case_sd : float
        Architecture x case: how differently architectures find the same case hard.
    noise_sd : float
        Case x run: what another seed changes on one case.
    seed_sd : float
        Of the fold mean between runs, beyond that noise ("tau").
    mean : float or None
        Mean score ``m``, where scores lie between 0 and 1 and scatter less near the ends.
    noise_bend, seed_bend : float
        How much less: the variance of the noise is proportional to ``(m (1 - m)) ** noise_bend``,
        that between runs likewise. 0: scores scatter alike wherever they lie; 2: as those that are
        normal on the scale of the logit and have one mean for all cases.
    """

    case_sd: float = CASE_SD
    noise_sd: float = NOISE_SD
    seed_sd: float = 0.01
    mean: float | None = None
    noise_bend: float = 0.0
    seed_bend: float = 0.0

    def ahead(self, gap: float) -> Components:
        """Components of an architecture whose mean lies above the others' by a gap."""
        if self.mean is None:
            return self
        far = min(self.mean + gap, _HIGHEST)
        ratio = far * (1 - far) / (self.mean * (1 - self.mean))
        return replace(
            self,
            noise_sd=self.noise_sd * ratio ** (self.noise_bend / 2),
            seed_sd=self.seed_sd * ratio ** (self.seed_bend / 2),
        )


def paired_power(gap: float, se: float, df: float, alpha: float = 0.05) -> float:
    """Power of a two-sided t-test.

    Parameters
    ----------
    gap, se : float
        True difference and its standard error.
    df : float
        Degrees of freedom.
    alpha : float
        Level.
    """
    critical = special.stdtrit(df, 1 - alpha / 2)
    shift = abs(gap) / se
    if shift > _FAR:
        # The mean is certain by comparison: all depends on the standard error, whose square is
        # chi-squared. scipy is slow, loses digits and gives up out there.
        return float(special.chdtr(df, df * (shift / critical) ** 2))
    # The wrong tail underflows to NaN where it is smaller than 1e-20.
    wrong_side = np.nan_to_num(special.nctdtr(df, shift, -critical))
    return float(1 - special.nctdtr(df, shift, critical) + wrong_side)


def smallest_detectable_gap(
    se: float, df: float, alpha: float = 0.05, power: float = POWER
) -> float:
    """Smallest true difference that a t-test detects with a given power.

    Parameters
    ----------
    se, df : float
        Standard error and degrees of freedom of the difference, as found in the data at hand.
    alpha, power : float
        Level (two-sided, before any correction for several pairs) and power.

    Returns
    -------
    float
        In units of the metric; NaN where there is no standard error, where the level is no lower
        than the power (then no difference at all is "detected"), and where it is lower than the
        precision of numbers.
    """
    if not (np.isfinite(se) and np.isfinite(df) and se > 0):
        return float("nan")
    most = 2 * (special.stdtrit(df, 1 - alpha / 2) + special.stdtrit(df, power))
    if alpha >= power or not np.isfinite(most):
        return float("nan")
    # With one degree of freedom the tails are so heavy that twice the sum of the quantiles, which
    # is ample elsewhere, falls short of powers above 0.95.
    while paired_power(most, 1.0, df, alpha) < power:
        most *= 2
    factor = optimize.brentq(
        lambda shift: paired_power(shift, 1.0, df, alpha) - power, 0.0, most, xtol=1e-6
    )
    return float(factor * se)


def detectable_gaps(
    se: ArrayLike, df: ArrayLike, alpha: float = 0.05, power: float = POWER
) -> NDArray[np.float64]:
    """Smallest detectable differences of many tests, see :func:`smallest_detectable_gap`.

    Parameters
    ----------
    se, df : array of float
        Of each difference.
    alpha, power : float
        As there.
    """
    errors, freedom = np.asarray(se, dtype=float), np.asarray(df, dtype=float)
    if errors.size <= _EXACT_GAPS:
        each = [
            smallest_detectable_gap(*pair, alpha, power)
            for pair in zip(errors, freedom, strict=True)
        ]
        return np.array(each, dtype=float)
    # In standard errors the gap is a smooth function of 1 / df; a line between 200 points of it is
    # right to four digits.
    known = np.isfinite(errors) & np.isfinite(freedom) & (errors > 0)
    inverse = 1 / freedom[known]
    points = np.linspace(inverse.min(), inverse.max(), 200) if inverse.size else np.zeros(0)
    sizes = [smallest_detectable_gap(1.0, 1 / point, alpha, power) for point in points]
    gaps = np.full(errors.shape, np.nan)
    if inverse.size:
        gaps[known] = np.interp(inverse, points, sizes) * errors[known]
    return gaps


def estimate_components(blocks: ScoreBlocks) -> Components | None:
    """Estimate the components from scores with two seeds or more.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of one endpoint.

    Returns
    -------
    Components or None
        None with one seed, one architecture or one case per fold. Negative estimates count as 0.
        Mean and bends are those of a metric between 0 and 1.
    """
    metric = blocks.endpoint.facts
    bounded = (metric.low, metric.high, metric.better) == (0, 1, "higher")
    return components_of(list(blocks.values.values()), bounded)


def components_of(scores: Sequence[Blocks], bounded: bool) -> Components | None:
    """Estimate the components from the scores of each architecture, one block per fold.

    Parameters
    ----------
    scores : sequence of tuple of ndarray, shape (cases, seeds)
        By architecture; all have the same cases.
    bounded : bool
        Whether the metric lies between 0 and 1, and 1 is best.

    Returns
    -------
    Components or None
        As :func:`estimate_components`.
    """
    moments = moments_of(list(scores))
    k, folds = len(scores), len(scores[0])
    if k < 2 or moments.case_df == 0 or (moments.run.df == 0).any():
        return None
    noise = float(moments.residual.square.mean())
    # Variance of a fold mean over seeds = tau^2 + noise / cases of the fold.
    tau2 = float(moments.run.square.mean()) - noise * folds / moments.n_cases
    # Of a difference of two architectures, their interactions with cases, and the noise that is
    # left of each after averaging over its seeds.
    first, second = np.triu_indices(k, 1)
    shared = np.array([np.mean([1 / block.shape[1] for block in method]) for method in scores])
    squares = moments.case_variance[first, second] * moments.n_cases
    interaction = (squares - noise * (shared[first] + shared[second])) / 2
    mean = float(moments.mean.mean())
    bounded = bounded and 0 < mean < 1
    noise_bend, seed_bend = _bends(scores, mean) if bounded else (0.0, 0.0)
    return Components(
        case_sd=float(np.sqrt(max(0.0, float(interaction.mean())))),
        noise_sd=float(np.sqrt(noise)),
        seed_sd=float(np.sqrt(max(0.0, tau2))),
        mean=mean if bounded else None,
        noise_bend=noise_bend,
        seed_bend=seed_bend,
    )


def _bends(scores: Sequence[Blocks], mean: float) -> tuple[float, float]:
    """Powers of ``m (1 - m)`` that noise and runs follow, each 0 or more.

    That of the noise is how it follows the mean score of a case, over all architectures, so that a
    case is not taken for easy where one was lucky; by quasi-likelihood with a variance proportional
    to the mean, which needs no logarithm of cases without any noise. An effect of a run moves each
    case by as much as its noise is large, and the mean by the mean of that: from which follows how
    the effect of a run shrinks when the mean of all cases rises.
    """
    noise, level = [], []
    for fold in range(len(scores[0])):
        of_fold = [blocks[fold] for blocks in scores]
        of_case = np.clip(np.mean([y.mean(axis=1) for y in of_fold], axis=0), 0.01, _HIGHEST)
        for y in of_fold:
            if min(y.shape) > 1:
                rest = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
                noise.append((rest**2).sum(axis=1) / (y.shape[1] - 1))
                level.append(of_case)
    if not noise:  # the cases are of some folds and the runs of others
        return 0.0, 0.0
    v, m = np.concatenate(noise), np.concatenate(level)
    x = np.log(m * (1 - m))
    if v.sum() == 0 or np.ptp(x) == 0:
        return 0.0, 0.0
    top = x.max()

    def score(bend: float) -> float:
        weight = np.exp(bend * (x - top))
        return float(v @ x / v.sum() - weight @ x / weight.sum())

    # The score falls in the bend, for its slope is a variance with the sign turned.
    if score(0.0) <= 0:
        return 0.0, 0.0
    bend = _STEEPEST
    if score(_STEEPEST) < 0:
        bend = float(optimize.brentq(score, 0.0, _STEEPEST, xtol=1e-4))
    moves = np.exp(bend / 2 * (x - top))
    risen = np.clip(m + _STEP / moves.mean() * moves, 0.01, _HIGHEST)
    shrunk = np.exp(bend / 2 * (np.log(risen * (1 - risen)) - top)).mean() / moves.mean()
    far = min(mean + _STEP, _HIGHEST)
    by = np.log(far * (1 - far) / (mean * (1 - mean)))
    # Near a mean of a half nothing shrinks; what a case gains there others lose.
    return bend, max(0.0, float(2 * np.log(shrunk) / by)) if abs(by) > _FLAT else bend


def pilot_components(
    scores: pd.DataFrame,
    endpoint: str | tuple[str, str] | Endpoint = DEFAULT_ENDPOINT,
    protocol: str | None = None,
    dataset: str | None = None,
    *,
    declared: Mapping[str, Metric] | None = None,
) -> Components:
    """Estimate the components from a score table of earlier runs.

    Parameters
    ----------
    scores : DataFrame
        Long score table with two architectures and two seeds or more.
    endpoint, protocol, dataset
        Which scores, as for :func:`~kitsbench.statistics.compare`.
    declared : mapping of str to Metric, optional
        What was declared about metrics that kitsbench does not compute, by their names.

    Raises
    ------
    DataError
        The table cannot tell the components apart.
    """
    target = parse_endpoint(endpoint, declared)
    own = trained_here(validate_scores(scores, declared=declared))
    if own.empty:
        raise DataError(
            "Everybody in the pilot table was trained elsewhere, which says nothing of training "
            "runs; give scores of networks that were trained here."
        )
    table = choose_table(own, target, protocol, dataset)
    # A pilot tells nothing silently of a part of it.
    found = estimate_components(score_blocks(table, target, kept=set(table["architecture"])))
    if found is None:
        raise DataError(
            "The pilot table cannot tell cases from training runs; it needs two architectures, "
            "each with two seeds and folds of two cases or more."
        )
    return found
