"""Missing, failed and empty cases: which cases count, and with which value.

The analysis set is fixed by the ground truth before a prediction is seen; no case ever leaves
because of a prediction. A failed prediction is penalised (0, or the diagonal of the image), so
that a crash never improves a mean. Nothing is averaged "over what is there": a mean per
architecture over different cases compares nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kitsbench.errors import DataError
from kitsbench.metrics import FAILED, TRUTH_EMPTY, TRUTH_PRESENT, UNDEFINED, say
from kitsbench.statistics.table.endpoints import Endpoint


def truth_holds_region(rows: pd.DataFrame) -> pd.Series:
    """Tell which cases hold the region in their ground truth, from the statuses.

    Parameters
    ----------
    rows : DataFrame
        Rows of one region (any metric, architecture, seed), validated.

    Returns
    -------
    Series of bool
        By case. A case of which nothing but failures is known counts as holding the region, so
        that the failure is penalised.

    Raises
    ------
    DataError
        Statuses contradict each other: the truth cannot be empty for one architecture only.
    """
    status = rows["status"]
    table = pd.DataFrame(
        {
            "case": rows["case"],
            "positive": status.isin(TRUTH_PRESENT),
            "negative": status.isin(TRUTH_EMPTY),
        }
    )
    seen = table.groupby("case")[["positive", "negative"]].any()
    contradictions = seen.index[seen["positive"] & seen["negative"]]
    if len(contradictions):
        case = contradictions[0]
        mine = rows[rows["case"] == case]
        positive = mine[mine["status"].isin(TRUTH_PRESENT)].iloc[0]
        negative = mine[mine["status"].isin(TRUTH_EMPTY)].iloc[0]
        raise DataError(
            f"Case {case}, region {positive['region']}: architecture {positive['architecture']} "
            f"has the status {positive['status']} (the truth holds the region), architecture "
            f"{negative['architecture']} the status {negative['status']} (it does not). All must "
            "be scored against one ground truth; evaluate them again with one protocol."
        )
    return ~seen["negative"]


def defined_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out the scores that a case cannot have, for every architecture.

    Parameters
    ----------
    rows : DataFrame
        Validated rows of one dataset and protocol.

    Returns
    -------
    DataFrame
        Without the cases, by region and metric, of which one row has the status ``undefined``:
        distances on a sheared grid. It is the scan that lacks them, so failures go as well.
    """
    keys = ["region", "metric", "case"]
    lacking = rows.loc[rows["status"] == UNDEFINED, keys].drop_duplicates()
    if lacking.empty:
        return rows
    found = rows[keys].merge(lacking, how="left", indicator=True)["_merge"]
    return rows[(found == "left_only").to_numpy()]


