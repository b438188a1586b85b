"""A table of text, and how it is written as Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kitsbench.text import markdown

_NUMBER = r"[+\u2212-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?"
_LEADING = re.compile(rf"[\[<≤≥]?\s*({_NUMBER})\s*([A-Za-z]*)")
_WHOLE = re.compile(_NUMBER)
_NONE = ("", "–")
_UNITS = {"ms": 1e-3, "min": 60.0, "h": 3600.0, "days": 86400.0}
_UNITS |= {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_PREFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}


@dataclass(frozen=True)
class Table:
    """Rows of text under a head.

    Attributes
    ----------
    head : list of str
        One word or two for each column.
    rows : list of list of str
        As many cells as the head. A line break in a cell is a second, smaller line.
    caption : str
        One sentence that says what the numbers are.
    text_columns : int
        How many leading columns hold text; the others hold numbers and are set to the right.
    links : dict of str to str
        Where a cell, or the first line of one, leads to: {its text: an address}.
    beneath : int, optional
        The column that a phone shows below the last one for which it has room.
    answers : tuple of int
        Columns that a phone shows beside the name; by default those that come first.
    """

    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    caption: str = ""
    text_columns: int = 1
    links: dict[str, str] = field(default_factory=dict)
    beneath: int | None = None
    answers: tuple[int, ...] = ()

    @property
    def namer(self) -> int:
        """The column whose cells name their rows."""
        return 1 if self.text_columns > 1 and self.head[0] == "Rank" else 0

    @property
    def kept(self) -> int:
        """How many leading columns a phone has room for: the name, and what comes first of it."""
        return min(self.text_columns + 1, 3)

    def later(self, column: int) -> bool:
        """Whether a phone has no room for a column."""
        if self.answers:
            return column > self.namer and column not in self.answers
        return column >= self.kept

    def orders(self) -> list[list[str] | None]:
        """What each column is sorted by: a number for each row, or None for the text itself."""
        return [self._order(column) for column in range(len(self.head))]

    def _order(self, column: int) -> list[str] | None:
        cells = [row[column].split("\n")[0].strip() for row in self.rows]
        known = [cell for cell in cells if cell not in _NONE]
        number = _WHOLE.fullmatch if column < self.text_columns else _LEADING.match
        if not known or not all(map(number, known)):
            return None
        return ["" if cell in _NONE else repr(_value(cell)) for cell in cells]

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        rules = ["---" if i < self.text_columns else "---:" for i in range(len(self.head))]
        head, *rows = ([markdown(cell) for cell in line] for line in [self.head, *self.rows])
        return "\n".join("| " + " | ".join(line) + " |" for line in [head, rules, *rows])


def _value(cell: str) -> float:
    """The number that a cell begins with, in the unit without a prefix."""
    found = _LEADING.match(cell)
    assert found is not None  # only such cells are asked for
    value = float(found[1].replace(",", "").replace("\u2212", "-"))
    word = found[2]
    if word in _UNITS:
        return value * _UNITS[word]
    # Such as G and GFLOP, but not Group.
    return value * _PREFIXES.get(word[:1], 1.0) if not word[1:2].islower() else value
