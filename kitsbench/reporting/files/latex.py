r"""Tables of LaTeX that fit a column of a paper, whatever names stand in them.

Needed are the packages booktabs and, for a table of several pages, longtable. No box is scaled:
each table says its size itself (8 pt), is measured before it is written, and breaks the names that
would make it wider than a column of 252 pt, which IEEEtran and elsarticle (5p) have. In the two
columns of LaTeX's own class article, of 200 pt, the numbers alone would be too wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from kitsbench.text import latex, one_line

COLUMN = 252.0
"""Points of a column of a paper that has two."""
PAGE = 345.0
"""Points of a line of LaTeX's own class article at 10 pt, which is narrower than at 11 and 12."""
MOST_LINES = 40
"""Lines of a float; what is longer goes on in another."""
_SIZE, _SKIP = 8.0, 9.6
_SMALL, _SMALL_SKIP = 7.0, 8.4
_SEPARATION = 3.0  # on each side of a column
_NARROWEST = 36.0  # of what a name is broken into

# Widths of Computer Modern Roman at 10 pt, in thousandths of its size. The smaller sizes are wider
# by the factors below (a digit is 500, 531 at 8 pt, 569 at 7 pt), the bold letters by a sixth.
_WIDTHS = {
    **dict.fromkeys('0123456789agnoxyvkp/*$"^~`\\{}', 528),
    **dict.fromkeys("bdhnpqu", 556),
    **dict.fromkeys("ceszr", 445),
    **dict.fromkeys("il.,:;!'|[]", 278),
    **dict.fromkeys("jft()-", 390),
    **dict.fromkeys("m#%", 834),
    **dict.fromkeys("+=−±×<>≈≤≥&@wABCDEFGHKLNOPQRTUVXY", 785),
    **dict.fromkeys("0123456789", 500),
    **dict.fromkeys("IJSZ", 612),
    " ": 334,
    "_": 420,
    "–": 500,
    "W": 1028,
    "M": 917,
}
_OTHER = 1200
_FACTORS = {_SIZE: 1.0625, _SMALL: 1.1385}
_BOLD = 1.18


