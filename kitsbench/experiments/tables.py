"""The tables of a trial: scores of its held-out cases, and what was recorded while it trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.records import TRIAL_AGAIN
from kitsbench.files import write_atomic
from kitsbench.files.foreign import brief

if TYPE_CHECKING:
    import pyarrow

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


_TRIAL = b"kitsbench.trial"
"""Among the metadata of a file: whose it is, so that none passes as another's."""
_SCORED_AGAIN = "Delete it and run the same command again: it is scored from what is kept."


def write_table(
    path: Path, table: pd.DataFrame, columns: Mapping[str, str], trial: str | None = None
) -> None:
    """Write a Parquet table, whole or not at all, with exactly these columns and types.

    It says which trial it is of: ``trial``, or else the one whose folder it lies in.
    """
    import pyarrow

    typed = table.reindex(columns=list(columns)).astype(dict(columns))
    made = pyarrow.Table.from_pandas(typed, preserve_index=False)
    metadata = {**(made.schema.metadata or {}), _TRIAL: (trial or path.parent.name).encode()}
    write_atomic(path, partial(_write, made.replace_schema_metadata(metadata)))


def _write(table: pyarrow.Table, path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(table, path)


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a Parquet table and check its columns.

    Raises
    ------
    DataError
        It is missing or damaged, is of another trial or does not say of which, or a column is
        missing, unknown or of another type, or a score is infinite.
    """
    from pyarrow import parquet

    try:
        owner = (parquet.read_schema(path).metadata or {}).get(_TRIAL)
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
    # A loss may have run away; a score is a number, or missing where it means nothing.
    if columns is SCORES and ((number := table["value"].abs().eq(float("inf")).sum()) > 0):
        raise DataError(f"{path}: {number} scores are infinite, which none can be.\n{TRIAL_AGAIN}")
    if owner != path.parent.name.encode():
        whose = "is not said, as by an earlier kitsbench"
        if owner is not None:
            whose = f"is {brief(owner.decode(errors='replace'))}, which is not its folder's name"
        raise DataError(f"{path}: the trial that it is of {whose}.\n{_SCORED_AGAIN}")
    return table
