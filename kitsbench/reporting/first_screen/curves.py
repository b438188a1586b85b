"""Scores along the budget: how they end, and which were still rising then."""

from __future__ import annotations

from typing import Any

import pandas as pd

from kitsbench.reporting.analysis import Analysis
from kitsbench.statistics.table.endpoints import margin_of, parse_endpoint


def with_end(analysis: Analysis) -> pd.DataFrame:
    """Curves with the scores at the end of the budget, on the cases that were scored on the way.

    Training stops before it scores itself a last time, since all cases are scored afterwards.
    """
    results = analysis.results
    scores = results.scores
    part = scores[(scores["protocol"] == analysis.protocol) & (scores["metric"] == "dice")]
    # Tables are searched once, not once a trial: there may be hundreds of both.
    places = part.groupby(["architecture", "fold", "seed"])
    own_scores: dict[Any, pd.DataFrame] = {place: rows for place, rows in places}
    scored = results.curves[results.curves["kind"] == "score"]
    furthest: dict[Any, float] = dict(scored.groupby("trial")["fraction"].max())
    rows = []
    for trial in results.trials:
        if trial.state != "finished" or trial.record is None or trial.ledger is None:
            continue
        own = own_scores.get((trial.name, trial.fold, trial.seed))
        if own is None or furthest.get(trial.id, 1.0) >= 0.999:
            continue
        own = own[own["case"].isin(trial.record.context.curve_cases)]
        for region, value in own.groupby("region", sort=False)["value"].mean().items():
            rows.append(
                {
                    "trial": trial.id,
                    "architecture": trial.name,
                    "fold": trial.fold,
                    "seed": trial.seed,
                    "step": trial.ledger.steps,
                    "fraction": 1.0,
                    "device_seconds": trial.ledger.device_seconds,
                    "kind": "score",
                    "name": f"{region}:dice",
                    "value": value,
                }
            )
    return pd.concat([results.curves, pd.DataFrame(rows)]) if rows else results.curves


def still_rising(analysis: Analysis) -> list[str]:
    """Architectures whose scores were still rising when their budget was spent.

    The mean over trials of the Dice of the endpoint's region on the cases that are scored along
    the budget ends at its highest point, and at least a margin above the point before, which is
    three quarters of the way. It describes a few cases, and is no test.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    list of str
        In the order of the ranking. Ensembles have no curve, and neither has a failed trial.
    """
    margin = margin_of(parse_endpoint((analysis.region, "dice")), None)
    curves = analysis.results.curves
    if curves.empty or margin is None or analysis.results.scores.empty:
        return []
    curves = with_end(analysis)
    name = f"{analysis.region}:dice"
    scores = curves[(curves["kind"] == "score") & (curves["name"] == name)]
    rising = []
    for architecture in analysis.scored:
        own = scores[scores["architecture"] == architecture].sort_values("fraction")
        # A trial that was cut short has fewer points; its last one is not the others' last.
        points = own.assign(point=own.groupby("trial").cumcount()).pivot(
            index="point", columns="trial", values="value"
        )
        means = points.dropna(axis="columns").mean(axis="columns")
        if len(means) > 1 and means.iloc[-1] >= max(means.max(), means.iloc[-2] + margin):
            rising.append(architecture)
    return rising


def rising_rule(analysis: Analysis) -> str:
    """By which rule a curve is called rising, and on how few scans; in one sentence."""
    margin = margin_of(parse_endpoint((analysis.region, "dice")), None)
    records = analysis.results.records
    cases = {case for record in records for case in record.context.curve_cases}
    tested = {case for record in records for case in record.context.test_cases}
    count = f"{len(cases)} scan{'' if len(cases) == 1 else 's'}"
    own = f"{'one ' if len(cases) == 1 else ''}of the test scans" if cases <= tested else "held out"
    return (
        f"Rising: of the points along the budget the last is the highest, and by {margin:g} or "
        f"more above the one before; seen on {count} ({own}; no step and no network was "
        "chosen by it), so it is a hint and no finding."
    )


def watched_cases(analysis: Analysis) -> str:
    """How many cases are scored along the budget, such as ``2 cases in each of 5 folds``."""
    of: dict[int, set[str]] = {}
    for record in analysis.results.records:
        if record.context.curve_cases:
            of.setdefault(record.identity.fold, set()).update(record.context.curve_cases)
    counts = {len(cases) for cases in of.values()}
    if len(of) == 1:
        return _cases(counts.pop())
    if len(counts) == 1:
        return f"{_cases(counts.pop())} in each of {len(of)} folds"
    return f"{_cases(sum(map(len, of.values())))} in {len(of)} folds"


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"


def watched(analysis: Analysis) -> int:
    """How many cases are scored along the budget, all folds together."""
    records = analysis.results.records
    return len({case for record in records for case in record.context.curve_cases})