def penalised(
    rows: pd.DataFrame, endpoint: Endpoint, positive: pd.Series | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Give every row of an endpoint the value that counts.

    :mod:`kitsbench.metrics` says what that is. A number is the value of every failed row, and of
    rows with an empty mask that lack theirs; a value that only the scan tells (its diagonal, the
    true volume) is taken as given.

    A case that is ``undefined`` for one is so for all, since the grid of its scan decides: it
    leaves the endpoint, failures included.

    Parameters
    ----------
    rows : DataFrame
        Validated rows of one region and metric.
    endpoint : Endpoint
        Which.
    positive : Series of bool, optional
        By case, whether the truth holds the region; by default from these rows alone.

    Returns
    -------
    rows : DataFrame
        A copy with ``value`` replaced, and a column ``positive``. Values stay NaN only where the
        metric is undefined: outside the set of cases whose truth holds the region. Cases that
        cannot have the metric are left out.
    notes : list of str
        What had to be assumed.

    Raises
    ------
    DataError
        A value is missing and no row of the table tells what a missed region costs.
    """
    if positive is None:
        positive = truth_holds_region(rows)
    rows, given = defined_rows(rows).copy(), rows
    lost = len({*given["case"]} - {*rows["case"]})
    plural = "s" * (lost > 1)
    notes = [f"{endpoint.name}: left out {lost} case{plural} that cannot have it."] if lost else []
    rows["positive"] = rows["case"].map(positive).astype(bool)
    value, facts = rows["value"], endpoint.facts
    lacking = pd.Series(False, index=rows.index)
    for status, holds in rows[["status", "positive"]].drop_duplicates().itertuples(index=False):
        here = (rows["status"] == status) & (rows["positive"] == holds)
        worth = facts.at(status, holds)
        failed = status in FAILED
        if isinstance(worth, (int, float)):
            value = value.mask(here if failed else here & value.isna(), worth)
        elif worth is None and facts.mean_over == "present":
            value = value.mask(here)  # the analysis set has no such case
        else:
            # A failed row that carries the best there is was never penalised.
            lacking |= here & (value.isna() | (failed & (value == facts.best)))
    rows["value"] = value
    if not lacking.any():
        return rows, notes
    if not facts.known:
        return _with_worst_end(rows, endpoint, lacking), notes
    filled, assumed = _with_largest_known(rows, endpoint, lacking)
    return filled, [*notes, *assumed]


def _with_worst_end(rows: pd.DataFrame, endpoint: Endpoint, lacking: pd.Series) -> pd.DataFrame:
    """Fill rows of a declared metric with the worst that its range holds, or ask for a value.

    What another tool gives where both masks are empty is nobody's guess: the best, or nothing.
    """
    worst = endpoint.facts.worst
    open_rows = rows[lacking & ((worst is None) | (rows["status"] == "both_empty"))]
    if len(open_rows):
        row = open_rows.iloc[0]
        raise DataError(
            f"Case {row['case']} of {row['architecture']} has the status {row['status']} and no "
            f"{endpoint.name} that could count; kitsbench does not know what that is worth.\n"
            "Give the value in the table, or the status undefined where no prediction of the case "
            "can have one; a --range that is closed at its worse end settles failed predictions."
        )
    rows.loc[lacking, "value"] = worst
    return rows


def _with_largest_known(
    rows: pd.DataFrame, endpoint: Endpoint, lacking: pd.Series
) -> tuple[pd.DataFrame, list[str]]:
    """Fill the rows without a penalty with the largest known one: of the case, else of all."""
    known = rows.loc[~lacking]
    worth = endpoint.facts.failed
    if known.empty:
        row = rows.loc[lacking].iloc[0]
        raise DataError(
            f"Case {row['case']} of {row['architecture']} failed and has no {endpoint.name}; the "
            f"penalty ({say(worth)}) stands in no row of the table. Give it as the value of the "
            "failed rows."
        )
    size = known["value"].abs()
    # Rows with an empty mask tell what the case costs, unless its cost is undefined.
    misses = known["status"].isin(("empty_prediction", "false_positive", *FAILED))
    misses &= worth is not None
    of_case = size[misses].groupby(known.loc[misses, "case"]).max()
    penalty = rows.loc[lacking, "case"].map(of_case).astype(float).fillna(float(size.max()))
    if worth == "true volume":
        penalty = penalty.where(~rows.loc[lacking, "positive"], -penalty)
    rows.loc[lacking, "value"] = penalty
    count = int(np.count_nonzero(lacking))
    note = (
        f"{endpoint.name}: {count} failed row{'s' * (count > 1)} without a penalty got the largest "
        f"value known for the case, or else in the table; the penalty ({say(worth)}) was not given."
    )
    return rows, [note]


def analysis_set(rows: pd.DataFrame, endpoint: Endpoint) -> pd.DataFrame:
    """Keep the cases on which the endpoint's primary convention is defined.

    Parameters
    ----------
    rows : DataFrame
        From :func:`penalised`.
    endpoint : Endpoint
        Its ``convention`` decides: ``official`` keeps all cases, ``gt_positive`` those whose
        truth holds the region. Where no truth holds it, a metric by which silence is perfect is
        defined on none: its mean would be 1 for whoever predicts nothing.

    Returns
    -------
    DataFrame
        Without undefined values.
    """
    nobody = endpoint.facts.silence_is_perfect and not rows["positive"].any()
    if endpoint.convention == "gt_positive" or nobody:
        return rows[rows["positive"]]
    return rows
