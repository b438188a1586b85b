"""Statuses that contradict a value, or each other, are refused before anything is averaged.

A status says what the masks were; :mod:`kitsbench.metrics` says what each metric is then. Where
the two differ one of them is wrong, and no mean over both means anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kitsbench.errors import DataError
from kitsbench.metrics import FAILED, TRUTH_EMPTY, UNDEFINED, Metric, say

_PREDICTION = ["dataset", "protocol", "architecture", "fold", "seed", "case", "region"]
_TOLERANCE = 1e-6  # single precision
_SHOWN = 3

_MEANS = {
    "ok": "both masks hold the region",
    "empty_prediction": "only the truth holds the region",
    "false_positive": "only the prediction holds the region",
    "both_empty": "neither mask holds the region",
    "failed": "there is no prediction",
    "timeout": "there is no prediction",
    UNDEFINED: "no prediction of the case can have it",
}


def check_statuses(table: pd.DataFrame, facts: Mapping[str, Metric], places: Sequence[str]) -> None:
    """Refuse values that contradict their status, and statuses that contradict each other.

    Parameters
    ----------
    table : DataFrame
        Score table whose columns have their types.
    facts : mapping of str to Metric
        By the names of its metrics.
    places : sequence of str
        Where each row stands.

    Raises
    ------
    DataError
        The value of a row is not what its metric is at its status; or the rows of one prediction
        and region differ in what they say of the masks. The rows are named.
    """
    _check_values(table, facts, places)
    _check_predictions(table, places)


def _check_values(table: pd.DataFrame, facts: Mapping[str, Metric], places: Sequence[str]) -> None:
    status, metric = table["status"], table["metric"]
    value = table["value"].to_numpy(dtype=float)
    special = (status != "ok").to_numpy() & ~np.isnan(value)
    if not special.any():
        return
    pairs = pd.DataFrame({"status": status[special], "metric": metric[special]}).drop_duplicates()
    wrong = np.zeros(len(table), dtype=bool)
    for one, name in pairs.itertuples(index=False, name=None):
        here = special & (status == one).to_numpy() & (metric == name).to_numpy()
        wrong |= here & _contradicts(value, one, facts[name])
    found = np.flatnonzero(wrong)
    if not len(found):
        return
    first = int(found[0])
    one, known = str(status.iloc[first]), facts[str(metric.iloc[first])]
    raise DataError(
        f"{places[first]}: the status is {one} ({_MEANS[one]}), but {known.name} is "
        f"{value[first]:g}{_others(found, places)}.\n"
        f"{_rule(one, known)}; correct the value or the status"
        f"{', or leave the cell of the value empty' if one in FAILED else ''}."
    )


def _contradicts(
    value: NDArray[np.float64], status: str, facts: Metric
) -> NDArray[np.bool_] | np.bool_:
    """Tell the values that a metric cannot have at a status."""
    worth = facts.at(status)
    if status in FAILED:
        # Whatever a failed row carries is replaced by its price; only the best there is shows that
        # it was taken for a success. Without the region the best may be the price.
        free = facts.failed_without == facts.best
        return np.zeros(len(value), dtype=bool) if free else value == facts.best
    if isinstance(worth, (int, float)):
        return np.abs(value - worth) > _TOLERANCE
    if worth == "diagonal":
        return value <= 0
    if worth == "true volume":
        return ~np.signbit(value)  # a tiny one is -0.0 after rounding
    # A metric of another tool, or one that its formula gives, may be anything here.
    return np.full(len(value), worth is None)


def _rule(status: str, facts: Metric) -> str:
    if status in FAILED:
        return f"A failed prediction has not earned the best {facts.name} there is"
    worth = facts.at(status)
    return f"There {facts.name} is {say(worth)}"


def _check_predictions(table: pd.DataFrame, places: Sequence[str]) -> None:
    """Refuse a prediction of which one metric says that it is empty and another that it is not."""
    said = table["status"].replace({name: FAILED[0] for name in FAILED}).to_numpy(dtype=object)
    stated = said != UNDEFINED
    if len({*said[stated]}) < 2 or table["metric"].nunique() < 2:
        return
    # One number for each prediction, so that the groups cost little on a million rows.
    number = table.groupby(_PREDICTION, sort=False).ngroup().to_numpy()
    order = np.flatnonzero(stated)
    first = np.full(int(number.max()) + 1, -1)
    first[number[order][::-1]] = order[::-1]
    differs = stated & (said != said[first[number]])
    found = np.flatnonzero(differs)
    if not len(found):
        return
    here, there = int(found[0]), int(first[number[found[0]]])
    row, other = table.iloc[here], table.iloc[there]
    truths = {row["status"], other["status"]} & {*TRUTH_EMPTY}
    raise DataError(
        f"{places[here]}: {row['metric']} has the status {row['status']} "
        f"({_MEANS[row['status']]}), {places[there]}: {other['metric']} has {other['status']} "
        f"({_MEANS[other['status']]}){_others(found, places)}.\n"
        f"Both are of {row['region']} in one prediction (architecture {row['architecture']}, fold "
        f"{row['fold']}, seed {row['seed']}, case {row['case']}), "
        + (
            "whose truth either holds the region or does not"
            if truths
            else "of which all metrics say the same"
        )
        + "; score it again by one protocol."
    )


def _others(found: NDArray[np.intp], places: Sequence[str]) -> str:
    """Name a few more rows of the same kind."""
    rest = found[1 : 1 + _SHOWN]
    if not len(rest):
        return ""
    # The file is the same in most cases; only the end of a place tells rows apart.
    names = [places[int(row)].rpartition(", ")[2] for row in rest]
    more = f" and {len(found) - 1 - len(rest)} more" if len(found) > 1 + len(rest) else ""
    return f" (so {'is' if len(found) == 2 else 'are'} {', '.join(names)}{more})"
