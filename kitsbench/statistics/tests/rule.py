"""The rule of a comparison: what is settled before the scores are seen."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from kitsbench.errors import UsageError

TESTS = ("auto", "wilcoxon", "permutation")
"""Tests of a pair that can be asked for; ``auto`` is the one with the widest scope."""

FAMILY_CORRECTIONS = ("holm", "hommel", "shaffer")
"""Those of :data:`~kitsbench.statistics.tests.families.CORRECTIONS` that a verdict may rest on."""


@dataclass(frozen=True)
class Rule:
    """How the pairs of an endpoint are tested and judged.

    One object goes through a comparison, so that its pairs, its secondary endpoints, its strata and
    its sensitivity analysis cannot be made by different rules.

    Raises
    ------
    UsageError
        A field is outside its range, or two of them do not go together.
    """

    alpha: float = 0.05
    """Level of the tests, and 1 minus the level of the intervals.

    One number for both, so that an interval and its p-value say the same."""

    conservative: bool = False
    """Whether the two-way test leaves the residual variance in.

    The case and the run component both contain it. Taking it out once makes the variance unbiased;
    leaving it in never gives a smaller standard error, for readers who would rather miss a
    difference."""

    fold_count: int | None = None
    """Folds of the whole cross-validation; 1 where the folds are none; None: those of the table.

    The test of Nadeau and Bengio needs the size of the training sets, which a table that holds a
    part of the folds does not tell."""

    test: str = "auto"
    """One of :data:`TESTS`.

    ``auto`` speaks of architectures where the data allow it. The others test cases and speak of
    the trained models alone (scope L0); papers use them."""

    correction: str = "holm"
    """One of :data:`FAMILY_CORRECTIONS`, over all pairs; equivalence has a family of its own.

    Holm's holds however pairs depend on each other. The others are a little less strict: Hommel's
    asks for positive dependence, Shaffer's knows which pairs can be equal together and so needs
    all of them."""

    baseline: str | None = None
    """Architecture that all others are compared with; None: all pairs.

    A smaller family costs less correction, and leaves no rank groups."""

    def __post_init__(self) -> None:
        if self.test not in TESTS:
            raise UsageError(f"There is no test '{self.test}'; choose {', '.join(TESTS)}.")
        # NaN lies between nothing, so it is refused as well.
        if not isinstance(self.alpha, Real) or not 0 < self.alpha < 1:
            raise UsageError(
                f"alpha is {self.alpha!r}; it must lie between 0 and 1, for example 0.05."
            )
        object.__setattr__(self, "alpha", float(self.alpha))  # JSON knows no numbers of numpy
        if self.correction not in FAMILY_CORRECTIONS:
            raise UsageError(
                f"There is no correction '{self.correction}' for the primary endpoint; choose "
                f"{', '.join(FAMILY_CORRECTIONS)}."
            )
        if self.correction == "shaffer" and self.baseline is not None:
            # Three pairs with a baseline look like all pairs of three architectures. Of those two
            # equalities imply the third; of pairs with a baseline none implies another.
            raise UsageError(
                f"Shaffer's correction was asked for with the baseline '{self.baseline}'; it needs "
                "all pairs of a set of architectures, so leave the baseline out or choose holm."
            )
        if self.fold_count is None:
            return
        if not isinstance(self.fold_count, Integral):
            raise UsageError(f"fold_count is {self.fold_count!r}; it must be a whole number.")
        if self.fold_count < 1:
            raise UsageError(f"fold_count is {self.fold_count}; it must be at least 1.")

    def folds(self, at_hand: int) -> int:
        """Folds of the whole cross-validation.

        Parameters
        ----------
        at_hand : int
            Folds of the scores, which count where :attr:`fold_count` does not say.
        """
        return at_hand if self.fold_count is None else self.fold_count


DEFAULT_RULE = Rule()
"""What holds where nothing else was asked for."""
