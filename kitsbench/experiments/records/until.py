"""What an experiment says of a run that stops by itself: its question and its looks."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from kitsbench.files.documents import Part
from kitsbench.look import Spending


class UntilNote(Part):
    """What was declared before the first trial: the question, the looks and their price.

    Attributes
    ----------
    question : {"pairs", "top", "baseline", "claim"}
        What is asked of the architectures.
    named : str or None
        The baseline, as tables show it, or the claim's id.
    pairs : tuple of (str, str)
        Entrants that a claim compares; empty for other questions.
    looks : tuple of int
        Seeds of each fold that have ended at each look; the last is the fixed design.
    spending : {"obrien-fleming", "pocock"}
        How the error is spent over the looks.
    alpha : float
        Family-wise error over all pairs and all looks.
    futility : float
        Probability of a decision by the last look below which a pair is given up; 0 for never.
    share : float
        Part of the cases in the variance that is left after all seeds, which sets the clock by
        which the error is spent: see :class:`~kitsbench.statistics.looks.plan.LookPlan`.
    """

    question: Literal["pairs", "top", "baseline", "claim"]
    named: str | None
    pairs: tuple[tuple[str, str], ...]
    looks: tuple[int, ...] = Field(min_length=1)
    spending: Spending
    alpha: float = Field(gt=0, lt=1)
    futility: float = Field(ge=0, lt=1)
    share: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if list(self.looks) != sorted({*self.looks}) or self.looks[0] < 1:
            raise ValueError(f"the key looks is {self.looks}; every look has more seeds")
        if (self.named is None) != (self.question in ("pairs", "top")):
            raise ValueError(f"the key named is {self.named!r} with the question {self.question}")
        if bool(self.pairs) != (self.question == "claim"):
            raise ValueError("the key pairs is there with the question claim, and only with it")
        return self

    def told(self) -> str:
        """The question in words."""
        return {
            "pairs": "a verdict on every pair",
            "top": "which lead, and what is not among them",
            "baseline": f"every architecture against {self.named}",
            "claim": f"what {self.named} claims",
        }[self.question]
