"""Folds.

In: case ids and a rule or a file. Out: a split, each case in the test set of one fold.
"""

from kitsbench.data.splits.rules import choose_rule
from kitsbench.data.splits.split import Split, make_folds

__all__ = ["Split", "choose_rule", "make_folds"]
