"""Which architectures have learned the endpoint at all."""

from __future__ import annotations

import numpy as np

from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.tests.folds_and_cases import best_test
from kitsbench.statistics.tests.rule import Rule


def not_learned(blocks: ScoreBlocks, rule: Rule) -> dict[str, float]:
    """Find the architectures that score no better than a prediction without the region.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    rule : Rule
        Its level.

    Returns
    -------
    dict
        The mean of each such architecture, on all folds that it has: all its predictions are empty
        or failed; or its mean exceeds that of empty predictions by less than anybody would call
        finding the region (:attr:`~kitsbench.metrics.Metric.learned_from`); or it found the region
        in less than half of the cases, and the interval of the excess holds 0.
    """
    return {name: mean for name in blocks.architectures
            if (mean := _mean_of_the_lost(blocks, name, rule)) is not None}  # fmt: skip


def _mean_of_the_lost(blocks: ScoreBlocks, name: str, rule: Rule) -> float | None:
    folds = blocks.shared(name)
    scores = blocks.of(name, folds)
    mean = float(np.concatenate([block.mean(axis=1) for block in scores]).mean())
    if all(blocks.empty[name][fold].all() for fold in folds):
        return mean
    facts = blocks.endpoint.facts
    if facts.learned_from is None:
        return None
    # Of scans without the region an empty prediction is the best there is; so what counts is what
    # a network adds to it.
    excess = [block - blocks.background[fold][:, None]
              for fold, block in zip(folds, scores, strict=True)]  # fmt: skip
    result = best_test(excess, None, rule.alpha)
    by_case = np.concatenate([block.mean(axis=1) for block in excess])
    # Two cases of .5 and .6 have an interval that holds 0, and yet the region was found.
    often = np.count_nonzero(by_case >= facts.learned_from) * 2 >= len(by_case)
    found = result.estimate >= facts.learned_from and (often or result.ci_low > 0)
    return None if found else mean
