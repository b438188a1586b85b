"""The way along the budget: written from the curves of trials, and held against their scores."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pandas as pd

from kitsbench.experiments.results import Results
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.leaderboard.parts import Curve
from kitsbench.leaderboard.proof import differs
from kitsbench.leaderboard.schema import Entry

_SPENT = 0.999
"""Share of the budget from which on a point is its end, which the scores tell."""


def curve_of(results: Results, own: Sequence[StoredTrial]) -> Curve | None:
    """The curve of an architecture.

    Parameters
    ----------
    results : Results
    own : sequence of StoredTrial
        Its trials.

    Returns
    -------
    Curve or None
        None where its runs were not all scored at the same points on the way, as ensembles never
        are.
    """
    finished = [t for t in own if t.state == "finished" and t.record is not None]
    experiment, curves = results.experiment, results.curves
    region = experiment.endpoint.split(":")[0]
    scored = curves[(curves["kind"] == "score") & (curves["name"] == f"{region}:dice")]
    scored = scored[(scored["fraction"] < _SPENT) & scored["value"].notna()]
    cases = sorted({c for t in finished if t.record for c in t.record.context.curve_cases})
    runs = [scored[scored["trial"] == trial.id].sort_values("fraction") for trial in finished]
    if not cases or len({len(run) for run in runs}) != 1 or runs[0].empty:
        return None
    name, places = own[0].name, {(trial.fold, trial.seed) for trial in finished}
    table = results.scores[results.scores["architecture"] == name]
    end = _end(table, experiment.protocol, region, cases, places)
    at = [float(sum(run["fraction"].iloc[k] for run in runs)) / len(runs) for k in _points(runs)]
    dice = [float(sum(run["value"].iloc[k] for run in runs)) / len(runs) for k in _points(runs)]
    rising = all(low < high for low, high in zip([0.0, *at], [*at, 1.0], strict=True))
    if end is None or not rising:
        return None
    return Curve(cases=tuple(cases), at=(*at, 1.0), dice=(*dice, end))


def _points(runs: Sequence[pd.DataFrame]) -> range:
    return range(len(runs[0]))


def _end(
    table: pd.DataFrame,
    protocol: str,
    region: str,
    cases: Collection[str],
    places: Collection[tuple[int, int]],
) -> float | None:
    """Mean over runs of the watched cases' scores; None where a run has none."""
    chosen = table[
        (table["protocol"] == protocol)
        & (table["region"] == region)
        & (table["metric"] == "dice")
        & table["case"].isin([*cases])
    ]
    means = chosen.groupby(["fold", "seed"])["value"].mean()
    own = [float(means.get(place, float("nan"))) for place in places]
    mean = sum(own) / len(own) if own else float("nan")
    return mean if mean == mean else None


def curve_faults(entry: Entry, scores: pd.DataFrame) -> Iterator[str]:
    """What of an entry's curve its table contradicts.

    Parameters
    ----------
    entry : Entry
    scores : DataFrame
        Its table.
    """
    curve = entry.curve
    if curve is None:
        return
    for case in sorted({*curve.cases} - {*scores["case"]}):
        yield f"the key curve.cases has {case}, which the table lacks"
    region = entry.endpoint.split(":")[0]
    places = {(run.fold, run.seed) for run in entry.trials.runs if run.state == "finished"}
    end = _end(scores, entry.protocol, region, curve.cases, places)
    yield from differs("curve.dice.-1", curve.dice[-1], end, "the table")
