"""Scores to tests, ranks, verdicts and plans.

In: a table of scores. Out: verdicts with their intervals, ranks, and what a design could see.

The unit that inflates significance is the trained model, not the case: all cases of a fold are
scored by one network. The default test therefore treats cases and training runs as random
(:func:`two_way_test`); with one seed it falls back to folds, and with one seed and few folds it
says so and speaks of the trained models alone.
"""

from kitsbench.look import Look, PairLook
from kitsbench.statistics.compare.comparison import Comparison, compare
from kitsbench.statistics.compare.strata import read_cases
from kitsbench.statistics.compare.summary import plus_minus, summarise
from kitsbench.statistics.compare.verdicts import VERDICTS
from kitsbench.statistics.design.planning import plan
from kitsbench.statistics.design.power import (
    Components,
    estimate_components,
    paired_power,
    pilot_components,
    smallest_detectable_gap,
)
from kitsbench.statistics.looks.compared import compare_at_look
from kitsbench.statistics.looks.final import FinalPair, final_pairs
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.looks.record import LooksRecord
from kitsbench.statistics.looks.take import take_look
from kitsbench.statistics.ranks.ranking import kendall_tau, rank, rank_groups, rank_stability
from kitsbench.statistics.ranks.schemes import official_ranking
from kitsbench.statistics.table.blocks import ScoreBlocks, score_blocks
from kitsbench.statistics.table.endpoints import DEFAULT_ENDPOINT, Endpoint, parse_endpoint
from kitsbench.statistics.table.scoretable import read_scores, validate_scores
from kitsbench.statistics.tests.bootstrap import BootstrapInterval, bootstrap_interval
from kitsbench.statistics.tests.effects import Effects, effect_sizes, hodges_lehmann, rank_biserial
from kitsbench.statistics.tests.families import adjust, equivalence_p
from kitsbench.statistics.tests.folds_and_cases import (
    best_test,
    case_test,
    fold_test,
    nadeau_bengio,
)
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.twoway import TestResult, two_way_test

__all__ = [
    "DEFAULT_ENDPOINT",
    "VERDICTS",
    "BootstrapInterval",
    "Comparison",
    "Components",
    "Effects",
    "Endpoint",
    "FinalPair",
    "Look",
    "LookPlan",
    "LooksRecord",
    "PairLook",
    "Rule",
    "ScoreBlocks",
    "TestResult",
    "adjust",
    "best_test",
    "bootstrap_interval",
    "case_test",
    "compare",
    "compare_at_look",
    "effect_sizes",
    "equivalence_p",
    "estimate_components",
    "final_pairs",
    "fold_test",
    "hodges_lehmann",
    "kendall_tau",
    "nadeau_bengio",
    "official_ranking",
    "paired_power",
    "parse_endpoint",
    "pilot_components",
    "plan",
    "plus_minus",
    "rank",
    "rank_biserial",
    "rank_groups",
    "rank_stability",
    "read_cases",
    "read_scores",
    "score_blocks",
    "smallest_detectable_gap",
    "summarise",
    "take_look",
    "two_way_test",
    "validate_scores",
]
