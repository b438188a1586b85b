"""What there is to know about each metric, in one place.

Evaluation, statistics, experiments, reports, help texts and the docs take every fact about a
metric from here: its title and unit, its range, which direction is better, the margin of
equivalence, and what it is worth where a mask is empty or a prediction is missing. Only the
formulas stand in :mod:`kitsbench.evaluation`. Needs the standard library alone.

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

from dataclasses import dataclass
from typing import Final, Literal

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
    better : {"higher", "lower", "nearer"}
        Which of two values is better; ``nearer``: the one nearer to 0.
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
        False for a name that kitsbench only reads, see :func:`find`.
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
    better: Literal["higher", "lower", "nearer"]
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
        """Whether the larger of two values is the better."""
        return self.better == "higher"

    @property
    def limits(self) -> str:
        """The range in words, such as ``between 0 and 1``; empty where both ends are open."""
        if self.low is not None and self.high is not None:
            return f"between {self.low:g} and {self.high:g}"
        return "" if self.low is None else f"at or above {self.low:g}"

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


def find(name: str) -> Metric:
    """Say what is known about a metric's name; every room asks here.

    Parameters
    ----------
    name : str
        Any name that a score table may hold.

    Returns
    -------
    Metric
        One of :data:`METRICS`. For another name, what it is taken for (``known`` is false): a
        distance or size whose smaller values are better if it ends in ``_mm`` or ``_ml``, a score
        whose larger values are better otherwise.
    """
    if name in METRICS:
        return METRICS[name]
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
    missed: Value = "diagonal" if unit else 0
    return Metric(
        name=name,
        title=name,
        meaning="not computed by kitsbench",
        plain="A metric of another tool.",
        source="the score table",
        unit=unit,
        low=None,
        high=None,
        best=0 if unit else 1,
        better="lower" if unit else "higher",
        empty_prediction=missed,
        false_positive=missed,
        both_empty=0 if unit else 1,
        failed=missed,
        failed_without=missed,
        known=False,
    )
