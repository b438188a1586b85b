"""Looks while trials come in, measured: error over all looks, power, hours, coverage.

Experiments are simulated whole, with all seeds. Then looks are taken as
:func:`~kitsbench.statistics.looks.take.take_look` takes them, by the very functions that it calls,
and an architecture gets no more seeds once nothing of it is open.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np

from kitsbench.statistics.calibration.situation import (
    ALPHA,
    MARGIN,
    Band,
    Measured,
    Rates,
    Situation,
    gathered,
    measured,
)
from kitsbench.statistics.design.scope import allows_verdict
from kitsbench.statistics.looks.clock import (
    Clock,
    counted_df,
    information,
    sure_share,
)
from kitsbench.statistics.looks.course import (
    DIFFERENCE,
    EQUIVALENCE,
    Standing,
    States,
)
from kitsbench.statistics.looks.ordering import as_high, reach
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.looks.simulated import Followed, Rounds, asked, evidence, follow
from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.moments import Index
from kitsbench.statistics.tests.statements import state

LADDER, GROUPS = 0.05, 0.05
_CLOSE = MARGIN
TRUTHS = (
    "equal", "one ahead", "two groups", "two close groups", "ladder", "close ladder"
)  # fmt: skip
"""Who is ahead: nobody; one, by the margin; a half, by 0.05 or by the margin; each of the next, by
0.05 or by the margin, until 0.2 is reached: the others are equal to the last."""
_DEEPEST = 0.2
_SCORES_AT_ONCE = 4_000_000

BANDS: dict[str, Band] = {
    "differs": (None, 0.055),
    "differs, at will": (None, 0.055),
    "any statement": (None, 0.06),
    "power lost": (None, 0.03),
    "coverage": (0.94, None),
    "repeated coverage": (0.94, None),
}
"""What must hold in every cell."""


@dataclass(frozen=True)
class LookCell(Situation):
    """One situation in which looks are taken.

    Its ``truth`` is one of :data:`TRUTHS`, and its ``seeds`` are the planned rounds.

    Attributes
    ----------
    question, spending : str
        As in :class:`~kitsbench.statistics.looks.plan.LookPlan`.
    """

    question: str = "pairs"
    spending: str = "obrien-fleming"

    @property
    def gaps(self) -> tuple[float, ...]:
        """By architecture how far its true mean lies above the usual one."""
        k, half = self.architectures, self.architectures // 2
        if self.truth in ("ladder", "close ladder"):
            step = LADDER if self.truth == "ladder" else _CLOSE
            down = [min(step * place, _DEEPEST) for place in range(k)]
            return tuple(-x for x in down)  # a mean Dice has more room below it than above
        ahead = {"equal": 0, "one ahead": 1, "two groups": half, "two close groups": half}
        return self.leading(ahead[self.truth], GROUPS if self.truth == "two groups" else _CLOSE)

    @property
    def plan(self) -> LookPlan:
        """The plan of its looks."""
        baseline = "the first" if self.question == "baseline" else None
        return LookPlan(
            self.seeds, self.question, baseline, spending=self.spending, alpha=ALPHA, margin=MARGIN
        )


@dataclass(frozen=True)
class LookResult(Rates[LookCell]):
    """The rates of one cell.

    ``differs`` and ``any statement``: experiments with a false one at any look; ``at will``: the
    same where everything is run to the end whatever is settled, so that it bounds every way to
    stop; ``fixed``: of the fixed design, which looks once. ``power``, ``fixed power``: true
    differences that are found, by pair (of the question ``top``: architectures that are not the
    best and are found worse than another). ``power lost``: the one less the other. ``coverage``:
    stage-wise intervals of pairs. ``settled early``: pairs that stop before the last round.

    Attributes
    ----------
    hours, spread : float
        Trials that were run, as part of those of the fixed design: mean and SD over experiments.
    """

    kind: ClassVar[type[Situation]] = LookCell

    hours: float
    spread: float


def measure_looks(cell: LookCell, experiments: int, random_seed: int) -> LookResult:
    """Simulate experiments of a cell, look at them, and hold what is stated against the truth.

    Parameters
    ----------
    cell : LookCell
        The situation.
    experiments : int
        How many.
    random_seed : int
        The result is a function of it, of ``experiments`` and of the cell alone.
    """
    plan = cell.plan
    clock = Clock(plan.spending, plan.share)
    # One interval an experiment: those of one experiment depend on each other.
    intervals = cell.chunk(_SCORES_AT_ONCE)

    def parts() -> Iterator[dict[str, Array]]:
        drawn = cell.drawn(experiments, random_seed, _SCORES_AT_ONCE)
        for chunk, scores in enumerate(drawn):
            rng = np.random.default_rng([random_seed, 1, chunk])
            yield outcomes(Rounds(scores), cell, plan, clock, rng, intervals)

    joined = gathered(parts())
    hours = joined.pop("hours")
    rates = {name: measured(values, BANDS.get(name)) for name, values in joined.items()
             if len(values)}  # fmt: skip
    if "power" in rates:
        lost = _difference(joined["fixed power"] - joined["power"])
        # The shape of Pocock asks for more at the end: what that costs is shown, and not judged.
        free = cell.spending != "obrien-fleming"
        rates["power lost"] = replace(lost, passed=None, inside=None) if free else lost
    return LookResult(cell, experiments, rates, float(hours.mean()), float(hours.std()))


def _difference(values: Array) -> Measured:
    """A mean of differences, with its interval by the normal distribution."""
    mean, half = float(values.mean()), 1.96 * float(values.std()) / math.sqrt(len(values))
    most = BANDS["power lost"][1] or 0.0
    return Measured(mean, mean - half, mean + half, mean - half <= most, mean <= most)


def outcomes(
    rounds: Rounds,
    cell: LookCell,
    plan: LookPlan,
    clock: Clock,
    rng: np.random.Generator,
    intervals: int,
) -> dict[str, Array]:
    """Look at experiments, stopping and not, and compare with the fixed design.

    Parameters
    ----------
    rounds : Rounds
    cell : LookCell
        With the true gaps.
    plan : LookPlan
    clock : Clock
    rng : numpy.random.Generator
        Chooses the pairs whose intervals are made.
    intervals : int
        How many.
    """
    k = cell.architectures
    first, second = asked(plan, k)
    gaps = np.array(cell.gaps)
    truth = gaps[first] - gaps[second]
    size = rounds.size[0]
    early = follow(rounds, plan, clock)
    whole = follow(rounds, plan, clock, stop=False)
    counted = {
        "differs": _wrong(early.standing, truth)[0],
        "differs, at will": _wrong(whole.standing, truth)[0],
        "any statement": _wrong(early.standing, truth)[1],
        "hours": early.seeds.mean(axis=1) / plan.looks,
        "settled early": (early.standing.tested_at < plan.looks).mean(axis=1),
    }
    full = np.full((size, k), plan.looks)
    every = np.ones((size, len(first)), dtype=bool)
    seen = evidence(rounds.moments(full), full, plan, every, first, second)
    stated = state(seen.p, seen.p_exceeds, seen.p_within, plan.alpha)
    fixed = stated.differs < plan.alpha
    right = np.sign(truth)
    counted["differs, fixed"] = (fixed & (np.sign(seen.estimate) != right)).any(axis=1)
    if (truth != 0).any():
        found = (early.standing.state == DIFFERENCE) & (early.standing.sign == right)
        known = fixed & (np.sign(seen.estimate) == right)
        if plan.question == "top":
            counted["power"] = _out(found, right, first, second, gaps)
            counted["fixed power"] = _out(known, right, first, second, gaps)
        else:
            counted["power"] = found[:, truth != 0].mean(axis=1)
            counted["fixed power"] = known[:, truth != 0].mean(axis=1)
    counted |= _covered(early, truth, clock, rng, intervals, plan)
    return {name: np.asarray(values, dtype=float) for name, values in counted.items()}


def _wrong(now: Standing, truth: Array) -> tuple[Array, Array]:
    """Whether an experiment has a false difference, and whether it has a false statement."""
    differ = now.state == DIFFERENCE
    false = differ & (now.sign != np.sign(truth))
    beyond = differ & (now.relevant > 0) & (np.abs(truth) <= MARGIN)
    alike = (now.state == EQUIVALENCE) | (differ & (now.relevant < 0))
    alike &= np.abs(truth) >= MARGIN
    return false.any(axis=1), (false | beyond | alike).any(axis=1)


def _out(found: States, right: Array, first: Index, second: Index, gaps: Array) -> Array:
    """Part of the architectures that are not the best which are found worse than another."""
    out = np.zeros((len(found), len(gaps)), dtype=bool)
    for place, (a, b) in enumerate(zip(first, second, strict=True)):
        if right[place]:
            out[:, b if right[place] > 0 else a] |= found[:, place]
    return np.asarray(out[:, gaps < gaps.max()].mean(axis=1))


def _covered(
    early: Followed,
    truth: Array,
    clock: Clock,
    rng: np.random.Generator,
    number: int,
    plan: LookPlan,
) -> dict[str, Array]:
    """Whether intervals hold the truth: by the order of looks of some pairs, and of all at once."""
    now = early.standing
    at = np.argwhere((now.tested_at > 0) & (now.se > 0))
    at = at[rng.permutation(len(at))[:number]]
    tests = np.array([was[tuple(at.T)] for was in early.tested])
    held, naive = np.zeros(len(at)), np.zeros(len(at))
    for number_of in range(1, len(tests) + 1):
        rows = np.flatnonzero(tests.sum(axis=0) == number_of)
        if not len(rows):
            continue
        where = tuple(at[rows].T)
        used = np.array([bound[where] for bound in early.bounds])
        # The looks that tested each pair, in their order, and of their bounds all but the last.
        order = np.argsort(~tests[:, rows], axis=0, kind="stable")[: number_of - 1]
        bounds = np.take_along_axis(used, order, axis=0)
        rounds = np.argsort(~tests[:, rows], axis=0, kind="stable")[:number_of] + early.first
        known = information(sure_share(now.share[where]), 1.0, rounds / plan.looks)
        figures = (now.estimate[where], now.se[where], now.df[where])
        true = truth[where[1]]
        for kept, looks in ((held, slice(None)), (naive, slice(number_of - 1, None))):
            high = as_high(true, *figures, (known / known[-1])[looks], bounds[looks])
            kept[rows] = np.abs(high - 0.5) <= 0.5 - ALPHA / 2
    stopped = now.tested_at[tuple(at.T)] < plan.looks
    return {
        "coverage": held,
        "coverage, stopped early": held[stopped],
        "naive coverage": naive,
        "repeated coverage": _together(now, truth, clock, plan),
    }


def _together(now: Standing, truth: Array, clock: Clock, plan: LookPlan) -> Array:
    """Whether the repeated intervals of all pairs hold the truth at their last looks."""
    half = np.full(now.p.shape, np.inf)
    for where, table in clock.each(now.history):
        bound = table.bound(np.array(plan.alpha / now.p.shape[-1]))
        early = counted_df(now.df[where], False, now.p.shape[-1])
        df = np.where(now.tested_at[where] < plan.looks, early, now.df[where])
        half[where] = reach(bound, now.se[where], df)
    tested = now.tested_at > 0
    return np.asarray((~tested | (np.abs(now.estimate - truth) <= half)).all(axis=1))


def look_grid() -> list[LookCell]:
    """All cells of ``kitsbench calibrate --looks``."""
    spec, base, small = "specification", (5, 210, 5), (5, 98, 3)
    designs = ((1, 98, 5), (2, 98, 4), (3, 210, 3), (5, 98, 3), (10, 210, 5))
    wide = ("equal", "two groups", "ladder")
    cells = [LookCell(spec, k, *base, "0.01", truth) for k, truth in product((2, 5), TRUTHS)]
    cells += [
        LookCell(spec, k, *base, scatter, truth)
        for k, scatter, truth in product(
            (2, 5), ("0.02", "one noisy", "half noisy"), ("equal", "one ahead", "ladder")
        )
    ]
    cells += [
        LookCell(spec, k, *design, "0.01", truth)
        for design, k, truth in product(designs, (2, 5), ("one ahead", *wide))
    ]
    cells += [
        LookCell(spec, k, *design, scatter, "equal")
        for design, (k, scatter) in product(designs, ((2, "one noisy"), (5, "half noisy")))
    ]
    cells += [LookCell(spec, 12, *small, "0.01", truth) for truth in TRUTHS]
    cells += [LookCell(spec, 20, *small, "0.01", truth) for truth in wide]
    cells += [LookCell(spec, 12, *base, "0.01", truth) for truth in ("one ahead", *wide)]
    many = ("two groups", "ladder")
    cells += [LookCell(spec, 12, 10, 210, 5, "0.01", truth) for truth in many]
    cells += [LookCell(spec, 12, *base, "0.01", truth, "top") for truth in many]
    cells += [LookCell(spec, 20, *base, "0.01", truth) for truth in many]
    # Where all but one pair are settled, all of alpha is left for that one.
    cells += [
        LookCell(spec, 3, *design, scatter, truth)
        for design, (scatter, truth) in product(
            (small, base), (("one noisy", "two groups"), ("0.02", "one ahead"))
        )
    ]
    cells += [
        LookCell(kind, 5, *small, "0.02", truth)
        for kind in ("normal", "zero-inflated", "skewed", "heavy-tailed", "rare misses")
        for truth in ("equal", "two groups")
    ]
    usual = [LookCell(spec, 5, *base, "0.01", truth) for truth in ("one ahead", *wide)]
    cells += [replace(cell, question="top") for cell in usual]
    cells += [LookCell(spec, 12, *small, "0.01", truth, "top") for truth in wide]
    cells += [
        LookCell(spec, k, *base, scatter, truth, "baseline")
        for k, scatter in ((5, "0.01"), (5, "one noisy"), (12, "0.01"))
        for truth in ("equal", "one ahead", "two groups")
    ]
    cells += [replace(cell, spending="pocock") for cell in usual]
    return list(dict.fromkeys(cell for cell in cells if _makes_sense(cell)))


def quick_look_grid() -> list[LookCell]:
    """Six cells for ``kitsbench calibrate --looks --quick``."""
    spec = "specification"
    return [
        LookCell(spec, 2, 5, 98, 3, "0.01", "equal"),
        LookCell(spec, 2, 2, 98, 4, "one noisy", "equal"),
        LookCell(spec, 5, 5, 98, 3, "0.01", "one ahead"),
        LookCell(spec, 5, 10, 98, 3, "0.01", "ladder"),
        LookCell(spec, 5, 5, 98, 3, "half noisy", "two groups"),
        LookCell(spec, 5, 1, 98, 5, "0.01", "equal", "top"),
    ]


def _makes_sense(cell: LookCell) -> bool:
    two = cell.architectures == 2
    return allows_verdict(cell.folds, cell.seeds) and not (
        two and (cell.truth not in ("equal", "one ahead") or "half" in cell.scatter)
    )
