"""What is reported at the end: estimates that know of the looks beside those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from kitsbench.errors import UsageError
from kitsbench.look import Look, PairLook, State, negative
from kitsbench.statistics.looks.clock import information, rising, sure_share
from kitsbench.statistics.looks.ordering import ordered
from kitsbench.statistics.looks.plan import LookPlan


@dataclass(frozen=True)
class FinalPair:
    """A pair after its last look. What is not defined is None.

    Attributes
    ----------
    a, b : str
        Architectures; the estimates are ``a`` minus ``b``.
    state, better
        As in :class:`~kitsbench.look.PairLook`.
    look : int or None
        Number of the look whose scores the figures are from.
    looks : int
        How many looks have tested the pair.
    estimate, ci_low, ci_high : float or None
        Naive: the difference of means and its interval of level ``1 - alpha``, for this pair
        alone, as if there had been one look.
    unbiased, ordered_low, ordered_high : float or None
        Median-unbiased estimate and interval of the same level by the order of looks.
    p_value, p_sequential, p_adjusted : float or None
        Naive p-value; over all looks; and adjusted for all pairs too.
    """

    a: str
    b: str
    state: State
    better: str | None
    look: int | None
    looks: int
    estimate: float | None
    ci_low: float | None
    ci_high: float | None
    unbiased: float | None
    ordered_low: float | None
    ordered_high: float | None
    p_value: float | None
    p_sequential: float | None
    p_adjusted: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    def turned(self) -> FinalPair:
        """The same pair the other way round: ``b`` minus ``a``."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            estimate=negative(self.estimate),
            ci_low=negative(self.ci_high),
            ci_high=negative(self.ci_low),
            unbiased=negative(self.unbiased),
            ordered_low=negative(self.ordered_high),
            ordered_high=negative(self.ordered_low),
        )


def final_pairs(looks: Sequence[Look], plan: LookPlan) -> list[FinalPair]:
    """Estimate every pair at the end of the looks, or as far as they have come.

    Parameters
    ----------
    looks : sequence of Look
        All of them, in their order; at least one.
    plan : LookPlan
        That of the looks.

    Raises
    ------
    UsageError
        There is no look.
    """
    if not looks:
        raise UsageError("There is no look yet, so nothing can be estimated: give at least one.")
    found = []
    for at, last in enumerate(looks[-1].pairs):
        seen = [look.pairs[at] for look in looks if look.pairs[at].tested_at == look.number]
        found.append(_final(seen, last, plan))
    return found


def _final(seen: list[PairLook], last: PairLook, plan: LookPlan) -> FinalPair:
    low = high = unbiased = None
    naive: tuple[float | None, float | None] = (None, None)
    usable = bool(seen) and all(pair.se and pair.df for pair in seen)
    if usable:
        se, df, estimate = (_column(seen, name) for name in ("se", "df", "estimate"))
        told = sure_share(_column(seen[-1:], "share"))
        known = rising(information(told, _column(seen, "cases"), _column(seen, "runs")))
        # A bound is a level of the p-value, so in standard errors it is a quantile of Student's t.
        tail = np.array([pair.bound or 0.0 for pair in seen]) / 2
        edge = np.where(tail > 0, -special.stdtrit(df, np.where(tail > 0, tail, 0.5)), np.inf)
        used = (edge * se)[:-1, None]
        found = ordered(
            estimate[-1:], se[-1:], df[-1:], (known / known[-1])[:, None], used, plan.alpha
        )
        low, high, unbiased = (float(x[0]) for x in (found.low, found.high, found.estimate))
        half = float(special.stdtrit(df[-1], 1 - plan.alpha / 2) * se[-1])
        naive = (float(estimate[-1]) - half, float(estimate[-1]) + half)
    return FinalPair(
        a=last.a,
        b=last.b,
        state=last.state,
        better=last.better,
        look=last.tested_at,
        looks=len(seen),
        estimate=last.estimate,
        ci_low=naive[0],
        ci_high=naive[1],
        unbiased=unbiased,
        ordered_low=low,
        ordered_high=high,
        p_value=last.p_value,
        p_sequential=last.p_sequential,
        p_adjusted=last.p_adjusted,
    )


def _column(pairs: Sequence[PairLook], name: str) -> np.ndarray:
    return np.array([getattr(pair, name) for pair in pairs], dtype=float)
