"""The numbers of an entry as they follow from scores and runs, for writing and for checking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from kitsbench.leaderboard.looked import EntryLooks, looked_comparison
from kitsbench.leaderboard.parts import Rank, Run, Score
from kitsbench.statistics import Rule, compare, summarise
from kitsbench.statistics.table.endpoints import cut


def scores_of(table: pd.DataFrame) -> dict[str, tuple[Score, ...]]:
    """Means and intervals of every architecture of an experiment.

    Parameters
    ----------
    table : DataFrame
        Long score table of the whole experiment: what a case cannot have, and what a failed one
        costs, is told by the rows of the others.

    Raises
    ------
    DataError
        The scores break a rule of the statistics.
    """
    found: dict[str, list[Score]] = {}
    for row in summarise(table).to_dict("records"):
        found.setdefault(str(row["architecture"]), []).append(_score(row))
    return {name: tuple(scores) for name, scores in found.items()}


def _score(row: dict[Any, Any]) -> Score:
    low, high = _number(row["ci_low"]), _number(row["ci_high"])
    if low is not None and high is not None:
        # As the board shows it: a limit beyond the metric's end says nothing.
        low, high = cut(low, high, row["metric"])
    return Score(
        protocol=row["protocol"],
        region=row["region"],
        metric=row["metric"],
        mean=_number(row["mean"]),
        sd_over_folds=_number(row["sd_over_folds"]),
        ci_low=low,
        ci_high=high,
        n_cases=int(row["n_cases"]),
        n_undefined=int(row["n_undefined"]),
        n_failed=int(row["n_failed"]),
    )


def ranks_of(
    table: pd.DataFrame,
    endpoint: str,
    protocol: str,
    fold_count: int,
    looks: EntryLooks | None = None,
) -> dict[str, Rank]:
    """Places and groups within an experiment; empty where there is only one architecture.

    Of a run that stopped by itself they are those that its looks allow.

    Raises
    ------
    KitsbenchError
        The scores break a rule of the statistics, or do not hold the endpoint.
    """
    region, metric = endpoint.split(":")
    if table["architecture"].nunique() < 2:
        return {}
    if looks is not None:
        comparison = looked_comparison(table, endpoint, protocol, fold_count, looks).to_dict()
    else:
        comparison = compare(
            table[table["metric"] == metric],
            endpoint=(region, metric),
            rule=Rule(fold_count=fold_count),
            protocol=protocol,
            secondary=False,
        ).to_dict()
    scopes: dict[str, Any] = {}
    for pair in comparison["pairs"]:
        for name in (pair["a"], pair["b"]):
            # Its place rests on the pairs that can be judged, where there are any.
            scopes[name] = max(pair["scope"], scopes.get(name, ""))
    return {
        str(row["architecture"]): Rank(
            rank=row["rank"],
            rank_low=_number(row.get("rank_low")),
            rank_high=_number(row.get("rank_high")),
            p_first=_number(row.get("p_first")),
            group=str(row.get("group") or ""),
            scope=scopes.get(str(row["architecture"]), ""),
        )
        for row in comparison["ranking"]
    }


def counts_of(runs: Sequence[Run]) -> dict[str, Any]:
    """``finished``, ``failed``, ``reasons`` and ``ids`` of an entry's trials."""
    failed = [run for run in runs if run.state == "failed"]
    return {
        "finished": len(runs) - len(failed),
        "failed": len(failed),
        "reasons": dict(Counter(run.reason for run in failed if run.reason is not None)),
        "ids": tuple(run.id for run in runs),
    }


def spent_by(runs: Sequence[Run]) -> dict[str, float | int | None]:
    """What a run spent, as a mean over those that finished; of memory the most, of scans each."""
    spent = [run.spent for run in runs if run.state == "finished" and run.spent is not None]
    found: dict[str, float | int | None] = {}
    for key in ("device_seconds", "steps", "voxels", "flops", "patches_per_s"):
        values = [float(getattr(one, key)) for one in spent]
        found[key] = sum(values) / len(values) if values else None
    found["peak_memory_bytes"] = max((one.peak_memory_bytes for one in spent), default=0) or None
    scans = sum(one.inference_cases or 0 for one in spent)
    seconds = sum(one.inference_s or 0.0 for one in spent)
    found["predict_s"] = seconds / scans if scans else None
    return found


def versions_of(runs: Sequence[Run]) -> str:
    """Versions of kitsbench that trained or scored the runs, with commas."""
    return ", ".join(dict.fromkeys(version for run in runs for version in run.kitsbench))


def _number(value: Any) -> float | None:
    """A finite float, or None: JSON knows no NaN."""
    if value is None or pd.isna(value) or value in (float("inf"), float("-inf")):
        return None
    return float(value)
