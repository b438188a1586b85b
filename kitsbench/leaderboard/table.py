"""The per-case scores beside an entry: ``NAME.scores.csv.gz``, equal bytes for equal scores."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.collected import SCORE_COLUMNS
from kitsbench.files import write_atomic
from kitsbench.files.foreign import read_bytes
from kitsbench.leaderboard.schema import TableNote
from kitsbench.text import csv_cell, csv_value

COLUMNS = tuple(SCORE_COLUMNS)
"""Those of a long score table, as ``kitsbench compare`` reads it."""
_ORDER = ["protocol", "region", "metric", "seed", "fold", "case"]
_LIMIT = 256 * 2**20  # bytes of text; KiTS23 with five seeds makes some ten million
_MOST_PACKED = 64 * 2**20


@dataclass(frozen=True)
class ScoreTable:
    """A table as text, and what an entry says of it.

    Attributes
    ----------
    text : bytes
        CSV in UTF-8.
    note : TableNote
    """

    text: bytes
    note: TableNote

    @classmethod
    def of(cls, scores: pd.DataFrame) -> ScoreTable:
        """Put scores into the order and the words of the file."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in scores.sort_values(_ORDER)[list(COLUMNS)].to_dict("records"):
            value = float(row["value"])
            row["value"] = "" if math.isnan(value) else repr(value)
            writer.writerow([csv_cell(row[name]) for name in COLUMNS])
        text = out.getvalue().encode()
        return cls(text, TableNote(rows=len(scores), sha256=hashlib.sha256(text).hexdigest()))

    def compressed(self) -> bytes:
        """As it lies on the disk: without name and time, so that equal tables are equal files."""
        out = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as file:
            file.write(self.text)
        return out.getvalue()

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        OSError
            The disk is full or the folder is not writable.
        """
        content = self.compressed()
        write_atomic(path, lambda temporary: temporary.write_bytes(content))


def table_path(entry_file: Path) -> Path:
    """Where the table of an entry lies. No file says it, so none can name another's."""
    return entry_file.with_name(f"{entry_file.stem}.scores.csv.gz")


def read_table_text(path: Path) -> bytes:
    """Read the text of a table.

    Raises
    ------
    DataError
        It is missing, damaged, a link or no file of bytes, or is larger than any table.
    """
    if path.is_symlink():
        raise DataError(f"{path} is a symbolic link; tables are files of their own.")
    try:
        with gzip.open(io.BytesIO(read_bytes(path, _MOST_PACKED))) as file:
            text = file.read(_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read: {why}.") from error
    if len(text) > _LIMIT:
        raise DataError(f"{path} holds more than {_LIMIT // 2**20} MiB of text.")
    return text


def parse_table(text: bytes, path: Path) -> pd.DataFrame:
    """Make a table of its text; what the cells may be is the statistics' business.

    Raises
    ------
    DataError
        It is no CSV with :data:`COLUMNS`.
    """
    try:
        rows = list(csv.reader(io.StringIO(text.decode("utf-8"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is no CSV in UTF-8: {error}.") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise DataError(f"{path} must have the columns {', '.join(COLUMNS)}.")
    wrong = next((n for n, row in enumerate(rows[1:], 2) if len(row) != len(COLUMNS)), None)
    if wrong is not None:
        raise DataError(f"{path}, line {wrong} has {len(rows[wrong - 1])} cells of {len(COLUMNS)}.")
    cells = [[csv_value(cell) for cell in row] for row in rows[1:]]
    return pd.DataFrame(cells, columns=list(COLUMNS), dtype=object)
