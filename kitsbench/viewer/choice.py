"""Which cases of an experiment are shown, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import pandas as pd

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.errors import KitsbenchError
from kitsbench.experiments.results import Results
from kitsbench.metrics import find
from kitsbench.viewer.cases import ViewedCase, kept_maps, prediction_file

Which = Literal["none", "few", "all"]
NOTHING_KEPT = "no prediction of it was kept."
WORST, BEST, DISPUTED = 2, 1, 2
"""Cases that ``few`` takes beside the showcase: of the leader, and of all."""


def endpoint_scores(results: Results) -> pd.DataFrame:
    """Scores by the endpoint: a row for each case, a column for each architecture.

    A value is that of the first seed, whose label map is shown; a failed trial has none here, since
    there is nothing to see. Of a metric that is best at 0 from both sides it is the size, without
    the sign, as comparisons have it.
    """
    region, metric = results.experiment.endpoint.split(":")
    table = results.scores
    own = table[
        (table["protocol"] == results.experiment.protocol)
        & (table["region"] == region)
        & (table["metric"] == metric)
        & (table["status"] != "failed")
    ]
    if own.empty:
        return pd.DataFrame()
    if find(metric).better == "nearer":
        own = own.assign(value=own["value"].abs())
    own = own.sort_values("seed", kind="stable")
    return own.pivot_table(index="case", columns="architecture", values="value", aggfunc="first")


def better_high(results: Results) -> bool:
    """Whether a higher value of the endpoint is the better one."""
    return find(results.experiment.endpoint.split(":")[1]).higher_is_better


def leader(results: Results) -> str | None:
    """The architecture with the best mean over cases; none that may know them already."""
    scores = endpoint_scores(results).drop(columns=[*results.apart], errors="ignore")
    means = scores.mean().dropna() if not scores.empty else pd.Series(dtype=float)
    if means.empty:
        return None
    return str(means.idxmax() if better_high(results) else means.idxmin())


def chosen_cases(results: Results, which: Which) -> dict[str, list[str]]:
    """Cases to be shown, the most telling first, whether or not anything of them was kept.

    ``few`` are the showcase, which was chosen beforehand, the worst cases of the leader, those on
    which architectures differ most, and the leader's best.

    Returns
    -------
    dict of str to list of str
        Why each is shown; empty for the rest of ``all``.
    """
    if which == "none":
        return {}
    scores, high = endpoint_scores(results), better_high(results)
    first = leader(results)
    own = scores[first].dropna() if first is not None else pd.Series(dtype=float)
    own = own.sort_values(ascending=high, kind="stable")  # the worst first
    apart = scores.max(axis=1) - scores.min(axis=1) if not scores.empty else own
    apart = apart[apart > 0].sort_values(ascending=False, kind="stable")
    found: dict[str, list[str]] = {}
    for why, cases in (
        ("chosen before any result", results.experiment.showcase),
        (f"among the worst of {first}", own.index[:WORST]),
        ("architectures differ most", apart.index[:DISPUTED]),
        (f"best of {first}", own.index[::-1][:BEST]),
    ):
        for case in map(str, cases):
            found.setdefault(case, []).append(why)
    for case in (*own.index, *scores.index) if which == "all" else ():
        found.setdefault(str(case), [])
    return found


def viewed_cases(
    results: Results, cases: Iterable[str], makers: list[str]
) -> tuple[list[ViewedCase], list[str]]:
    """Files of cases of an experiment.

    Parameters
    ----------
    results : Results
        Needs the dataset where the experiment says it is.
    cases : iterable of str
    makers : list of str
        Architectures, in the order in which they are listed.

    Returns
    -------
    found : list of ViewedCase
        Those with a scan and at least one prediction that was kept.
    problems : list of str
        A sentence for each other.
    """
    kept = {
        case: {
            maker: file
            for maker in makers
            if (file := prediction_file(results.trials, maker, case)) is not None
        }
        for case in cases
    }
    problems = [f"{case} is not shown: {NOTHING_KEPT}" for case, own in kept.items() if not own]
    kept = {case: own for case, own in kept.items() if own}
    if not kept:
        return [], problems
    where = Path(results.experiment.dataset.path)
    try:
        dataset = open_dataset(where, results.experiment.dataset.layout)
    except (KitsbenchError, OSError) as error:
        return [], [f"No scan can be shown: {error}"]
    scans = {case.id: case for case in dataset.cases}
    scores = endpoint_scores(results)
    found = []
    for name, predictions in kept.items():
        case = scans.get(name)
        if case is None or case.image is None:
            problems.append(
                f"{name} is not shown: the dataset in {where} does not hold its scan any more."
            )
            continue
        maps = {
            (maker, own): file
            for maker in makers
            for own, file in kept_maps(results.trials, maker, name).items()
        }
        values = _row(scores, name)
        found.append(
            ViewedCase(
                name=name,
                image=case.image,
                names=dataset.names,
                truth=case.label,
                predictions=predictions,
                maps=maps,
                scores={maker: values[maker] for maker in makers if maker in values},
                showcase=name in results.experiment.showcase,
            )
        )
    return found, problems


def _row(scores: pd.DataFrame, case: str) -> dict[str, float]:
    if scores.empty or case not in scores.index:
        return {}
    row = scores.loc[[case]].iloc[0].dropna()
    return dict(zip(map(str, row.index), map(float, row.tolist()), strict=True))
