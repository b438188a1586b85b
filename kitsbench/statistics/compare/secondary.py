"""Secondary endpoints: everything else in the table, labelled exploratory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.metrics import Metric
from kitsbench.statistics.compare.pairs import PairTest, analyse_pairs, number, pair_names
from kitsbench.statistics.compare.verdicts import difference, unit_after
from kitsbench.statistics.table.blocks import score_blocks
from kitsbench.statistics.table.endpoints import Endpoint, undeclared_metrics
from kitsbench.statistics.table.policy import truth_holds_region
from kitsbench.statistics.tests.families import adjust
from kitsbench.statistics.tests.rule import Rule

LABEL = "secondary/exploratory"


def secondary_endpoints(
    table: pd.DataFrame,
    primary: Endpoint,
    rule: Rule,
    declared: Mapping[str, Metric] | None = None,
    clusters: Mapping[str, str] | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Test every other region and metric; one Benjamini-Hochberg family over all of them.

    Parameters
    ----------
    table : DataFrame
        Validated rows of one dataset and protocol.
    primary : Endpoint
        Left out.
    rule : Rule
        How pairs are tested; its correction is that of the primary endpoint, and not used.
    declared : mapping of str to Metric, optional
        What is declared about metrics that kitsbench does not compute; others are left out.
    clusters : mapping of str to str, optional
        The cluster of every case.

    Returns
    -------
    rows : list of dict
        One per endpoint and pair. They carry a sentence, but no verdict: nothing was declared
        about them before the results.
    notes : list of str
        Endpoints that could not be analysed, and why.
    """
    tests: list[tuple[Endpoint, PairTest]] = []
    kept = [] if rule.baseline is None else [rule.baseline]
    unknown, notes = undeclared_metrics(table["metric"].unique(), declared)
    for region, rows in table.groupby("region", sort=True):
        positive = truth_holds_region(rows)
        for metric in sorted(rows["metric"].unique()):
            endpoint = Endpoint(str(region), str(metric), (declared or {}).get(str(metric)))
            if endpoint == primary or metric in unknown:
                continue
            try:
                blocks = score_blocks(rows, endpoint, positive, clusters, kept=kept)
            except DataError as error:
                notes.append(f"Secondary endpoint left out. {error}")
                continue
            notes += [note for note in blocks.notes if endpoint.name in note]
            # The first of its notes says who.
            notes += [f"{endpoint.name}: {blocks.notes[0]}"] if blocks.left_out else []
            # The baseline may lack an endpoint that others have.
            known = rule.baseline is None or rule.baseline in blocks.architectures
            names = pair_names(blocks.architectures, rule.baseline) if known else []
            tests += [(endpoint, test) for test in analyse_pairs(blocks, names, rule)]
    # As of the primary endpoint, a design that allows no verdict on architectures gives no p-value:
    # one over cases alone would be read as one.
    judged = [test.result.p_value if test.settles else math.nan for _, test in tests]
    adjusted = adjust(judged, "fdr_bh")
    return [
        _row(endpoint, test, float(p)) for (endpoint, test), p in zip(tests, adjusted, strict=True)
    ], notes


def _row(endpoint: Endpoint, test: PairTest, p_adjusted: float) -> dict[str, Any]:
    result = test.result
    text = difference(test.a, test.b, endpoint, result)
    text += f"{unit_after(endpoint)} in {endpoint.region} {endpoint.metric}"
    if math.isfinite(p_adjusted):
        text += f"; p = {p_adjusted:.3g} after Benjamini-Hochberg"
    return {
        "label": LABEL,
        **test.numbers(endpoint),
        "p_value": number(result.p_value),
        "p_adjusted": number(p_adjusted),
        "correction": "fdr_bh",
        "scope": result.scope,
        "test": result.test,
        "sentence": f"Exploratory: {text} (scope {result.scope}).",
    }
