"""Long score tables: reading them and refusing what would bias a comparison."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.errors import DataError
from kitsbench.metrics import FAILED, UNDEFINED, Metric, find
from kitsbench.statistics.table.cells import numbers, shown, texts, whole_numbers
from kitsbench.statistics.table.elsewhere import ELSEWHERE, check_standings
from kitsbench.statistics.table.files import MISSING, read_text_table
from kitsbench.statistics.table.statuses import check_statuses

REQUIRED = ("architecture", "fold", "seed", "case", "region", "metric", "value")
"""Columns that every score table has."""
OPTIONAL = ("dataset", "protocol", "status")
STATUSES = ("ok", "empty_prediction", "both_empty", "false_positive", *FAILED, UNDEFINED)
KEY = ("dataset", "protocol", "architecture", "fold", "seed", "case", "region", "metric")

PATIENT = "patient"
"""Column that tells clusters without being asked: two scans of a patient are never independent."""

_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+")
_ALIASES = {"empty_pred": "empty_prediction"}


def read_scores(
    paths: str | Path | Iterable[str | Path],
    *,
    declared: Mapping[str, Metric] | None = None,
    cluster: str | None = None,
) -> pd.DataFrame:
    """Read one or more long score tables and check them.

    Parameters
    ----------
    paths : path or iterable of paths
        CSV (commas, semicolons or tabs; compressed where it ends on ``.gz``) or Parquet
        (``.parquet``). The tables are put together.
    declared, cluster : optional
        As in :func:`validate_scores`.

    Returns
    -------
    DataFrame
        As :func:`validate_scores` returns it.

    Raises
    ------
    DataError
        A file is missing or is no table, or a row breaks a rule; the message names the file,
        the row (line of the CSV file, the header being line 1) and the column.
    """
    files = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    if not files:
        raise DataError("No score table was given; name at least one CSV or Parquet file.")
    tables, places = [], []
    for file in files:
        table = read_text_table(file, "a long score table")
        tables.append(_with_columns(table, str(file), cluster))
        word = "row" if file.suffix.lower() == ".parquet" else "line"
        places += [f"{file}, {word} {number}" for number in table.index]
    return _validated(pd.concat(tables, ignore_index=True), places, declared, cluster)


def validate_scores(
    scores: pd.DataFrame,
    *,
    declared: Mapping[str, Metric] | None = None,
    cluster: str | None = None,
) -> pd.DataFrame:
    """Check a long score table and give its columns their types.

    Parameters
    ----------
    scores : DataFrame
        Columns ``architecture, fold, seed, case, region, metric, value`` and optionally
        ``status`` (default ``ok``), ``protocol``, ``dataset``, ``trained_elsewhere`` (see
        :mod:`~kitsbench.statistics.table.elsewhere`). Other columns are left out.
    declared : mapping of str to Metric, optional
        What was declared about metrics that kitsbench does not compute, see
        :func:`kitsbench.metrics.declare`; their values must lie in the declared range.
    cluster : str, optional
        Another column to keep, by its own name: whose cases belong together (``hospital``). A
        column ``patient`` is kept in any case. See
        :func:`~kitsbench.statistics.table.clusters.clusters_of`.

    Returns
    -------
    DataFrame
        The columns of :data:`KEY` and ``value`` (float, NaN where undefined) and ``status``;
        ``fold`` and ``seed`` are integers. Without a column ``dataset`` or ``protocol`` these
        are empty text. After them ``trained_elsewhere``, if it is there, and the column of
        clusters, as text. The rows keep their order.

    Raises
    ------
    DataError
        A column is missing; a value is no finite number; a fold or seed is no whole number; a
        status is unknown; a value is empty where the status is ``ok``, or contradicts its
        status; statuses of a prediction contradict each other; a row appears twice; a case lies
        in two folds. The message names row and column.
    """
    table = _with_columns(scores, "The score table", cluster).reset_index(drop=True)
    places = [f"row {number}" for number in range(1, len(table) + 1)]
    return _validated(table, places, declared, cluster)


def _with_columns(table: pd.DataFrame, name: str, cluster: str | None) -> pd.DataFrame:
    found = [str(column).strip() for column in table.columns]
    doubled = sorted({column for column in found if found.count(column) > 1})
    if doubled:
        raise DataError(f"{name} has the column '{doubled[0]}' twice; keep one.")
    missing = [column for column in REQUIRED if column not in found]
    if missing:
        hint = (
            " (use fold 0 and seed 0 where there is one)" if {"fold", "seed"} & {*missing} else ""
        )
        raise DataError(
            f"{name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; a score "
            f"table has {', '.join(REQUIRED)}[, {', '.join(OPTIONAL)}]{hint}."
        )
    if cluster is not None and cluster not in found:
        close = difflib.get_close_matches(cluster, found, n=1)
        raise DataError(
            f"{name} has no column '{cluster}' of clusters"
            f"{f' (did you mean {close[0]}?)' if close else ''}; it has {', '.join(found)}.\n"
            "Name one of them, or give a table of cases that has it (--cases)."
        )
    if not len(table):
        raise DataError(f"{name} has a header but no rows; there is nothing to compare.")
    table = table.set_axis(found, axis=1)
    own = [cluster] if cluster else []
    wanted = dict.fromkeys((*REQUIRED, *OPTIONAL, PATIENT, ELSEWHERE, *own))
    return table[[column for column in wanted if column in found]]


def _validated(
    table: pd.DataFrame,
    places: list[str],
    declared: Mapping[str, Metric] | None,
    cluster: str | None,
) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in KEY:
        if name in ("fold", "seed"):
            columns[name] = whole_numbers(table[name], name, places)
        elif name in table.columns:
            columns[name] = texts(table[name], name, places, needed=name not in OPTIONAL)
        else:
            columns[name] = pd.Series("", index=table.index, dtype=object)
    columns["status"] = _statuses(table, places)
    facts = {str(name): find(name, declared) for name in columns["metric"].unique()}
    columns["value"] = _values(table["value"], columns["status"], columns["metric"], facts, places)
    kept = [c for c in (PATIENT, ELSEWHERE, cluster) if c in table.columns and c not in columns]
    columns |= {str(name): texts(table[name], str(name), places, needed=False) for name in kept}
    result = pd.DataFrame(columns)[list(dict.fromkeys([*KEY, "value", "status", *kept]))]
    _check_duplicates(result, places)
    _check_folds(result, places)
    check_standings(result, places)
    check_statuses(result, facts, places)
    return result


def _statuses(table: pd.DataFrame, places: list[str]) -> pd.Series:
    if "status" not in table.columns:
        return pd.Series("ok", index=table.index, dtype=object)
    status = texts(table["status"], "status", places, needed=False).replace({"": "ok", **_ALIASES})
    wrong = np.flatnonzero(~status.isin(STATUSES).to_numpy())
    if len(wrong):
        raise DataError(
            f"{places[wrong[0]]}: column 'status' holds '{status.iloc[wrong[0]]}'; "
            f"it must be one of {', '.join(STATUSES)}."
        )
    return status


def _values(
    column: pd.Series,
    status: pd.Series,
    metric: pd.Series,
    facts: Mapping[str, Metric],
    places: list[str],
) -> np.ndarray:
    found = numbers(column)
    empty = column.isna().to_numpy() | column.map(
        lambda value: isinstance(value, str) and value.strip().lower() in MISSING
    ).to_numpy(dtype=bool)
    wrong = np.flatnonzero(np.isnan(found) & ~empty)
    if len(wrong):
        cell = column.iloc[wrong[0]]
        comma = isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell.strip())
        raise DataError(
            f"{places[wrong[0]]}: column 'value' holds {shown(cell)}, which is no number"
            f"{' (a decimal comma)' if comma else ''}; write numbers with a point, and leave the "
            "cell empty where a value is undefined."
        )
    wrong = np.flatnonzero(np.isinf(found))
    if len(wrong):
        raise DataError(
            f"{places[wrong[0]]}: column 'value' is infinite; a distance to an empty mask is the "
            "diagonal of the image in mm."
        )
    wrong = np.flatnonzero(empty & (status == "ok").to_numpy())
    if len(wrong):
        raise DataError(
            f"{places[wrong[0]]}: column 'value' is empty, but the status is ok; give the value, "
            f"or say in the column status why there is none ({', '.join(STATUSES[1:])})."
        )
    low, high = (
        metric.map({name: getattr(one, end) for name, one in facts.items()}).to_numpy(dtype=float)
        for end in ("low", "high")
    )
    with np.errstate(invalid="ignore"):
        # Nothing lies outside an end that is open (NaN); single precision may exceed 1.
        outside = (found < low) | (found > high + 1e-6)
    wrong = np.flatnonzero(outside)
    if len(wrong):
        value, name = found[wrong[0]], metric.iloc[wrong[0]]
        remedy = "; divide percentages by 100" if facts[name].high == 1 and value > 1 else ""
        raise DataError(
            f"{places[wrong[0]]}: column 'value' holds {value:g}, but "
            f"{name} lies {facts[name].limits}{remedy}."
        )
    return found


def _check_duplicates(table: pd.DataFrame, places: list[str]) -> None:
    doubled = table.duplicated(list(KEY), keep=False).to_numpy()
    if not doubled.any():
        return
    second = int(np.flatnonzero(table.duplicated(list(KEY)).to_numpy())[0])
    row = table.loc[second, list(KEY)]
    same = (table[list(KEY)] == row).all(axis=1).to_numpy()
    first = int(np.flatnonzero(same)[0])
    raise DataError(
        f"{places[second]} repeats {places[first]}: architecture {row['architecture']}, fold "
        f"{row['fold']}, seed {row['seed']}, case {row['case']}, {row['region']}:{row['metric']}; "
        "each score may appear once."
    )


def _check_folds(table: pd.DataFrame, places: list[str]) -> None:
    pairs = table[["dataset", "case", "fold"]].drop_duplicates()
    doubled = pairs[pairs.duplicated(["dataset", "case"], keep=False)]
    if doubled.empty:
        return
    case = doubled.iloc[0]["case"]
    first, second = (int(index) for index in doubled.index[doubled["case"] == case][:2])
    raise DataError(
        f"{places[second]}: column 'fold' puts case {case} into fold {table['fold'][second]}, "
        f"{places[first]} into fold {table['fold'][first]}; all architectures and seeds must "
        "share one split in which each case is tested in one fold."
    )
