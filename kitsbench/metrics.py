"""What there is to know about each metric, in one place.

Evaluation, statistics, experiments, reports, help texts and the docs take every fact about a
metric from here: its title and unit, its range, which direction is better, the margin of
equivalence, and what it is worth where a mask is empty or a prediction is missing. Only the
formulas stand in :mod:`kitsbench.evaluation`. Needs the standard library alone. About a metric of
another tool nothing is guessed: its direction and its range are declared, see :func:`declare`.

A prediction that failed (a crash, a time-out, a damaged file) costs the worst there is, whoever
scores it: Dice, surface Dice and precision 0, distances the diagonal of the scan. It has earned
nothing, so this holds where the truth lacks the region too. What nobody could have found stays
undefined there: recall and lesion sensitivity. A failed prediction has no false positives that
could be counted; a comparison, which must not reward a crash, takes the largest number it knows.

Means of precision, recall and lesion sensitivity run over the cases whose truth holds the region.
The precision of 0 of a failed case without the region is therefore in every table of scores, but
in no mean.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
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
        False for a metric of another tool, see :func:`declare` and :func:`find`.
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
        if self.better != "undeclared":
            return
        likely = did_you_mean(self.name)
        raise UsageError(
            f"kitsbench does not know the metric '{self.name}'"
            f"{f' (did you mean {likely}?)' if likely else ''}, nor which of two values of it is "
            f"better; it knows {', '.join(METRICS)}.\nTake one of these, or declare it: "
            "--lower-is-better or --higher-is-better, and its --range LOW:HIGH, such as 0:1, or 0: "
            "where it has no upper end."
        )

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
        """Default margin of equivalence in a region, by the region's name."""
        return self.margin_with_kidney if region.startswith("kidney") else self.margin

    def order(self, value: float) -> float:
        """Key that sorts values, the best first."""
        self.check_direction()
        if self.better == "higher":
            return -value
        return abs(value) if self.better == "nearer" else value


def say(value: Value) -> str:
    """Say a value in words, such as ``0`` or ``image diagonal``."""
    return f"{value:g}" if isinstance(value, (int, float)) else _WORDS[value]


def _distance(name: str, title: str, meaning: str, plain: str, source: str) -> Metric:
    """Describe a distance between surfaces: undefined without both, so the diagonal stands in."""
    return Metric(
        name=name,
        title=title,
        meaning=meaning,
        plain=plain,
        source=source,
        unit="mm",
        low=0,
        high=None,
        best=0,
        better="lower",
        surfaces=True,
        empty_prediction="diagonal",
        false_positive="diagonal",
        both_empty=0,
        failed="diagonal",
        failed_without="diagonal",
    )


