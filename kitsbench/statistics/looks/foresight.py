"""What looks will cost: rounds and device hours, before anything is run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kitsbench.errors import UsageError
from kitsbench.statistics.design.power import Components
from kitsbench.statistics.design.scope import advice
from kitsbench.statistics.looks.clock import Clock
from kitsbench.statistics.looks.course import DIFFERENCE
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.looks.simulated import Rounds, asked, evidence, follow
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.families import adjust

STATES = ("all equal", "one ahead", "two groups", "ladder")
"""True states that are tried: nobody is ahead; one by the gap; a half by the gap; each of the next
by the gap."""
EXPERIMENTS = 400
_FEWEST, _SCORES = 60, 12_000_000
_CASES = 1000
"""Cases that are drawn at most: of more only the variance of their mean matters."""
_SEED = 11
_MEAN = 0.8


def share_of(components: Components, cases: int, folds: int, seeds: int) -> float:
    """Part of the cases in the variance of a difference after all rounds.

    Parameters
    ----------
    components : Components
        Standard deviations.
    cases, folds, seeds : int
        Of the whole design.

    Returns
    -------
    float
        Between 0 and 0.9, in twentieths, for :attr:`~kitsbench.statistics.LookPlan.share`.
    """
    stays = components.case_sd**2 / cases
    goes = components.noise_sd**2 / (cases * seeds) + components.seed_sd**2 / (folds * seeds)
    if stays + goes == 0:
        return 0.5
    return min(round(20 * stays / (stays + goes)) / 20, 0.9)


def expected_hours(
    plan: LookPlan,
    components: Components,
    cases: int,
    folds: int,
    architectures: int,
    gap: float,
    experiments: int | None = None,
    random_seed: int = _SEED,
) -> list[dict[str, Any]]:
    """Simulate experiments that stop when they are decided, and say what they take.

    Parameters
    ----------
    plan : LookPlan
        Of the looks; its question may be ``pairs``, ``top`` or ``baseline``: the first is that.
    components : Components
        Standard deviations, as assumed or of a pilot.
    cases, folds, architectures : int
        Cases over all folds.
    gap : float
        True difference of the states in which there is one, in units of the metric.
    experiments : int, optional
        How many in each state; by default 400, fewer of large designs.
    random_seed : int
        The result is a function of it.

    Returns
    -------
    list of dict
        For each of :data:`STATES` that the architectures allow: ``state``; ``runs`` (mean number of
        training runs), ``runs_sd``, ``runs_low`` and ``runs_high`` (of nine experiments in ten),
        ``fixed_runs``; ``part`` (``runs`` over ``fixed_runs``); ``power`` and ``fixed_power`` (true
        differences that are found; None where there are none).

    Raises
    ------
    UsageError
        The design allows no verdict, or a size makes no sense.
    """
    lack = advice(folds, plan.looks)
    if lack:
        raise UsageError(
            f"{folds} folds x {plan.looks} seeds allow no verdict: nothing can be decided. {lack}"
        )
    if architectures < 2 or cases < 2 * folds or not gap > 0:
        raise UsageError(
            f"The plan has {architectures} architectures, {cases} cases in {folds} folds and the "
            f"gap {gap:g}; it needs two architectures, two cases in each fold and a positive gap."
        )
    if cases > (most := max(_CASES, 2 * folds)):
        scale = math.sqrt(most / cases)
        components = replace(
            components, case_sd=scale * components.case_sd, noise_sd=scale * components.noise_sd
        )
        cases = most
    size = architectures * cases * plan.looks
    number = experiments or max(_FEWEST, min(EXPERIMENTS, _SCORES // size))
    at_once = max(1, _SCORES // size)
    margined = replace(plan, margin=plan.margin or gap)
    clock = Clock(plan.spending, plan.share)
    found = []
    for state in STATES[: 2 if architectures == 2 else len(STATES)]:
        gaps = _gaps(state, architectures, gap)
        rng = np.random.default_rng([random_seed, STATES.index(state)])
        parts = []
        for start in range(0, number, at_once):
            some = min(at_once, number - start)
            rounds = Rounds(_drawn(rng, some, components, cases, folds, plan.looks, gaps))
            parts.append(_taken(rounds, margined, clock, gaps, folds))
        whole = architectures * folds * plan.looks
        found.append({"state": state, **_summary(parts, whole, state != STATES[0])})
    return found


def _gaps(state: str, number: int, gap: float) -> Array:
    place = np.arange(number)
    if state == "ladder":
        return -gap * place.astype(float)
    ahead = {"all equal": 0, "one ahead": 1, "two groups": number // 2}[state]
    return np.where(place < ahead, gap, 0.0)


def _drawn(
    rng: np.random.Generator,
    number: int,
    components: Components,
    cases: int,
    folds: int,
    seeds: int,
    gaps: Array,
) -> Array:
    """Normal scores, but for what all architectures share of a case: it cancels."""
    k, per_fold = len(gaps), cases // folds
    shape = (number, k, folds, per_fold, seeds)
    scores = rng.standard_normal(shape) * components.noise_sd
    scores += rng.standard_normal((*shape[:-1], 1)) * components.case_sd
    scores += rng.standard_normal((number, k, folds, 1, seeds)) * components.seed_sd
    return np.asarray(scores + (_MEAN + gaps)[:, None, None, None])


def _taken(
    rounds: Rounds, plan: LookPlan, clock: Clock, gaps: Array, folds: int
) -> tuple[Array, Array, Array]:
    """Of each experiment the runs, and the parts of the true differences that are found."""
    number, k = rounds.size
    first, second = asked(plan, k)
    early = follow(rounds, plan, clock)
    runs = early.seeds.sum(axis=1) * folds
    truth = np.sign(gaps[first] - gaps[second])
    full = np.full((number, k), plan.looks)
    every = np.ones((number, len(first)), dtype=bool)
    seen = evidence(rounds.moments(full), full, plan, every, first, second)
    apart = truth != 0
    right = (early.standing.state == DIFFERENCE) & (early.standing.sign == truth)
    known = (adjust(seen.p) < plan.alpha) & (np.sign(seen.estimate) == truth)
    return runs, right[:, apart], known[:, apart]


def _summary(
    parts: Sequence[tuple[Array, Array, Array]], whole: int, differ: bool
) -> dict[str, Any]:
    """Runs and power over all experiments; no power where nothing differs."""
    runs, right, known = (np.concatenate(values) for values in zip(*parts, strict=True))
    return {
        "runs": float(runs.mean()),
        "runs_sd": float(runs.std()),
        "runs_low": float(np.quantile(runs, 0.05)),
        "runs_high": float(np.quantile(runs, 0.95)),
        "fixed_runs": whole,
        "part": float(runs.mean() / whole),
        "power": float(right.mean()) if differ else None,
        "fixed_power": float(known.mean()) if differ else None,
    }
