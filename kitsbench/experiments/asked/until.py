"""``run --until decided``: which question is asked, of how many seeds at most, and at what price.

All of it is said before the first trial, since whoever chooses a question or a number of looks
after the scores have been seen has another error than the one that was promised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief
from kitsbench.look import FUTILITY, Spending

PLAIN = ("pairs", "top")
NAMED = ("baseline", "claim")
MAX_SEEDS = 5
"""Seeds at most, where nobody says it."""

Step = tuple[str, str, str]


@dataclass(frozen=True)
class Until:
    """When a run stops by itself.

    Parameters
    ----------
    max_seeds : int
        Training runs of each architecture and fold, at most: the fixed design beside it.
    question : str
        ``pairs``, ``top``, ``baseline:NAME`` or ``claim:ID``.
    spending : {"obrien-fleming", "pocock"}
        How the error is spent over the looks.
    futility : float
        Probability below which a pair is given up; 0 for never.
    steps : tuple of (str, str, str)
        Of a claim: architectures and ``region:metric`` that its steps compare.
    """

    max_seeds: int = MAX_SEEDS
    question: str = "pairs"
    spending: Spending = "obrien-fleming"
    futility: float = FUTILITY
    steps: tuple[Step, ...] = ()

    @property
    def kind(self) -> str:
        """``pairs``, ``top``, ``baseline`` or ``claim``."""
        return self.question.partition(":")[0]

    @property
    def named(self) -> str:
        """The baseline or the claim; empty without one."""
        return self.question.partition(":")[2]


def parse_question(text: Any) -> str:
    """Read what is asked of the architectures.

    Raises
    ------
    UsageError
        It is none of ``pairs``, ``top``, ``baseline:NAME`` and ``claim:ID``.
    """
    said = str(text).strip()
    kind, colon, name = said.partition(":")
    if (kind in PLAIN and not colon) or (kind in NAMED and name.strip()):
        return f"{kind}:{name.strip()}" if colon else kind
    raise UsageError(
        f"The question '{brief(text)}' is none of pairs, top, baseline:NAME and claim:ID. pairs "
        "asks for a verdict on every pair, top for those that no other is better than, baseline "
        "how each compares with one, and claim whether a claim of `kitsbench claims` holds."
    )


def read_until(
    until: str | None,
    max_seeds: int | None,
    question: str | None,
    spending: Spending | None,
    futility: float | None,
    steps: tuple[Step, ...] = (),
) -> Until | None:
    """Put together what was said of ``--until``; None where a run is of a fixed design.

    Raises
    ------
    UsageError
        Something was said that only goes with ``--until decided``.
    """
    said: dict[str, Any] = {
        "max_seeds": max_seeds, "question": question, "spending": spending, "futility": futility,
    }  # fmt: skip
    said = {key: value for key, value in said.items() if value is not None}
    if until is None:
        if said:
            option = next(iter(said)).replace("_", "-")
            raise UsageError(
                f"--{option} was given without --until decided, and says nothing of a fixed "
                "design. Add --until decided, or leave it out."
            )
        return None
    return Until(**said, steps=steps)


def check_fixed(until: Until | None, seeds: int | None, max_hours: float | None) -> None:
    """See that a number of seeds is fixed, or that a run stops by itself, and not both.

    Raises
    ------
    UsageError
        Both were said, or hours without anything that stops before its end.
    """
    if until is not None and seeds is not None:
        raise UsageError(
            f"--seeds {seeds} is a fixed design, and --until decided stops by itself: say "
            "--max-seeds for the most that it may take, or leave --until out."
        )
    if max_hours is None:
        return
    if until is None:
        raise UsageError(
            "--max-hours was given without --until decided. A fixed design that is stopped in the "
            "middle has no verdict of its own; add --until decided, or take a smaller design."
        )
    if not (math.isfinite(max_hours) and max_hours > 0):
        raise UsageError(f"--max-hours is {max_hours:g}; it must be above 0.")
