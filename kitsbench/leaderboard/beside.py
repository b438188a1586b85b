"""Verdicts on what was trained elsewhere beside the entries of a board."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from kitsbench.leaderboard.peers import Filed
from kitsbench.statistics import Rule, compare
from kitsbench.statistics.table.elsewhere import APART, ELSEWHERE, word_of


def beside(filed: Sequence[Filed]) -> list[dict[str, Any]]:
    """Compare who was trained elsewhere with the first experiment of a board.

    The statistics are those of ``kitsbench compare`` on the working directory in which all of them
    are, and so are the verdicts: one family of all pairs. Who may know the scans of the test, and
    was not allowed to, is in none.

    Parameters
    ----------
    filed : sequence of Filed
        All entries of a board that has no problem, with their tables.

    Returns
    -------
    list of dict
        Pairs of :class:`~kitsbench.statistics.Comparison` with at least one of them.
    """
    trained = [one for one in filed if one.entry.elsewhere is None]
    own = [one for one in trained if one.entry.experiment == trained[0].entry.experiment]
    words, tables = {one.entry.name: "" for one in own}, [one.scores for one in own]
    for one in filed:
        if (known := one.entry.elsewhere) is not None:
            words[one.entry.name] = word_of(known.leak is not None, known.allowed)
            tables.append(one.scores)
    compared = [name for name, word in words.items() if word != APART]
    outside = {name for name in compared if words[name]}
    if not outside or len(compared) < 2:
        return []
    entry = filed[0].entry if not own else own[0].entry
    whole = pd.concat([table for table in tables if table is not None], ignore_index=True)
    whole = whole[whole["architecture"].isin(compared)].reset_index(drop=True)
    region, metric = entry.endpoint.split(":")
    comparison = compare(
        whole[whole["metric"] == metric].assign(**{ELSEWHERE: whole["architecture"].map(words)}),
        endpoint=(region, metric),
        rule=Rule(fold_count=entry.folds.count),
        protocol=entry.protocol,
        secondary=False,
    )
    return [pair for pair in comparison.pairs if outside & {pair["a"], pair["b"]}]