# The margins are about a quarter of the gap between the winner of KiTS19 (.851) and the agreement
# of two annotators (.923).
_ALL = (
    Metric(
        name="dice",
        title="Dice",
        meaning="2 TP / (2 TP + FP + FN)",
        plain="Twice the overlap of prediction and truth, divided by the sum of their volumes: "
        "1 is perfect, 0 is no overlap.",
        source="the organisers of KiTS19, KiTS21 and KiTS23",
        low=0,
        high=1,
        best=1,
        better="higher",
        margin=0.02,
        margin_with_kidney=0.01,
        learned_from=0.02,
        empty_prediction=0,
        false_positive=0,
        both_empty=1,
        failed=0,
        failed_without=0,
    ),
    Metric(
        name="precision",
        title="precision",
        meaning="TP / (TP + FP)",
        plain="The share of the predicted volume that is right.",
        source="Metrics Reloaded (positive predictive value)",
        low=0,
        high=1,
        best=1,
        better="higher",
        mean_over="present",
        empty_prediction=0,
        false_positive=0,
        both_empty=None,
        failed=0,
        failed_without=0,
    ),
    Metric(
        name="recall",
        title="recall",
        meaning="TP / (TP + FN)",
        plain="The share of the true volume that was found.",
        source="Metrics Reloaded (sensitivity)",
        low=0,
        high=1,
        best=1,
        better="higher",
        learned_from=0.02,
        mean_over="present",
        empty_prediction=0,
        false_positive=None,
        both_empty=None,
        failed=0,
        failed_without=None,
    ),
    Metric(
        name="surface_dice",
        title="surface Dice",
        meaning="share of both surfaces' area within the region's tolerance of the other",
        plain="The share of both surfaces that lies within a tolerance of the other, about 1.1 mm "
        "in the rules of KiTS23.",
        source="DeepMind's surface-distance, as KiTS21 and KiTS23 use it",
        low=0,
        high=1,
        best=1,
        better="higher",
        margin=0.02,
        margin_with_kidney=0.01,
        surfaces=True,
        empty_prediction=0,
        false_positive=0,
        both_empty=1,
        failed=0,
        failed_without=0,
    ),
    _distance(
        "hd95_mm",
        "HD95",
        "larger of the two directed 95th percentiles of distances between voxel surfaces",
        "How far apart the two surfaces lie where they are furthest apart, the worst 5 % left out.",
        "MONAI and Metrics Reloaded",
    ),
    _distance(
        "hd95_pooled_mm",
        "pooled HD95",
        "95th percentile of both directed sets of such distances together (MedPy)",
        "As HD95, with the worst 5 % taken from both surfaces together.",
        "MedPy",
    ),
    _distance(
        "assd_mm",
        "ASSD",
        "mean of all distances from each voxel surface to the other",
        "How far apart the two surfaces lie on average.",
        "MedPy and MONAI (average symmetric surface distance)",
    ),
    Metric(
        name="volume_error_ml",
        title="volume error",
        meaning="predicted volume minus true volume",
        plain="How much too large or, below 0, too small the prediction is. Comparisons use its "
        "size without the sign, so that too large and too small do not cancel.",
        source="kitsbench",
        unit="ml",
        low=None,
        high=None,
        best=0,
        better="nearer",
        empty_prediction="true volume",
        false_positive="formula",
        both_empty=0,
        failed="true volume",
        failed_without=0,
    ),
    Metric(
        name="lesion_sensitivity",
        title="lesion sensitivity",
        meaning="share of true lesions that a predicted one touches",
        plain="The share of the lesions that were found, however roughly.",
        source="kitsbench; the challenges have no rule",
        low=0,
        high=1,
        best=1,
        better="higher",
        mean_over="present",
        lesions=True,
        empty_prediction=0,
        false_positive=None,
        both_empty=None,
        failed=0,
        failed_without=None,
    ),
    Metric(
        name="lesion_false_positives",
        title="false positives",
        meaning="predicted lesions that touch no true one",
        plain="How many lesions were made up in a scan.",
        source="kitsbench; the challenges have no rule",
        unit="lesions",
        low=0,
        high=None,
        best=0,
        better="lower",
        mean_over="all",  # a false positive is one wherever it is
        lesions=True,
        empty_prediction=0,
        false_positive="formula",
        both_empty=0,
        failed=None,
        failed_without=None,
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric that kitsbench computes, by its name."""

_UNITS = {"_mm": "mm", "_ml": "ml"}


def find(name: str, declared: Mapping[str, Metric] | None = None) -> Metric:
    """Say what is known about a metric's name; every room asks here.

    Parameters
    ----------
    name : str
        Any name that a score table may hold.
    declared : mapping of str to Metric, optional
        What was declared about metrics of other tools, by :func:`declare`.

    Returns
    -------
    Metric
        One of :data:`METRICS` or of those declared. For another name, one that is ``undeclared``:
        its values can be shown, but who asks which is better gets an error. A name tells nothing:
        ``wall_s`` may be a time or a score.
    """
    if name in METRICS:
        return METRICS[name]
    if declared is not None and name in declared:
        return declared[name]
    return _of_another_tool(name, "undeclared", None, None)


def declare(
    name: str,
    better: Literal["higher", "lower"],
    low: float | None = None,
    high: float | None = None,
) -> Metric:
    """Declare a metric that kitsbench does not compute.

    A failed prediction is worth the worst end of the range, where that is closed; where it is
    open, the score table must give what a failure costs. There is no default margin.

    Parameters
    ----------
    name : str
        As in the score table.
    better : {"higher", "lower"}
        Which of two values is better.
    low, high : float or None
        Ends of the range, both part of it; None where it is open.

    Raises
    ------
    UsageError
        The range is empty or no range, or kitsbench knows the metric and says otherwise.

    Examples
    --------
    >>> declare("ece", "lower", 0, 1).worst
    1.0
    """
    if better not in ("higher", "lower"):
        raise UsageError(
            f"The metric '{name}' was declared as {better!r}; say 'higher' or 'lower', whichever "
            "is better."
        )
    ends = [None if end is None else float(end) for end in (low, high)]
    if any(end is not None and not math.isfinite(end) for end in ends) or (
        ends[0] is not None and ends[1] is not None and ends[0] >= ends[1]
    ):
        raise UsageError(
            f"The metric '{name}' was declared with the range {_range(low, high)}; its ends must "
            "be numbers, the lower one first, such as 0:1, or 0: where there is no upper end."
        )
    facts = METRICS.get(name)
    if facts is None:
        return _of_another_tool(name, better, *ends)
    # To repeat what is known does no harm; to contradict it would turn a ranking round.
    if facts.better != better or (ends != [None, None] and ends != [facts.low, facts.high]):
        word = {"nearer": "nearer to 0"}.get(facts.better, facts.better)
        lies = f", and it lies {facts.limits}" if facts.limits else ""
        raise UsageError(
            f"{name} was declared as {better} is better, range {_range(low, high)}, but kitsbench "
            f"knows it: {word} is better{lies}. Leave the declaration out, or give another "
            "metric another name."
        )
    return facts


def did_you_mean(name: str) -> str | None:
    """Name the known metric that a name may stand for: ``hd95_mm`` for ``HD95``."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    # A unit or its lack hides the likeness that matters.
    stems = {known.removesuffix("_mm").removesuffix("_ml"): known for known in METRICS}
    asked = plain.removesuffix("_mm").removesuffix("_ml")
    word = _OTHER_NAMES.get(asked, asked)
    close = difflib.get_close_matches(word, stems, n=1, cutoff=0.75)
    return stems[close[0]] if close else None


_OTHER_NAMES: Final = {
    "asd": "assd",
    "average_surface_distance": "assd",
    "dsc": "dice",
    "f1": "dice",
    "false_positives": "lesion_false_positives",
    "hausdorff": "hd95",
    "hausdorff95": "hd95",
    "hausdorff_95": "hd95",
    "hd_95": "hd95",
    "nsd": "surface_dice",
    "ppv": "precision",
    "sensitivity": "recall",
    "tpr": "recall",
}


def _range(low: float | None, high: float | None) -> str:
    return ":".join("" if end is None else f"{end:g}" for end in (low, high))


def _of_another_tool(
    name: str,
    better: Literal["higher", "lower", "undeclared"],
    low: float | None,
    high: float | None,
) -> Metric:
    """Describe a metric whose values can only be taken as they are given."""
    best, worst = {"higher": (high, low), "lower": (low, high)}.get(better, (None, None))
    missed: Value = "formula" if worst is None else worst
    return Metric(
        name=name,
        title=name,
        meaning="not computed by kitsbench",
        plain="A metric of another tool.",
        source="the score table",
        unit=next((unit for end, unit in _UNITS.items() if name.endswith(end)), ""),
        low=low,
        high=high,
        best=math.nan if best is None else best,
        better=better,
        empty_prediction="formula",
        false_positive="formula",
        both_empty="formula",
        failed=missed,
        failed_without=missed,
        known=False,
    )
