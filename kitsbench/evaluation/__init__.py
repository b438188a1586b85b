"""Label maps -> scores: the official protocols, their metrics, and folders of predictions.

In: predicted and true label maps, or folders of them, and a protocol. Out: rows of case, region,
metric, value and status. Needs numpy, scipy and nibabel, never torch. Arrays are ``(z, y, x)``,
spacings ``(z, y, x)`` in mm.
"""

from kitsbench.evaluation.folder_scores import Evaluation, Problem, side_by_side
from kitsbench.evaluation.folders import evaluate, evaluate_protocols
from kitsbench.evaluation.protocols import (
    METRICS,
    PROTOCOLS,
    Protocol,
    Region,
    get_protocol,
    get_protocols,
)
from kitsbench.evaluation.scores import score_case, score_failed_case

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Evaluation",
    "Problem",
    "Protocol",
    "Region",
    "evaluate",
    "evaluate_protocols",
    "get_protocol",
    "get_protocols",
    "score_case",
    "score_failed_case",
    "side_by_side",
]
