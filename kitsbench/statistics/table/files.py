"""Tables from files: every cell as it stands there, with the line it stands on."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, TextIO

import pandas as pd

from kitsbench.errors import DataError, KitsbenchError
from kitsbench.files.foreign import brief
from kitsbench.text import csv_value

MISSING = ("", "nan", "na", "n/a", "none", "null")
"""What stands in a cell, in small letters, that holds nothing."""

_SEPARATORS = ",;\t"
_MOST = 256 * 2**20  # bytes of a compressed table: a small file may hold a disk full


def read_text_table(file: Path, what: str) -> pd.DataFrame:
    """Read a CSV file with all cells as text, or a Parquet file.

    Parameters
    ----------
    file : Path
        Commas, semicolons or tabs, UTF-8 with or without a byte-order mark, any line ends;
        ``.parquet`` is Parquet, ``.gz`` compressed CSV. Blank lines at the end are no rows.
    what : str
        What it should be, for the messages.

    Returns
    -------
    DataFrame
        Of a CSV file, the index holds the line of each row, the header's line being 1; columns
        without a name are left out. Of a Parquet file, its rows are counted from 1.

    Raises
    ------
    DataError
        There is no such file, it cannot be read, it is empty, a name stands twice in its header,
        a line in it is blank, or a line has another number of cells than the header.
    """
    if file.is_dir():
        inside = file / "report" / "scores.csv"
        hint = inside if inside.is_file() else "the CSV or Parquet file in it"
        raise DataError(f"{file} is a folder; give {what}, such as {hint}.")
    if not file.is_file():
        raise DataError(f"There is no file {file}; give {what} (CSV or Parquet).")
    try:
        if file.stat().st_size == 0:
            _refuse_empty(file, what)
        return _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file, what)
    except KitsbenchError:
        raise
    except Exception as error:  # pyarrow raises several unrelated classes for a damaged file
        reason = brief((str(error).strip().splitlines() or [type(error).__name__])[-1], 200)
        raise DataError(
            f"{file} cannot be read as {what} ({reason}); it must be CSV in UTF-8 or Parquet."
        ) from error


def as_text(column: pd.Series) -> pd.Series:
    """Cells as text without spaces around it; a cell that holds nothing is empty text."""
    return column.astype(object).where(column.notna(), "").map(lambda value: str(value).strip())


def _refuse_empty(file: Path, what: str) -> NoReturn:
    raise DataError(
        f"{file} is empty; {what} has a header that names its columns, and a line for each row.\n"
        "Was the program that wrote it stopped, or the disk full? Write the file again."
    )


def _parquet(file: Path) -> pd.DataFrame:
    table = pd.read_parquet(file)
    for name in table.columns:
        if pd.api.types.is_string_dtype(table[name]):
            # Text is decoded only when somebody asks for it, and bytes that are none fail there.
            table[name] = table[name].astype(object)
    if any(name is not None for name in table.index.names):
        table = table.reset_index()  # a column that was made the index before writing
    return table.set_axis(range(1, len(table) + 1), axis=0)


def _csv(file: Path, what: str) -> pd.DataFrame:
    # Everything is read as text: a case "00012" must stay that, and a message about a wrong value
    # must show what the file holds. pandas would rename a doubled column, take a blank line for
    # a row of nothing and cut a line that is too long, without a word.
    with _opened(file) as handle:
        first = next((line for line in handle if line.strip()), None)
        if first is None:
            _refuse_empty(file, what)
        handle.seek(0)
        separator = max(_SEPARATORS, key=first.count)
        lines = _lines(csv.reader(handle, delimiter=separator), file)
        _, header = next(lines)
        names = [name.strip() for name in header]
        for name in names:
            if name and names.count(name) > 1:
                raise DataError(f"{file} has the column '{name}' twice; keep one.")
        columns: list[list[str]] = [[] for _ in names]
        numbers: list[int] = []
        known: dict[str, str] = {}  # names come in thousands of rows: one text for all
        for number, cells in lines:
            if len(cells) != len(names):
                cells = _fitted(cells, len(names), file, number)
            numbers.append(number)
            for column, cell in zip(columns, cells, strict=True):
                column.append(known.setdefault(cell, cell))
    named = {
        csv_value(name): list(map(csv_value, column))
        for name, column in zip(names, columns, strict=True)
        if name
    }
    return pd.DataFrame(named, index=pd.Index(numbers, dtype=int), dtype=object)


def _opened(file: Path) -> TextIO:
    """The text of a CSV file, which may be compressed, as the tables of leaderboards are."""
    if file.suffix.lower() != ".gz":
        return open(file, encoding="utf-8-sig", newline="")
    with gzip.open(file) as packed:
        content = packed.read(_MOST + 1)
    if len(content) > _MOST:
        raise DataError(
            f"{file} holds more than {_MOST // 2**20} MiB of text. Unpack it, and name that file."
        )
    return io.StringIO(content.decode("utf-8-sig"), newline="")


def _lines(reader: Iterator[list[str]], file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the line they begin on; blank ones at either end are none."""
    blank = begun = 0
    for number, cells in _numbered(reader):
        if not any(cell.strip() for cell in cells):
            blank = blank or number
            continue
        if blank and begun:
            raise DataError(
                f"{file}, line {blank} is blank, but more follows; remove it, or complete the "
                "file, if it was cut there."
            )
        blank, begun = 0, 1
        yield number, cells


def _numbered(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    first = 1
    for cells in reader:
        yield first, cells
        first = reader.line_num + 1  # type: ignore[attr-defined]  # a cell may hold line ends


def _fitted(cells: list[str], width: int, file: Path, number: int) -> list[str]:
    """Leave out empty cells behind the last column; refuse a line of another length."""
    if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
        return cells[:width]
    remedy = (
        "write numbers with a point, and text that holds a separator in quotes"
        if len(cells) > width
        else "was the file cut off there?"
    )
    raise DataError(
        f"{file}, line {number} has {len(cells)} cells, but the header {width}; {remedy}"
        f"{'.' * (not remedy.endswith('?'))}"
    )
