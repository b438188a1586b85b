"""The tables of a report for spreadsheets and programs: the same as CSV and as Parquet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from kitsbench.experiments.results import Results
from kitsbench.files import canonical_json, write_atomic, write_text
from kitsbench.reporting.analysis import Analysis
from kitsbench.text import csv_table

_PAIR_COLUMNS = ["a", "b", "region", "metric", "difference", "ci_low", "ci_high", "p_value"]


def tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Every table by its name.

    Returns
    -------
    dict of str to DataFrame
        ``scores``, a row a trial, protocol, case, region and metric; ``summary``, a row an
        architecture, protocol, region and metric; ``pairs``; ``ledger``, a row a trial.
    """
    pairs = pd.DataFrame([*analysis.pairs, *analysis.secondary])
    if pairs.empty:
        pairs = pd.DataFrame(columns=_PAIR_COLUMNS)
    summary = analysis.summary
    if summary.empty:
        summary = pd.DataFrame(columns=["protocol", "architecture", "region", "metric", "mean"])
    first = [c for c in ("protocol", "architecture") if c in summary]
    return {
        "scores": _scores(analysis.results),
        "summary": summary[[*first, *(c for c in summary.columns if c not in first)]],
        "pairs": pairs,
        "ledger": analysis.results.ledger,
    }


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Write every table as ``NAME.csv`` and ``NAME.parquet``."""
    for name, table in tables(analysis).items():
        write_text(folder / f"{name}.csv", csv_table(table))
        write_atomic(folder / f"{name}.parquet", partial(_parquet, table))


def _scores(results: Results) -> pd.DataFrame:
    """Scores, each with the trial that it is of."""
    ids = {(trial.name, trial.fold, trial.seed): trial.id for trial in results.trials}
    table = results.marked
    places = zip(table["architecture"], table["fold"], table["seed"], strict=True)
    return table.assign(trial=[ids.get(place, "") for place in places])


def _parquet(table: pd.DataFrame, file: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {str(name): _column(column) for name, column in table.items()}
    # Without what pandas would say of itself: equal tables give equal bytes.
    parquet.write_table(pyarrow.table(columns), file)


def _column(column: pd.Series) -> Any:
    """A column of one type: what is nested is JSON, and what is missing is null."""
    import pyarrow

    if column.dtype.kind in "biuf":
        return pyarrow.Array.from_pandas(column)
    values = [None if _missing(value) else value for value in column.tolist()]
    known = {type(value) for value in values if value is not None}
    if known <= {bool}:
        return pyarrow.array(values, type=pyarrow.bool_() if known else pyarrow.string())
    if known <= {int}:
        return pyarrow.array(values, type=pyarrow.int64())
    if known <= {int, float}:
        return pyarrow.array([v if v is None else float(v) for v in values], pyarrow.float64())
    texts = [v if v is None or isinstance(v, str) else canonical_json(v) for v in values]
    whole = [v if v is None else v.encode("utf-8", "backslashreplace").decode() for v in texts]
    return pyarrow.array(whole, type=pyarrow.string())


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
