"""Whether a plan keeps what it promises: power measured at the gaps that it names."""

from __future__ import annotations

import functools
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np

from kitsbench.statistics.calibration.classic import recommended_test
from kitsbench.statistics.calibration.generators import GENERATORS, Design
from kitsbench.statistics.calibration.situation import (
    ALPHA,
    Measured,
    draw_named,
    measured,
)
from kitsbench.statistics.design.power import Components, components_of
from kitsbench.statistics.design.promise import Design as Planned
from kitsbench.statistics.tests.families import adjust, exceeds_p
from kitsbench.statistics.tests.moments import moments_of_many

TOLERANCE = 0.05
_NO_BAND = ("shared seeds",)
"""Runs that share their luck differ less than mean squares tell: a limit, without a band."""
_PILOT = (4, 200, 20, 5)  # architectures, folds, cases of a fold, seeds
FAR = 0.06
"""Gap beyond which a promise is shown and not judged: three margins, another kind of scores."""
_FARTHEST = 0.13  # a mean Dice of 0.83 has no more room
_SCORES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Request:
    """A design to plan, the scores it will have, and the power to promise.

    Attributes
    ----------
    generator : str
        One of :data:`~kitsbench.statistics.calibration.generators.GENERATORS`.
    architectures, folds, cases, seeds : int
        ``cases`` over all folds.
    tau : float
        SD of a fold mean between training runs.
    power : float
        Promised for the gap that is then tried.
    """

    generator: str
    architectures: int
    folds: int
    cases: int
    seeds: int
    tau: float
    power: float


@dataclass(frozen=True)
class Promise:
    """What was promised and what was found.

    Attributes
    ----------
    request : Request
    experiments : int
    gap : float or None
        That the plan says is detected with the power; None where scores have no room for it.
    found : Measured or None
        How often it was; judged where the kind of scores has a band and the gap is not far.
    """

    request: Request
    experiments: int
    gap: float | None
    found: Measured | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Promise:
        """Read what :meth:`to_dict` wrote."""
        found = plain["found"]
        return cls(
            Request(**plain["request"]),
            int(plain["experiments"]),
            plain["gap"],
            None if found is None else Measured(**found),
        )


_DESIGNS = ((1, 98, 3), (1, 210, 5), (2, 98, 3), (3, 210, 2), (5, 98, 2), (5, 210, 1), (5, 210, 3),
            (10, 210, 1), (5, 489, 1), (10, 489, 2))  # fmt: skip


def requests() -> list[Request]:
    """Plans that are tried: many designs for two kinds of scores, a few for the others."""
    wide = [
        Request(kind, k, folds, cases, seeds, tau, power)
        for kind in ("specification", "normal")
        for folds, cases, seeds in _DESIGNS
        for k in (2, 5, 12)
        for tau, power in ((0.01, 0.5), (0.02, 0.8))
    ]
    narrow = [
        Request(kind, k, folds, cases, seeds, 0.02, 0.8)
        for kind in ("zero-inflated", "skewed", "heavy-tailed", "rare misses", *_NO_BAND)
        for folds, cases, seeds in (*_DESIGNS[3:7], (5, 489, 3), (10, 489, 2))
        for k in (2, 5)
    ]
    return wide + narrow


def quick_requests() -> list[Request]:
    """Two of them."""
    return [
        Request("specification", 5, 10, 210, 1, 0.02, 0.8),
        Request("normal", 5, 5, 210, 3, 0.02, 0.8),
    ]


@functools.cache
def pilot(generator: str, tau: float) -> Components:
    """Components of a kind of scores, from a pilot so large that they are known.

    Parameters
    ----------
    generator : str
        Kind of scores.
    tau : float
        SD of a fold mean between training runs.
    """
    k, folds, cases, seeds = _PILOT
    design = Design(folds, cases, seeds, (tau,) * k, (0.0,) * k)
    scores = GENERATORS[generator](np.random.default_rng(1), 1, design)[0]
    found = components_of([tuple(part) for part in scores], bounded=True)
    assert found is not None  # it has seeds, cases and architectures
    return found


def promise(request: Request, experiments: int, random_seed: int) -> Promise:
    """Plan a design, and measure how often a comparison finds the gap that the plan names.

    Parameters
    ----------
    request : Request
        The plan.
    experiments : int
        How many, fewer where they are large families of pairs.
    random_seed : int
        The result is a function of it, of ``experiments`` and of the request.
    """
    k, size = request.architectures, request.cases // request.folds
    planned = Planned(
        size * request.folds,
        request.folds,
        request.seeds,
        k,
        pilot(request.generator, request.tau),
    )
    gap = planned.detectable_gap(request.power, ALPHA)
    number = max(50, 2 * experiments // k)
    if not gap <= _FARTHEST:
        return Promise(request, number, None, None)
    design = Design(request.folds, size, request.seeds, (request.tau,) * k, (gap, *[0.0] * (k - 1)))
    first, second = np.triu_indices(k, 1)
    chunk = max(10, _SCORES_AT_ONCE // (k * request.cases * request.seeds))
    hits = []
    drawn = draw_named(astuple(request), request.generator, design, number, chunk, random_seed)
    for scores in drawn:
        found = recommended_test(moments_of_many(scores), first, second)
        p = adjust(exceeds_p(found.estimate, found.se, found.df, 0.0))
        hits.append(((p < ALPHA) & (found.estimate > 0))[:, first == 0].mean(axis=-1))
    band = None
    if request.generator not in _NO_BAND and gap <= FAR:
        band = (request.power - TOLERANCE, request.power + TOLERANCE)
    return Promise(request, number, gap, measured(np.concatenate(hits), band))
