"""Label maps -> scores: the official protocols, their metrics, and folders of predictions.

Needs numpy, scipy and nibabel, never torch. Arrays are ``(z, y, x)``, spacings ``(z, y, x)`` in
mm.
"""

from kitsbench.evaluation.evaluation import Evaluation, Problem
from kitsbench.evaluation.folders import evaluate
from kitsbench.evaluation.protocols import METRICS, PROTOCOLS, Protocol, Region, get_protocol
from kitsbench.evaluation.scores import score_case, score_failed_case

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Evaluation",
    "Problem",
    "Protocol",
    "Region",
    "evaluate",
    "get_protocol",
    "score_case",
    "score_failed_case",
]
