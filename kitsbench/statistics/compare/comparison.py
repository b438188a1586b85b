"""Compare architectures on a score table: one declared endpoint, all pairs, one verdict each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kitsbench.errors import UsageError
from kitsbench.look import PairLook
from kitsbench.metrics import Metric
from kitsbench.statistics.compare.by_looks import both_ways
from kitsbench.statistics.compare.learned import not_learned
from kitsbench.statistics.compare.outcomes import judge, ranking
from kitsbench.statistics.compare.pairs import analyse_pairs, pair_names
from kitsbench.statistics.compare.prepare import prepare
from kitsbench.statistics.compare.remarks import advice_on, warnings_of
from kitsbench.statistics.compare.secondary import secondary_endpoints
from kitsbench.statistics.compare.sensitivity import listwise, without_collapsed
from kitsbench.statistics.compare.strata import Stratum, parse_stratum, stratified
from kitsbench.statistics.design.power import estimate_components
from kitsbench.statistics.ranks.demsar import demsar as compare_mean_ranks
from kitsbench.statistics.ranks.ranking import REPLICATES, rank_stability
from kitsbench.statistics.ranks.schemes import all_schemes, official_ranking, stability_row
from kitsbench.statistics.table.elsewhere import mark
from kitsbench.statistics.table.endpoints import (
    DEFAULT_ENDPOINT,
    Endpoint,
    margin_of,
    parse_endpoint,
)
from kitsbench.statistics.table.runs import collapsed_runs
from kitsbench.statistics.tests.rule import DEFAULT_RULE, Rule


@dataclass(frozen=True)
class Comparison:
    """Outcome of :func:`compare`: plain data, ready for JSON and tables.

    Attributes
    ----------
    endpoint, protocol, dataset : str
        What was compared; the last two are empty where the table does not name them.
    scope, test : str or None
        The narrowest scope among the pairs (``L0`` or ``L1``) and the tests; None without a pair.
    correction, alpha, margin : str, float, float or None
        How the pairs were judged.
    pairs, ranking, secondary : list of dict
        Rows; ``secondary`` are the other endpoints, exploratory.
    smallest_detectable_gap : float or None
        Median over the pairs: what this design detects in one comparison at 80 % power.
    components : dict or None
        Estimated standard deviations (``case_sd``, ``noise_sd``, ``seed_sd``).
    sensitivity : dict or None
        The comparison without the cases that failed for any architecture; None without failures.
    collapsed : dict or None
        Runs that score a fraction of what their siblings do, and the verdicts without them; None
        where there are none.
    not_learned : list of str
        Architectures that score no better than an empty prediction.
    advice : str or None
        What to run for a verdict on the pairs that the design leaves without one; None where it
        leaves none.
    warnings : list of str
        What a reader must know.
    left_out : list of str
        Who has scores and is left out, since no fold is shared with the others.
    rankings : dict
        The ranking by other schemes, without one fold, and in the bootstrap.
    official : dict or None
        The ranking by the rule of the protocol's challenge, where the table has what it needs.
    demsar : dict or None
        Comparison of mean ranks, if asked for.
    strata : list of dict
        Differences within declared strata, exploratory.
    look : dict or None
        The look that verdicts rest on, where scores are looked at while trials come in; see
        :func:`~kitsbench.statistics.compare_at_look`.
    """

    endpoint: str
    protocol: str
    dataset: str
    scope: str | None
    test: str | None
    correction: str
    alpha: float
    margin: float | None
    pairs: list[dict[str, Any]]
    ranking: list[dict[str, Any]]
    smallest_detectable_gap: float | None
    components: dict[str, float | None] | None
    sensitivity: dict[str, Any] | None
    collapsed: dict[str, Any] | None = None
    not_learned: list[str] = field(default_factory=list)
    advice: str | None = None
    secondary: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    rankings: dict[str, Any] = field(default_factory=dict)
    official: dict[str, Any] | None = None
    demsar: dict[str, Any] | None = None
    strata: list[dict[str, Any]] = field(default_factory=list)
    look: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; what is not defined is None, never NaN."""
        return {
            "endpoint": self.endpoint,
            "scope": self.scope,
            "test": self.test,
            "correction": self.correction,
            "pairs": self.pairs,
            "ranking": self.ranking,
            "smallest_detectable_gap": self.smallest_detectable_gap,
            "protocol": self.protocol,
            "dataset": self.dataset,
            "alpha": self.alpha,
            "margin": self.margin,
            "components": self.components,
            "sensitivity": self.sensitivity,
            "collapsed": self.collapsed,
            "not_learned": self.not_learned,
            "advice": self.advice,
            "secondary": self.secondary,
            "warnings": self.warnings,
            "left_out": self.left_out,
            "rankings": self.rankings,
            "official": self.official,
            "demsar": self.demsar,
            "strata": self.strata,
            **({} if self.look is None else {"look": self.look}),
        }


