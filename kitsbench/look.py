"""Looks at scores while trials come in: their words, and what one finds, as plain data.

What the statistics find is what records hold. Files that are read often need this, and neither
numbers nor tables: so it lies below both rooms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

Spending = Literal["obrien-fleming", "pocock"]
SPENDING: tuple[Spending, ...] = get_args(Spending)
"""How the error is spent over looks: little at first, or about as much at each."""
FUTILITY = 0.05
"""A pair is given up where the chance to settle it within the plan is less, if nobody says; one of
several that alone keeps two architectures in training needs more."""

State = Literal["open", "difference", "equivalence", "futile", "not asked"]
STATES: tuple[State, ...] = get_args(State)
"""``open``: more trials can settle the pair. ``difference``, ``equivalence``: settled, for good.
``futile``: given up, as the chance to settle it within the plan is too small, or none is left;
more trials are allowed, and may still settle it. ``not asked``: the question needs no answer any
more (of the question ``top``: one of the two is out)."""
SETTLED: tuple[State, ...] = ("difference", "equivalence")
"""States that no later look changes."""

_SAID: dict[State, str] = {
    "open": "open",
    "difference": "difference",
    "equivalence": "equivalent",
    "futile": "given up",
    "not asked": "not asked any more",
}


def said(state: State, is_last: bool = False) -> str:
    """A state in words.

    Parameters
    ----------
    state : str
        One of :data:`STATES`.
    is_last : bool
        Whether it is that of the last look planned. Nothing is given up there for its small
        chance: no round is left.
    """
    return "not settled" if is_last and state == "futile" else _SAID[state]


Number = Annotated[int, Field(ge=1)]
"""Of a look: the round after which it was taken, from 1."""


@dataclass(frozen=True)
class PairLook:
    """One pair at a look. What is not defined is None, never NaN.

    Attributes
    ----------
    a, b : str
        Architectures; the estimate is ``a`` minus ``b``.
    state : str
        One of :data:`STATES`.
    reason : str
        Why, in words; never empty.
    better : str or None
        Who is better, of a difference.
    relevant : bool or None
        Of a difference: whether it was shown to exceed the margin (True), to lie within it
        (False), or neither (None).
    settled_at : int or None
        Number of the look that settled the pair. Its figures are those of that look ever after.
    tested_at : int or None
        Number of the look whose scores the figures are from: of a pair that got no new runs, or
        is settled, an earlier one. None where no look could test it.
    estimate : float
        Difference of means over cases; where the pair was never tested, of the scores at hand.
    se, df : float or None
        Its standard error and degrees of freedom.
    information : float or None
        ``1 / se**2``.
    fraction : float or None
        Information at hand over that of all planned rounds, 0 to 1: the clock by which alpha is
        spent. It never goes back, and is 1 at the last look.
    share : float or None
        Part of the cases in the variance that is left after all planned rounds, as the scores tell
        it: what no seed takes away.
    cases, runs : float or None
        Independent cases and training runs at hand, as parts of those that are planned.
    p_value, p_exceeds, p_within : float or None
        Unadjusted, of this look by itself: that there is a difference, that it exceeds the margin,
        that it lies within it.
    z : float or None
        ``p_value`` as a normal quantile, with the sign of the estimate.
    bound : float or None
        What ``p_value`` had to be below at this look for a difference (a nominal level, two-sided;
        0: nothing could be shown yet; None: the look spent nothing, as there are too few runs); it
        depends on what was found of the other pairs. A pair may also be settled by the p-value of
        an earlier look, once others have passed their alpha on.
    spent : float
        Alpha that this pair has spent so far, of its own share.
    p_sequential, p_sequential_exceeds, p_sequential_within : float or None
        Sequential p-values: those of this pair over all looks so far, not adjusted for other pairs.
        They never rise from look to look.
    p_adjusted, p_adjusted_exceeds, p_adjusted_within : float or None
        The same, adjusted for all pairs: what verdicts rest on.
    low, high : float or None
        Repeated confidence interval of level ``1 - alpha`` for all pairs and looks together.
    chance : float or None
        Chance that the pair is settled within the plan, given what was seen; None where settled.
    seeds : int or None
        Runs of a fold that the figures are from, the fewest; None where no look could test it.
    """

    a: str
    b: str
    state: State
    reason: str
    better: str | None
    relevant: bool | None
    settled_at: Number | None
    tested_at: Number | None
    estimate: float | None
    se: float | None
    df: float | None
    information: float | None
    fraction: float | None
    share: float | None
    cases: float | None
    runs: float | None
    p_value: float | None
    p_exceeds: float | None
    p_within: float | None
    z: float | None
    bound: float | None
    spent: float
    p_sequential: float | None
    p_sequential_exceeds: float | None
    p_sequential_within: float | None
    p_adjusted: float | None
    p_adjusted_exceeds: float | None
    p_adjusted_within: float | None
    low: float | None
    high: float | None
    chance: float | None
    seeds: int | None = None

    @property
    def settled(self) -> bool:
        """Whether a difference or an equivalence was shown."""
        return self.state in SETTLED

    @property
    def name(self) -> tuple[str, str]:
        """The two architectures."""
        return self.a, self.b

    def turned(self) -> PairLook:
        """The same pair the other way round: ``b`` minus ``a``."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            estimate=negative(self.estimate),
            z=negative(self.z),
            low=negative(self.high),
            high=negative(self.low),
        )


