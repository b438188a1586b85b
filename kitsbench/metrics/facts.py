"""What there is to know about a metric, and what a score is worth where something is missing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from kitsbench.errors import UsageError

Value = float | Literal["formula", "diagonal", "true volume"] | None
"""What a score is: a number; ``formula``, whatever the definition gives; ``diagonal``, that of the
scan in mm; ``true volume``, minus that of the region in ml; None, undefined."""

TRUTH_PRESENT = ("ok", "empty_prediction")
"""Statuses of a score that say that the truth holds the region."""
TRUTH_EMPTY = ("false_positive", "both_empty")
"""Statuses that say that it does not."""
FAILED = ("failed", "timeout")
"""Statuses of a case without a prediction; they say nothing about the truth."""
UNDEFINED = "undefined"
"""Status of a score that no prediction of a case can have: surfaces on a sheared grid."""

_WORDS: Final = {
    "formula": "formula",
    "diagonal": "image diagonal",
    "true volume": "minus the true volume",
    None: "undefined",
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The facts about one metric.

    Attributes
    ----------
    name : str
        As in score tables and on the command line.
    title : str
        As in running text, without the unit.
    meaning : str
        What is computed, in one line.
    plain : str
        What it says, for people who do not know it.
    source : str
        Whose definition it is.
    unit : str
        ``mm``, ``ml``, ``lesions`` or nothing.
    low, high : float or None
        Ends of the range; None where it is open.
    best : float
        What a perfect prediction scores where the truth holds the region.
    better : {"higher", "lower", "nearer", "undeclared"}
        Which of two values is better; ``nearer``: the one nearer to 0; ``undeclared``: nobody has
        said it, and who asks gets an error.
    margin, margin_with_kidney : float or None
        Difference below which two means count as equivalent, in regions of tumours, masses or
        cysts, and in regions that the kidney is part of. None: equivalence is not tested.
    learned_from : float or None
        Mean below which nobody would say that the region is found. None: the metric does not tell.
    mean_over : {"protocol", "present", "all"}
        Which cases a mean runs over: those that the protocol says, those whose truth holds the
        region (elsewhere the metric says nothing), or all whatever the protocol says.
    surfaces : bool
        Whether it needs the surfaces of both masks.
    lesions : bool
        Whether it counts lesions, so that only regions of lesions have it.
    empty_prediction, false_positive, both_empty : Value
        What it is where only the prediction, only the truth, or both lack the region.
    failed, failed_without : Value
        What a missing prediction costs where the truth holds the region, and where it does not.
    known : bool
        False for a metric of another tool, see :func:`~kitsbench.metrics.declare`.
    remedy : str
        What to say to who compares by it, where nobody has declared what is better.
    """

    name: str
    title: str
    meaning: str
    plain: str
    source: str
    unit: str = ""
    low: float | None
    high: float | None
    best: float
    better: Literal["higher", "lower", "nearer", "undeclared"]
    margin: float | None = None
    margin_with_kidney: float | None = None
    learned_from: float | None = None
    mean_over: Literal["protocol", "present", "all"] = "protocol"
    surfaces: bool = False
    lesions: bool = False
    empty_prediction: Value
    false_positive: Value
    both_empty: Value
    failed: Value
    failed_without: Value
    known: bool = True
    remedy: str = ""

    @property
    def higher_is_better(self) -> bool:
        """Whether the larger of two values is the better.

        Raises
        ------
        UsageError
            kitsbench does not know the metric, and nobody declared it.
        """
        self.check_direction()
        return self.better == "higher"

    @property
    def worst(self) -> float | None:
        """The end of the range that is worst; None where that is open."""
        return {"higher": self.low, "lower": self.high}.get(self.better)

    @property
    def silence_is_perfect(self) -> bool:
        """Whether predicting nothing counts as perfect overlap where there is nothing.

        Such a value stands in official means, but a mean of nothing else is no result.
        """
        return self.better == "higher" and self.both_empty == self.best

    @property
    def limits(self) -> str:
        """The range in words, such as ``between 0 and 1``; empty where both ends are open."""
        if self.low is not None and self.high is not None:
            return f"between {self.low:g} and {self.high:g}"
        if self.high is not None:
            return f"at or below {self.high:g}"
        return "" if self.low is None else f"at or above {self.low:g}"

    def check_direction(self) -> None:
        """Refuse to compare by a metric of which nobody has said what is better.

        Raises
        ------
        UsageError
            It is unknown and undeclared; the message says how to declare it.
        """
        if self.better == "undeclared":
            raise UsageError(self.remedy)

    def holds(self, value: float) -> bool:
        """Whether a value lies in the range."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def at(self, status: str, holds: bool = True) -> Value:
        """What the metric is for a case of some status.

        Parameters
        ----------
        status : str
            As in score tables: ``ok``, ``empty_prediction``, ``false_positive``, ``both_empty``,
            ``failed``, ``timeout`` or ``undefined``.
        holds : bool
            Whether the truth holds the region; matters for a missing prediction only, since the
            other statuses say it themselves.
        """
        if status in FAILED:
            return self.failed if holds else self.failed_without
        cases: dict[str, Value] = {
            "empty_prediction": self.empty_prediction,
            "false_positive": self.false_positive,
            "both_empty": self.both_empty,
            UNDEFINED: None,
        }
        return cases.get(status, "formula")

    def margin_in(self, region: str) -> float | None:
        """Default margin of equivalence in a region, by the region's name, such as left kidney."""
        words = set(re.findall("[a-z]+", region.casefold()))
        return self.margin_with_kidney if words & {"kidney", "kidneys"} else self.margin

    def order(self, value: float) -> float:
        """Key that sorts values, the best first."""
        self.check_direction()
        if self.better == "higher":
            return -value
        return abs(value) if self.better == "nearer" else value


def say(value: Value) -> str:
    """Say a value in words, such as ``0`` or ``image diagonal``."""
    return f"{value:g}" if isinstance(value, (int, float)) else _WORDS[value]
