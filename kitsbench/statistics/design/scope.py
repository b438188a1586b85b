"""Which designs allow a verdict on architectures, and what the others lack."""

from __future__ import annotations

import math

from kitsbench.statistics.tests.folds_and_cases import FOLDS_FOR_A_FOLD_TEST
from kitsbench.statistics.tests.joint import FEWEST_RUN_DF


def seeds_for_a_verdict(folds: int) -> int:
    """Seeds per architecture and fold with which a design allows a verdict.

    Parameters
    ----------
    folds : int
        1 for a single split.
    """
    if folds >= FOLDS_FOR_A_FOLD_TEST:
        return 1
    return 1 + math.ceil(FEWEST_RUN_DF / folds)


def allows_verdict(folds: int, seeds: int) -> bool:
    """Whether a complete design of folds and seeds allows a verdict on architectures."""
    return seeds >= seeds_for_a_verdict(folds)


def advice(folds: int, seeds: int, clusters: bool = False) -> str:
    """Say what to run for a verdict; empty where the design allows one.

    Parameters
    ----------
    folds, seeds : int
        Of a pair: folds that both have, and the fewest runs of a fold.
    clusters : bool
        Whether cases are given in clusters, of which there may be too few.
    """
    needed = seeds_for_a_verdict(folds)
    if seeds >= needed:
        if not clusters:
            return ""
        return "The clusters are too few for a verdict: score cases of more of them."
    where = "each fold" if folds > 1 else "the split"
    return f"For a verdict train {needed} seeds on {where} ({needed - seeds} more), or {_MORE}."


_MORE = f"run {FOLDS_FOR_A_FOLD_TEST} folds or more"


def of_a_split(told: str, folds: int) -> str:
    """Advice for a split of which one knows how many folds it has.

    Parameters
    ----------
    told : str
        With the words of :func:`advice`, which knows of the folds that were run alone.
    folds : int
        Of the split, run or not.
    """
    if folds < FOLDS_FOR_A_FOLD_TEST:
        other = f"split the cases into {FOLDS_FOR_A_FOLD_TEST} folds or more and run them"
    elif folds == FOLDS_FOR_A_FOLD_TEST:
        other = f"run all {folds} folds"
    else:
        other = f"run {FOLDS_FOR_A_FOLD_TEST} or more of the {folds} folds"
    return told.replace(_MORE, other)