def compare(
    scores: pd.DataFrame,
    endpoint: str | tuple[str, str] | Endpoint = DEFAULT_ENDPOINT,
    *,
    rule: Rule = DEFAULT_RULE,
    margins: float | Mapping[str, float | None] | None = None,
    protocol: str | None = None,
    dataset: str | None = None,
    bootstrap: int = REPLICATES,
    random_seed: int = 0,
    secondary: bool = True,
    demsar: bool = False,
    cases: pd.DataFrame | None = None,
    strata: Sequence[str | Stratum] = (),
    declared: Mapping[str, Metric] | None = None,
    cluster: str | None = None,
    judged: Collection[PairLook] | None = None,
) -> Comparison:
    """Compare all architectures of a score table on one declared endpoint.

    Parameters
    ----------
    scores : DataFrame
        Long score table, see :func:`~kitsbench.statistics.validate_scores`. Who it sets apart is
        left out, and pairs with who else was trained elsewhere say so.
    endpoint : str, tuple or Endpoint
        The primary endpoint, ``region:metric``.
    rule : Rule
        How pairs are tested, adjusted and judged.
    margins : float or mapping, optional
        Margin of equivalence, or margins by ``region:metric``; by default what
        :mod:`kitsbench.metrics` says.
    protocol, dataset : str, optional
        Which to use; needed only where the table does not decide.
    bootstrap, random_seed : int
        Replicates and seed of the rank intervals.
    secondary : bool
        Whether to test the other endpoints of the table too (exploratory).
    demsar : bool
        Compare mean ranks too, by Friedman and Nemenyi (scope L0).
    cases : DataFrame, optional
        Properties of the cases, see :func:`~kitsbench.statistics.compare.strata.read_cases`.
    strata : sequence of str or Stratum
        Columns of ``cases``, with cuts: ``tumor_volume_ml:10,100``. Declare them before
        the results are seen.
    declared : mapping of str to Metric, optional
        What is declared about metrics that kitsbench does not compute, see
        :func:`kitsbench.metrics.declare`.
    cluster : str, optional
        Column of the score table, or of ``cases``, that names the cluster of every case where
        cases depend on each other: their hospital or scanner. Cases of one cluster are drawn and
        tested together. By default a column ``patient`` of the score table, if it has one.
    judged : collection of PairLook, optional
        What the last look says of each pair, see
        :func:`~kitsbench.statistics.compare_at_look`: verdicts, groups and ranks then rest on it.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError
        The endpoint, the baseline or another choice does not fit the table.
    DataError
        The table breaks a rule, see :func:`~kitsbench.statistics.validate_scores`.
    """
    target = parse_endpoint(endpoint, declared)
    margin = margin_of(target, margins)
    if bootstrap < 1:
        raise UsageError(f"The bootstrap has {bootstrap} replicates; it needs at least 1.")
    groupings = [parse_stratum(text) for text in strata]
    if groupings and cases is None:
        raise UsageError(
            f"The stratum {groupings[0].text} was declared, but no table of cases was given."
        )
    ready = prepare(scores, target, rule, protocol, dataset, declared, cases, cluster)
    table, blocks, rule, grouped = ready.table, ready.blocks, ready.rule, ready.grouped
    clusters, outside, apart = ready.clusters, ready.outside, ready.apart
    names = pair_names(blocks.architectures, rule.baseline)
    tests = analyse_pairs(blocks, names, rule, margin)
    label = str(table["dataset"].iloc[0]) or "these data"
    lost = not_learned(blocks, rule)
    stability = None
    if len(lost) < len(blocks.architectures):  # who comes first in learning nothing is no question
        stability = rank_stability(blocks, bootstrap, random_seed)
    looked = None if judged is None else both_ways(judged)
    rows, separated = judge(blocks, tests, rule, margin, label, stability, lost, looked)
    rest: list[dict[str, Any]] = []
    notes: list[str] = []
    if secondary:
        rest, notes = secondary_endpoints(table, target, rule, declared, clusters)
    collapsed = without_collapsed(
        blocks, collapsed_runs(blocks), rows, rule, margin, lost, looked is not None
    )
    mark(rows, outside)
    components = estimate_components(blocks)
    gaps = [row["smallest_detectable_gap"] for row in rows]
    # Wins are counted where all pairs were compared, and some could be won.
    counted = rule.baseline is None and any(test.settles for test in tests)
    return Comparison(
        endpoint=target.name,
        protocol=str(table["protocol"].iloc[0]),
        dataset=str(table["dataset"].iloc[0]),
        scope=min((t.result.scope for t in tests), default=None),
        test="; ".join(sorted({t.result.test for t in tests})) or None,
        correction=rule.correction,
        alpha=rule.alpha,
        margin=margin,
        pairs=rows,
        ranking=ranking(blocks, tests, separated, rule, stability),
        collapsed=collapsed,
        not_learned=sorted(lost),
        advice=advice_on(blocks, tests),
        smallest_detectable_gap=_median([gap for gap in gaps if gap is not None]),
        components=None if components is None else dict(components.__dict__),
        sensitivity=listwise(blocks, names, rule),
        secondary=rest,
        warnings=[
            *apart,
            *warnings_of(blocks, tests, rule, lost),
            *([collapsed["sentence"]] if collapsed else []),
            *ready.twins,
            *([] if grouped is None else grouped.notes),
            *notes,
        ],
        left_out=list(blocks.left_out),
        rankings={
            **all_schemes(blocks, [row["better"] for row in rows] if counted else None),
            "bootstrap": None if stability is None else stability_row(blocks, stability),
        },
        official=official_ranking(table, str(table["protocol"].iloc[0])),
        demsar=compare_mean_ranks(blocks, rule.alpha) if demsar and names else None,
        strata=stratified(blocks, names, cases, groupings, rule) if cases is not None else [],
    )


def _median(values: list[float]) -> float | None:
    return float(pd.Series(values).median()) if values else None