def negative(value: float | None) -> float | None:
    """A value of the pair the other way round, without a zero that has a minus sign."""
    return None if value is None else 0.0 - value


@dataclass(frozen=True)
class Look:
    """A look at all pairs of the question.

    Attributes
    ----------
    number : int
        Round after which it was taken, from 1.
    planned : bool
        Whether the plan has it. Another one is allowed, and costs what :attr:`price` says.
    architectures : tuple of str
        The family, in alphabetical order; the same in all looks.
    pairs : tuple of PairLook
        Every pair of the question, in one order in all looks.
    open : tuple of str
        Architectures with an open pair, in alphabetical order: they go on.
    spent, price : float
        Alpha spent by all looks so far, of the plan's alpha; and the part that this look spent.
    fraction : float
        Largest information fraction of a pair.
    trials : dict
        What was looked at: by "architecture fold seed" the SHA-256 (16 digits) of the scores of the
        endpoint; after the word ``failed`` where a prediction failed, since such a trial may be
        repeated.
    notes : tuple of str
        What a reader must know, in sentences.
    plan_seal : str
        Seal of the plan that it was taken by.
    """

    number: Number
    planned: bool
    architectures: tuple[str, ...]
    pairs: tuple[PairLook, ...]
    open: tuple[str, ...]
    spent: float
    price: float
    fraction: float
    trials: dict[str, str]
    notes: tuple[str, ...]
    plan_seal: str

    def pair(self, a: str, b: str) -> PairLook:
        """The pair of two architectures, in either order; KeyError where it is not asked about."""
        for pair in self.pairs:
            if {pair.a, pair.b} == {a, b}:
                return pair
        raise KeyError((a, b))

    @property
    def open_pairs(self) -> tuple[PairLook, ...]:
        """Pairs that more trials can settle."""
        return tuple(pair for pair in self.pairs if pair.state == "open")

    @property
    def decided(self) -> bool:
        """Whether nothing is open any more."""
        return not self.open

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        plain = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value
                for key, value in plain.items()}  # fmt: skip

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Look:
        """Read what :meth:`to_dict` wrote; TypeError where a key is missing or unknown."""
        pairs = tuple(PairLook(**pair) for pair in plain["pairs"])
        lists = {key: tuple(plain[key]) for key in ("architectures", "open", "notes")}
        return cls(**{**plain, **lists, "pairs": pairs, "trials": dict(plain["trials"])})


def check_follows(before: Look, after: Look) -> None:
    """See that a look comes after another at the same pairs, and takes back nothing of it.

    Raises
    ------
    ValueError
        It does not; one sentence says why.
    """
    if after.number <= before.number:
        raise ValueError(f"the looks {before.number}, {after.number} do not rise")
    names = [pair.name for pair in before.pairs]
    if after.architectures != before.architectures or [p.name for p in after.pairs] != names:
        raise ValueError("the looks are not all at the same pairs")
    for was, now in zip(before.pairs, after.pairs, strict=True):
        if was.settled and now.state != was.state:
            raise ValueError(
                f"{now.a} and {now.b} had ended as {was.state}; look {after.number} has {now.state}"
            )
    if after.spent < before.spent:
        raise ValueError("a later look has spent less of alpha than an earlier one")