@dataclass(frozen=True)
class Cell:
    """What stands in a table.

    Attributes
    ----------
    text : str
        Plain text.
    bold : bool
    below : str
        A second, smaller line.
    """

    text: str
    bold: bool = False
    below: str = ""

    @property
    def width(self) -> float:
        """Points that it takes in one line."""
        return max(
            width_of(self.text) * (_BOLD if self.bold else 1), width_of(self.below, small=True)
        )


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Attributes
    ----------
    name : str
        Of its file, without the ending, and of its label: ``tab-ranking`` is ``tab:ranking``.
    caption : str
    head : list of str
        Of the columns.
    rows : list of list of Cell
    text_columns : tuple of int
        Columns of names, which may be broken; the others are numbers and marks.
    long : bool
        Whether it may take several pages, which needs longtable and a page of one column.
    """

    name: str
    caption: str
    head: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    text_columns: tuple[int, ...] = (0,)
    long: bool = False

    @property
    def label(self) -> str:
        r"""Key for ``\ref``."""
        return self.name.replace("-", ":", 1)

    @property
    def fixed(self) -> float:
        """Points of the columns that are not broken, and of the room between all."""
        widths = self._natural()
        kept = sum(width for at, width in enumerate(widths) if at not in self.text_columns)
        return kept + 2 * _SEPARATION * (len(widths) - 1)

    def columns(self) -> list[float | None]:
        """Points of each column that is broken, None of the others."""
        room = (PAGE if self.long else COLUMN) - self.fixed
        natural = {at: width for at, width in enumerate(self._natural()) if at in self.text_columns}
        found: dict[int, float] = {}
        # Whoever needs less than a fair share keeps what it needs; the others share the rest.
        for at, width in sorted(natural.items(), key=lambda pair: pair[1]):
            fair = (room - sum(found.values())) / (len(natural) - len(found))
            found[at] = max(min(width, fair), _NARROWEST)
        return [
            round(found[at], 1) if at in found and found[at] < natural[at] else None
            for at in range(len(self.head))
        ]

    def _natural(self) -> list[float]:
        return [
            max([width_of(head), *(row[at].width for row in self.rows)])
            for at, head in enumerate(self.head)
        ]

    def latex(self) -> str:
        """The table as LaTeX."""
        return self._long() if self.long else self._floats()

    def _floats(self) -> str:
        widths = self.columns()
        parts: list[list[list[Cell]]] = [[]]
        lines = 0
        for row in self.rows:
            own = _lines(row, widths)
            if parts[-1] and lines + own > MOST_LINES:
                parts.append([])
                lines = 0
            parts[-1].append(row)
            lines += own
        return "\n".join(self._float(part, widths, at) for at, part in enumerate(parts))

    def _float(self, rows: list[list[Cell]], widths: list[float | None], part: int) -> str:
        again = r"\addtocounter{table}{-1}" if part else ""
        caption = (
            f"{self.caption.split('. ')[0].rstrip('.')} (continued)." if part else self.caption
        )
        return "\n".join(
            [
                r"\begin{table}[tbp]",
                rf"  {again}\caption{{{latex(caption)}}}",
                *([] if part else [rf"  \label{{{self.label}}}"]),
                rf"  \centering{_size(_SIZE, _SKIP)}\setlength{{\tabcolsep}}{{{_SEPARATION:g}pt}}",
                rf"  \begin{{tabular}}{{@{{}}{self._preamble(widths)}@{{}}}}",
                r"    \toprule",
                f"    {self._heads()}",
                r"    \midrule",
                *self._body(rows, widths),
                r"    \bottomrule",
                r"  \end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def _long(self) -> str:
        widths, count = self.columns(), len(self.head)
        again = rf"\multicolumn{{{count}}}{{@{{}}l@{{}}}}{{\tablename~\thetable{{}} (continued)}}"
        return "\n".join(
            [
                r"\begingroup",
                rf"{_size(_SIZE, _SKIP)}\setlength{{\tabcolsep}}{{{_SEPARATION:g}pt}}",
                rf"\begin{{longtable}}{{@{{}}{self._preamble(widths)}@{{}}}}",
                rf"  \caption{{{latex(self.caption)}}}\label{{{self.label}}}\tabularnewline",
                r"  \toprule",
                f"  {self._heads()}",
                r"  \midrule",
                r"  \endfirsthead",
                rf"  {again}\tabularnewline",
                r"  \toprule",
                f"  {self._heads()}",
                r"  \midrule",
                r"  \endhead",
                r"  \bottomrule",
                r"  \endfoot",
                *(line[2:] for line in self._body(self.rows, widths)),
                r"\end{longtable}",
                r"\endgroup",
                "",
            ]
        )

    def _preamble(self, widths: list[float | None]) -> str:
        return "".join(
            f"p{{{width:g}pt}}" if width is not None else "l" if at in self.text_columns else "r"
            for at, width in enumerate(widths)
        )

    def _heads(self) -> str:
        return " & ".join(map(latex, self.head)) + r" \tabularnewline"

    def _body(self, rows: list[list[Cell]], widths: list[float | None]) -> list[str]:
        lines = []
        for row in rows:
            cells = [_set(cell, width) for cell, width in zip(row, widths, strict=True)]
            lines.append(f"    {' & '.join(cells)}" + r" \tabularnewline")
            if any(cell.below for cell in row):
                below = [
                    rf"{_size(_SMALL, _SMALL_SKIP)}{latex(cell.below)}" if cell.below else ""
                    for cell in row
                ]
                lines.append(f"    {' & '.join(below)}" + r" \tabularnewline")
        return lines


def width_of(text: str, small: bool = False) -> float:
    """Points of a text in Computer Modern at the size of the tables; never too few."""
    factor = _SMALL * _FACTORS[_SMALL] if small else _SIZE * _FACTORS[_SIZE]
    return sum(map(_letter, one_line(text))) * factor / 1000


def _letter(letter: str) -> int:
    if letter in _WIDTHS:
        return _WIDTHS[letter]
    shown = latex(letter)
    # What pdflatex refuses is written out, in letters and digits after a backslash.
    return _WIDTHS["a"] * len(shown) if shown.startswith(latex("\\")) else _OTHER


def _set(cell: Cell, width: float | None) -> str:
    text = latex(cell.text) if width is None else _breakable(cell.text, width)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    return text if width is None else rf"\raggedright {text}"


def _breakable(text: str, width: float) -> str:
    """A name that may be broken after each mark, and elsewhere only where it would not fit."""
    line = one_line(text)
    pieces, piece = [], ""
    for letter in line:
        if piece and width_of(piece + letter) * _BOLD > width:
            pieces.append(piece)
            piece = ""
        piece += letter
        if not letter.isalnum() and not letter.isspace():
            pieces.append(piece)
            piece = ""
    return r"\allowbreak{}".join(latex(one) for one in [*pieces, piece] if one)


def _lines(row: Sequence[Cell], widths: Sequence[float | None]) -> int:
    most = max(
        1 if width is None else math.ceil(1.2 * cell.width / width)
        for cell, width in zip(row, widths, strict=True)
    )
    return most + any(cell.below for cell in row)


def _size(size: float, skip: float) -> str:
    return rf"\fontsize{{{size:g}}}{{{skip:g}}}\selectfont"
