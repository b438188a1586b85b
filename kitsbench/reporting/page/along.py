"""The way along the budget as numbers: the text of the curves, and how fast each got there."""

from __future__ import annotations

import pandas as pd

from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.curves import watched_cases, with_end
from kitsbench.reporting.tables import Table

NEARLY = 0.9
"""Share of the score at the end from which on a network is nearly there."""


def along_table(analysis: Analysis) -> Table | None:
    """Mean Dice of the endpoint's region at each point, and the time to most of it.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    Table or None
        None where nothing was scored on the way.
    """
    if analysis.results.curves.empty or analysis.results.scores.empty:
        return None
    curves = with_end(analysis)
    scores = curves[(curves["kind"] == "score") & (curves["name"] == f"{analysis.region}:dice")]
    scores = scores[scores["value"].notna()]
    if scores.empty:
        return None
    points: dict[str, pd.DataFrame] = {}
    for name in analysis.scored:
        own = scores[scores["architecture"] == name].sort_values("fraction")
        if not own.empty:
            grouped = own.groupby(own.groupby("trial").cumcount())
            points[name] = grouped[["fraction", "device_seconds", "value"]].mean()
    longest = max(points.values(), key=len, default=None)
    if longest is None:
        return None
    shares = [words.percent(share) for share in longest["fraction"]]
    rows = []
    for name, found in points.items():
        values = [words.number(value) for value in found["value"]]
        values += [words.DASH] * (len(shares) - len(values))
        end = found["value"].iloc[-1]
        there = found[found["value"] >= NEARLY * end]
        rows.append(
            [name, *values, words.duration(there["device_seconds"].iloc[0]) if end > 0
             else words.DASH]
        )  # fmt: skip
    head = ["Architecture", *(f"At {share}" for share in shares)]
    caption = (
        f"Mean {words.endpoint_name(analysis.region, 'dice')} over trials, on "
        f"{watched_cases(analysis)}. The time is that on the device until a point that was scored "
        f"first reaches {words.percent(NEARLY)} of the score at the end."
    )
    return Table([*head, f"Time to {words.percent(NEARLY)} of it"], rows, caption)
