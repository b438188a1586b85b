"""The plan of looks: what is settled before the first score is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from numbers import Integral, Real

from kitsbench.errors import UsageError
from kitsbench.files import digest
from kitsbench.look import FUTILITY, SPENDING
from kitsbench.statistics.table.endpoints import DEFAULT_ENDPOINT
from kitsbench.statistics.tests.rule import Rule

QUESTIONS = ("pairs", "top", "baseline", "pair")
MOST_LOOKS = 50
_MOST_SHARE = 0.95


@dataclass(frozen=True)
class LookPlan:
    """How scores are looked at while trials come in.

    A round is one seed over all folds; a look may come after every round, and ``looks`` rounds are
    what a fixed design would run. Everything here is settled beforehand, and is the same in all
    looks of an experiment.

    Raises
    ------
    UsageError
        A field is outside its range, or two of them do not go together.
    """

    looks: int
    """Rounds of the whole design, and so the last look that is planned; 1 is a fixed design."""

    question: str = "pairs"
    """One of :data:`QUESTIONS`.

    ``pairs``: which of all pairs differ. ``top``: who belongs to the best; who was found worse
    than anybody is out, and pairs with it are not asked any more. ``baseline``: who differs from
    :attr:`baseline`. ``pair``: the one :attr:`pair`."""

    baseline: str | None = None
    """The architecture of the question ``baseline``, None otherwise."""

    pair: tuple[str, str] | None = None
    """The architectures of the question ``pair``, None otherwise."""

    architectures: tuple[str, ...] = ()
    """Who is compared: they make the family that alpha is shared by. Empty: those of the first
    look. Nobody can be added later."""

    spending: str = "obrien-fleming"
    """One of :data:`~kitsbench.look.SPENDING`.

    ``obrien-fleming`` asks for much at early looks and costs little at the last one; ``pocock``
    asks for about the same at every look, stops sooner, and costs more at the last one."""

    share: float = 0.5
    """Part of the cases in the variance of a difference that is left after all rounds, 0 to 1.

    The rest is of the training runs. It sets the clock by which alpha is spent: with 0.5 the first
    of five rounds brings a third of the information, with 0 a fifth. A pilot may tell it; the
    scores that are looked at may not."""

    planned: tuple[int, ...] = ()
    """Rounds after which a look is planned, rising, the last of them :attr:`looks`; empty: all."""

    alpha: float = 0.05
    """Error of all pairs over all looks together."""

    margin: float | None = None
    """Difference that would matter, in units of the metric; None: nothing is said of margins."""

    futility: float = FUTILITY
    """A pair is given up where its chance to be settled within :attr:`looks` rounds is less; pairs
    for which alone some architectures go on, where it is little for so many rounds
    (:func:`~kitsbench.statistics.looks.sharing.least_hope`).

    0 gives up nothing. It is non-binding: alpha holds whether one stops or goes on."""

    endpoint: str = ":".join(DEFAULT_ENDPOINT)
    """``region:metric``; its metric says which direction is better."""

    conservative: bool = False
    """As in :class:`~kitsbench.statistics.tests.rule.Rule`."""

    fold_count: int | None = None
    """Folds of a complete round, for looks that come before all folds are in; None: those of the
    table."""

    def __post_init__(self) -> None:
        check_number("looks", self.looks, MOST_LOOKS)
        for name in ("architectures", "planned", "pair"):
            given = getattr(self, name)
            if given is not None and (isinstance(given, str) or not isinstance(given, Sequence)):
                raise UsageError(f"{name} is {given!r}; it must be a tuple.")
            object.__setattr__(self, name, given if given is None else tuple(given))
        if not isinstance(self.endpoint, str):
            raise UsageError(f"The endpoint is {self.endpoint!r}; write it as region:metric.")
        if not isinstance(self.conservative, bool):
            raise UsageError(f"conservative is {self.conservative!r}; it must be True or False.")
        if self.question not in QUESTIONS:
            raise UsageError(
                f"There is no question '{self.question}'; choose {', '.join(QUESTIONS)}."
            )
        asked: dict[str, object] = {"baseline": self.baseline, "pair": self.pair}
        for name, given in asked.items():
            if (given is not None) != (self.question == name):
                raise UsageError(
                    f"The question is '{self.question}' and {name} is {given!r}; they go together "
                    f"where the question is '{name}', and only there."
                )
        named = [name for name in self.pair or () if isinstance(name, str)]
        if self.pair is not None and not len({*named}) == len(self.pair) == 2:
            raise UsageError(f"The pair is {self.pair!r}; it needs two different architectures.")
        if len(set(self.architectures)) != len(self.architectures):
            raise UsageError("The plan names an architecture twice; name each once.")
        if self.spending not in SPENDING:
            raise UsageError(
                f"There is no spending '{self.spending}'; choose {', '.join(SPENDING)}."
            )
        if not isinstance(self.futility, Real) or not 0 <= self.futility < 1:
            raise UsageError(f"futility is {self.futility!r}; it must lie in [0, 1), such as 0.05.")
        if not isinstance(self.share, Real) or not 0 <= self.share <= _MOST_SHARE:
            raise UsageError(
                f"The share of the cases is {self.share!r}; it must lie in [0, {_MOST_SHARE:g}], "
                "such as 0.5: runs make some of the variance."
            )
        if self.margin is not None and not (
            isinstance(self.margin, Real)
            and not isinstance(self.margin, bool)
            and 0 < self.margin < 1e9
        ):
            raise UsageError(f"The margin is {self.margin!r}; it must be positive, or None.")
        if self.fold_count is not None:
            check_number("fold_count", self.fold_count, None)
        for number in self.planned:
            check_number("planned", number, self.looks)
        object.__setattr__(self, "planned", tuple(int(number) for number in self.planned))
        if self.planned and (
            list(self.planned) != sorted(set(self.planned)) or self.planned[-1] != self.looks
        ):
            raise UsageError(
                f"The planned looks are {', '.join(map(str, self.planned))}; they must rise, and "
                f"the last one is that after all {self.looks} rounds."
            )
        self.rule()  # checks alpha

    def rule(self) -> Rule:
        """The rule of a comparison that this plan asks for."""
        return Rule(
            alpha=self.alpha,
            conservative=self.conservative,
            fold_count=self.fold_count,
            baseline=self.baseline,
        )

    @property
    def seal(self) -> str:
        """Digest of all that was decided before the first look; the family has one of its own."""
        # A file tells whole numbers and others apart, and says them back as one.
        plain = {
            name: float(value) if isinstance(value, Real) else value
            for name, value in asdict(self).items()
            if name != "architectures"
        }
        return digest([plain])

    def is_planned(self, number: int) -> bool:
        """Whether the look after this round is planned."""
        return number in (self.planned or range(1, self.looks + 1))

    def pairs(self, architectures: Sequence[str]) -> list[tuple[str, str]]:
        """The family: every pair that the question is about.

        Parameters
        ----------
        architectures : sequence of str
            Who is compared.

        Raises
        ------
        UsageError
            The baseline or the pair is not among them.
        """
        names = sorted(architectures)
        for name in (self.baseline,) if self.baseline is not None else self.pair or ():
            if name not in names:
                raise UsageError(
                    f"The plan asks about '{name}', which is not in the table; it has "
                    f"{', '.join(names)}."
                )
        if self.pair is not None:
            return [self.pair]
        if self.baseline is not None:
            return [(name, self.baseline) for name in names if name != self.baseline]
        return list(combinations(names, 2))


def check_number(name: str, value: int, most: int | None) -> None:
    """Refuse what is no whole number from 1 to the most.

    Raises
    ------
    UsageError
        It is not.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise UsageError(f"{name} is {value!r}; it must be a whole number of at least 1.")
    if most is not None and value > most:
        raise UsageError(f"{name} is {value}; it must be at most {most}.")
