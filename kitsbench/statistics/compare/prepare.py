"""From a table of scores to what is analysed: who takes part, and in which clusters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from kitsbench.errors import UsageError
from kitsbench.metrics import Metric
from kitsbench.statistics.table.blocks import ScoreBlocks, choose_table, score_blocks
from kitsbench.statistics.table.clusters import Clusters, clusters_of, column_of_scores
from kitsbench.statistics.table.elsewhere import standings_of, without_apart
from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.table.runs import check_copies
from kitsbench.statistics.table.scoretable import validate_scores
from kitsbench.statistics.tests.rule import Rule


@dataclass(frozen=True)
class Prepared:
    """Scores of one endpoint, ready to be compared.

    Attributes
    ----------
    table : DataFrame
        Validated rows of one dataset and protocol, without who is set apart.
    blocks : ScoreBlocks
        Scores of the endpoint.
    rule : Rule
        With the number of folds settled.
    outside : dict
        Who was trained elsewhere, and how it takes part.
    apart : list of str
        Who is left out, in sentences.
    twins : list of str
        What is said of copies.
    grouped : Clusters or None
        Clusters of cases, where there are any.
    clusters : mapping or None
        The cluster of every case.
    """

    table: pd.DataFrame
    blocks: ScoreBlocks
    rule: Rule
    outside: dict[str, str]
    apart: list[str]
    twins: list[str]
    grouped: Clusters | None
    clusters: Mapping[str, str] | None


def prepare(
    scores: pd.DataFrame,
    target: Endpoint,
    rule: Rule,
    protocol: str | None = None,
    dataset: str | None = None,
    declared: Mapping[str, Metric] | None = None,
    cases: pd.DataFrame | None = None,
    cluster: str | None = None,
    kept: Collection[str] = (),
) -> Prepared:
    """Make of a table what a comparison analyses.

    Parameters
    ----------
    scores, rule, protocol, dataset, declared, cases, cluster
        As for :func:`~kitsbench.statistics.compare.comparison.compare`.
    target : Endpoint
        The primary endpoint.
    kept : collection of str
        Who is not left out where no fold is common to all, besides the baseline.

    Raises
    ------
    UsageError, DataError
        As there.
    """
    column = column_of_scores(cluster, cases)
    checked = validate_scores(scores, declared=declared, cluster=column)
    fair, apart = without_apart(checked)
    if apart and rule.baseline in {*checked["architecture"]} - {*fair["architecture"]}:
        raise UsageError(f"{rule.baseline} cannot be the baseline: {apart[0]}")
    outside = standings_of(fair)  # with one run in a fold: it would predict the same once more
    table = choose_table(fair, target, protocol, dataset)
    grouped = clusters_of(table, cases, cluster)
    clusters = None if grouped is None else grouped.of_cases(str(table["dataset"].iloc[0]))
    twins = check_copies(table, target)
    kept = {*kept, *([] if rule.baseline is None else [rule.baseline])}
    blocks = score_blocks(table, target, clusters=clusters, once=outside, kept=kept)
    # As if somebody had taken them out of the table: other endpoints and rankings lack them too.
    table = table[~table["architecture"].isin(blocks.left_out)].reset_index(drop=True)
    # Settled here for all that follows: an endpoint or a stratum may hold fewer folds.
    rule = replace(rule, fold_count=rule.folds(int(table["fold"].nunique())))
    return Prepared(table, blocks, rule, outside, apart, twins, grouped, clusters)
