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

In: a metric's name. Out: its facts.
"""

from kitsbench.metrics.facts import (
    FAILED,
    TRUTH_EMPTY,
    TRUTH_PRESENT,
    UNDEFINED,
    Metric,
    Value,
    say,
)
from kitsbench.metrics.names import declare, did_you_mean, find
from kitsbench.metrics.table import METRICS

__all__ = [
    "FAILED",
    "METRICS",
    "TRUTH_EMPTY",
    "TRUTH_PRESENT",
    "UNDEFINED",
    "Metric",
    "Value",
    "declare",
    "did_you_mean",
    "find",
    "say",
]
