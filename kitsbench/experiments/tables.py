"""The tables of a trial: scores of its held-out cases, and what was recorded while it trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.records import TRIAL_AGAIN
from kitsbench.files import write_atomic
from kitsbench.files.foreign import brief

# Columns and what they hold.
SCORES = {
    "protocol": "str",
    "case": "str",
    "region": "str",
    "metric": "str",
    "value": "float64",
    "status": "str",
}
CURVE = {
    "step": "int64",
    "fraction": "float64",
    "device_seconds": "float64",
    "kind": "str",
    "name": "str",
    "value": "float64",
}


def write_table(path: Path, table: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Write a Parquet table, whole or not at all, with exactly these columns and types."""
    typed = table.reindex(columns=list(columns)).astype(dict(columns))
    write_atomic(path, lambda temporary: typed.to_parquet(temporary, index=False))


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a Parquet table and check its columns.

    Raises
    ------
    DataError
        It is missing or damaged, or a column is missing, unknown or of another type.
    """
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises several unrelated classes for a damaged file
        why = brief(error, 200).rstrip(" .")
        raise DataError(f"{path} cannot be read as a table: {why}.\n{TRIAL_AGAIN}") from error
    for name in [*columns, *table.columns]:
        if name not in table:
            raise DataError(f"{path}: the column {name} is missing.\n{TRIAL_AGAIN}")
        if name not in columns:
            raise DataError(f"{path}: the column {name} is not known.\n{TRIAL_AGAIN}")
        found, text = table[name], columns[name] == "str"
        # Categories count as text to pandas, and grouping by them makes rows that nobody wrote.
        words = pd.api.types.is_string_dtype(found) and found.dtype != "category"
        fits = words if text else found.dtype == columns[name]
        if not fits or (text and found.isna().any()):
            raise DataError(
                f"{path}: the column {name} is of type {found.dtype}; it must hold "
                f"{'text' if text else columns[name]}.\n{TRIAL_AGAIN}"
            )
    return table
