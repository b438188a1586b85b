"""Metrics by their names: those of kitsbench, those of other tools, and those that are declared."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Final, Literal

from kitsbench.errors import UsageError
from kitsbench.metrics.facts import Metric, Value
from kitsbench.metrics.table import METRICS

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
        remedy=_remedy(name) if better == "undeclared" else "",
    )


def _remedy(name: str) -> str:
    """What to say to who compares by a metric of which nobody has said what is better."""
    likely = did_you_mean(name)
    return (
        f"kitsbench does not know the metric '{name}'"
        f"{f' (did you mean {likely}?)' if likely else ''}, nor which of two values of it is "
        f"better; it knows {', '.join(METRICS)}.\nTake one of these, or declare it: "
        "--lower-is-better or --higher-is-better, and its --range LOW:HIGH, such as 0:1, or 0: "
        "where it has no upper end."
    )
