"""Cells of a score table as text, whole numbers and numbers, or an error that names the row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kitsbench.errors import DataError
from kitsbench.statistics.table.files import as_text

_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")  # Python refuses to read thousands of digits
_EXACT = 2**53  # a float holds every whole number below, and not every one above
_LARGEST = 2**63

_NUMBERS = (int, float, np.integer, np.floating, Decimal)
_BOOLEANS = (bool, np.bool_)


def texts(column: pd.Series, name: str, places: Sequence[str], needed: bool) -> pd.Series:
    """Read names.

    Parameters
    ----------
    column : Series
        Text; numbers are written as text, since cases may be called 1, 2, 3.
    name : str
        Of the column.
    places : sequence of str
        Where each row stands, for the messages.
    needed : bool
        Whether a cell must hold something.

    Raises
    ------
    DataError
        A cell holds bytes, a list, a date or a truth value, or nothing though it must.
    """
    text = as_text(column)
    if not isinstance(column.dtype, pd.StringDtype) and not {*map(type, column)} <= {str}:
        held = column.astype(object).to_numpy()
        for row in np.flatnonzero(column.notna().to_numpy()).tolist():
            value = held[row]
            if isinstance(value, _BOOLEANS) or not isinstance(value, (str, *_NUMBERS)):
                raise DataError(
                    f"{places[row]}: column '{name}' holds {value!r} ({type(value).__name__}); "
                    "names must be text."
                )
            if isinstance(value, (float, np.floating)) and float(value).is_integer():
                # pandas turns whole numbers into floats where one is missing.
                text.iloc[row] = str(int(value))
    if needed:
        empty = np.flatnonzero((text == "").to_numpy())
        if len(empty):
            raise DataError(f"{places[empty[0]]}: column '{name}' is empty; every row needs it.")
    return text


def whole_numbers(column: pd.Series, name: str, places: Sequence[str]) -> NDArray[np.int64]:
    """Read folds or seeds, exactly.

    Parameters
    ----------
    column : Series
        Whole numbers, or text that says one.
    name : str
        Of the column.
    places : sequence of str
        Where each row stands.

    Raises
    ------
    DataError
        A cell holds something else, or a number that 64 bits do not hold.
    """
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "i":
        return column.to_numpy(dtype=np.int64)
    held = column.astype(object).to_numpy()
    read: dict[tuple[type, Any], int | str] = {}
    numbers = np.zeros(len(held), dtype=np.int64)
    for row, value in enumerate(held):
        kind = type(value)
        # True equals 1, and 1 equals 1.0, but they are not the same cell.
        key = (kind, value) if kind in (str, int, float, bool) else (kind, str(value))
        if key not in read:
            read[key] = _whole(value)
        number = read[key]
        if isinstance(number, str):
            raise DataError(
                f"{places[row]}: column '{name}' holds {shown(value)}; a {name} {number}."
            )
        numbers[row] = number
    return numbers


def _whole(value: Any) -> int | str:
    """Return the number of a cell, or the rule that it breaks."""
    rule = "is a whole number such as 0"
    if isinstance(value, str):
        text = value.strip()
        if _WHOLE.fullmatch(text):
            value = int(text)
        else:
            try:
                value = float("nan" if "_" in text else text)
            except ValueError:
                return rule
    if isinstance(value, _BOOLEANS) or not isinstance(value, _NUMBERS):
        return rule
    if not isinstance(value, (int, np.integer)):
        if not float(value).is_integer():
            return rule
        if abs(float(value)) >= _EXACT:
            return f"{rule}, and beyond 2^53 one with a point or an exponent is not exact"
    number = int(value)
    return number if -_LARGEST <= number < _LARGEST else "must lie below 2^63"


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """Return floats; NaN where a cell holds no number, be it nothing or something else."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))
    cleaned = column.astype(object).map(_cell)
    return np.asarray(pd.to_numeric(cleaned, errors="coerce"), dtype=float)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip()
    known = isinstance(value, _NUMBERS) and not isinstance(value, _BOOLEANS)
    return float(value) if known else None  # a date would pass as its nanoseconds


def shown(value: Any) -> str:
    """Say a cell as a message does: short, and a number of numpy as the number."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else text[:57] + "..."
