"""Long score tables: reading them and refusing what would bias a comparison."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.errors import DataError
from kitsbench.metrics import FAILED, UNDEFINED, Metric, find

REQUIRED = ("architecture", "fold", "seed", "case", "region", "metric", "value")
"""Columns that every score table has."""
OPTIONAL = ("dataset", "protocol", "status")
STATUSES = ("ok", "empty_prediction", "both_empty", "false_positive", *FAILED, UNDEFINED)
KEY = ("dataset", "protocol", "architecture", "fold", "seed", "case", "region", "metric")

_ALIASES = {"empty_pred": "empty_prediction"}
MISSING = ("", "nan", "na", "n/a", "none", "null")
"""What stands in a cell, in small letters, that holds nothing."""


def read_scores(
    paths: str | Path | Iterable[str | Path], *, declared: Mapping[str, Metric] | None = None
) -> pd.DataFrame:
    """Read one or more long score tables and check them.

    Parameters
    ----------
    paths : path or iterable of paths
        CSV (commas, semicolons or tabs) or Parquet (``.parquet``). The tables are put together.
    declared : mapping of str to Metric, optional
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
        table = _with_columns(read_text_table(file, "a long score table"), str(file))
        tables.append(table)
        first = 2 if file.suffix.lower() != ".parquet" else 1
        word = "line" if first == 2 else "row"
        places += [f"{file}, {word} {number}" for number in range(first, first + len(table))]
    return _validated(pd.concat(tables, ignore_index=True), places, declared)


def validate_scores(
    scores: pd.DataFrame, *, declared: Mapping[str, Metric] | None = None
) -> pd.DataFrame:
    """Check a long score table and give its columns their types.

    Parameters
    ----------
    scores : DataFrame
        Columns ``architecture, fold, seed, case, region, metric, value`` and optionally
        ``status`` (default ``ok``), ``protocol``, ``dataset``. Other columns are left out.
    declared : mapping of str to Metric, optional
        What was declared about metrics that kitsbench does not compute, see
        :func:`kitsbench.metrics.declare`; their values must lie in the declared range.

    Returns
    -------
    DataFrame
        The columns of :data:`KEY` and ``value`` (float, NaN where undefined) and ``status``;
        ``fold`` and ``seed`` are integers. Without a column ``dataset`` or ``protocol`` these
        are empty text. The rows keep their order.

    Raises
    ------
    DataError
        A column is missing; a value is no finite number; a fold or seed is no whole number; a
        status is unknown; a value is empty where the status is ``ok``; a row appears twice; a
        case lies in two folds. The message names row and column.
    """
    table = _with_columns(scores, "The score table").reset_index(drop=True)
    return _validated(table, [f"row {number}" for number in range(1, len(table) + 1)], declared)


def read_text_table(file: Path, what: str) -> pd.DataFrame:
    """Read a CSV file with all cells as text, or a Parquet file.

    Parameters
    ----------
    file : Path
        Commas, semicolons or tabs; ``.parquet`` is Parquet.
    what : str
        What it should be, for the messages.

    Raises
    ------
    DataError
        There is no such file, or it cannot be read.
    """
    if file.is_dir():
        inside = file / "report" / "scores.csv"
        hint = inside if inside.is_file() else "the CSV or Parquet file in it"
        raise DataError(f"{file} is a folder; give {what}, such as {hint}.")
    if not file.is_file():
        raise DataError(f"There is no file {file}; give {what} (CSV or Parquet).")
    try:
        if file.suffix.lower() == ".parquet":
            return pd.read_parquet(file)
        with open(file, encoding="utf-8-sig", newline="") as handle:
            header = handle.readline()
        separator = max(",;\t", key=header.count)
        # Everything is read as text: a case "00012" must stay that, and a message about a wrong
        # value must show what the file holds.
        return pd.read_csv(
            file,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            quoting=csv.QUOTE_MINIMAL,
            index_col=False,
        )
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{file} cannot be read as {what} ({reason}); it must be CSV in UTF-8 or Parquet."
        ) from error


def _with_columns(table: pd.DataFrame, name: str) -> pd.DataFrame:
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
    if not len(table):
        raise DataError(f"{name} has a header but no rows; there is nothing to compare.")
    table = table.set_axis(found, axis=1)
    return table[[column for column in (*REQUIRED, *OPTIONAL) if column in found]]


def _validated(
    table: pd.DataFrame, places: list[str], declared: Mapping[str, Metric] | None
) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in KEY:
        if name in ("fold", "seed"):
            columns[name] = _integers(table[name], name, places)
        elif name in table.columns:
            columns[name] = _texts(table[name], name, places)
        else:
            columns[name] = pd.Series("", index=table.index, dtype=object)
    columns["status"] = _statuses(table, places)
    facts = {str(name): find(name, declared) for name in columns["metric"].unique()}
    columns["value"] = _values(table["value"], columns["status"], columns["metric"], facts, places)
    result = pd.DataFrame(columns)[[*KEY, "value", "status"]]
    _check_duplicates(result, places)
    _check_folds(result, places)
    return result


def as_text(column: pd.Series) -> pd.Series:
    """Cells as text without spaces around it; a cell that holds nothing is empty text."""
    return column.astype(object).where(column.notna(), "").map(lambda value: str(value).strip())


def _texts(column: pd.Series, name: str, places: list[str]) -> pd.Series:
    text = as_text(column)
    if name not in OPTIONAL:
        empty = np.flatnonzero((text == "").to_numpy())
        if len(empty):
            raise DataError(f"{places[empty[0]]}: column '{name}' is empty; every row needs it.")
    return text


def _numbers(column: pd.Series) -> np.ndarray:
    """Return floats; NaN where the cell holds text or nothing."""
    cleaned = column.map(lambda value: value.strip() if isinstance(value, str) else value)
    return np.asarray(pd.to_numeric(cleaned, errors="coerce"), dtype=float)


def _integers(column: pd.Series, name: str, places: list[str]) -> np.ndarray:
    numbers = _numbers(column)
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.floor(numbers)))
    if len(wrong):
        raise DataError(
            f"{places[wrong[0]]}: column '{name}' holds {column.iloc[wrong[0]]!r}; "
            f"a {name} is a whole number such as 0."
        )
    return numbers.astype(np.int64)


def _statuses(table: pd.DataFrame, places: list[str]) -> pd.Series:
    if "status" not in table.columns:
        return pd.Series("ok", index=table.index, dtype=object)
    status = _texts(table["status"], "status", places).replace({"": "ok", **_ALIASES})
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
    numbers = _numbers(column)
    empty = column.isna().to_numpy() | column.map(
        lambda value: isinstance(value, str) and value.strip().lower() in MISSING
    ).to_numpy(dtype=bool)
    wrong = np.flatnonzero(np.isnan(numbers) & ~empty)
    if len(wrong):
        raise DataError(
            f"{places[wrong[0]]}: column 'value' holds {column.iloc[wrong[0]]!r}, which is no "
            "number; write numbers with a point, and leave the cell empty where a value is "
            "undefined."
        )
    wrong = np.flatnonzero(np.isinf(numbers))
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
        outside = (numbers < low) | (numbers > high + 1e-6)
    wrong = np.flatnonzero(outside)
    if len(wrong):
        value, name = numbers[wrong[0]], metric.iloc[wrong[0]]
        remedy = "; divide percentages by 100" if facts[name].high == 1 and value > 1 else ""
        raise DataError(
            f"{places[wrong[0]]}: column 'value' holds {value:g}, but "
            f"{name} lies {facts[name].limits}{remedy}."
        )
    return numbers


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
