"""What tables of measured rates share, and the document that holds them between two marks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kitsbench.errors import UsageError
from kitsbench.statistics.calibration.situation import Band, Measured, R

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def read_document(path: Path) -> tuple[str, str]:
    """Read what stands before and after the tables of a document.

    Parameters
    ----------
    path : path
        A text file with :data:`BEGIN` and :data:`END`, each once.

    Raises
    ------
    UsageError
        There is no such file, or it lacks the marks.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(
            f"{path} is no document with the lines '{BEGIN}' and '{END}'; the tables are written "
            "between them. Add both, or print the tables with --markdown."
        )
    head, _, rest = text.partition(BEGIN)
    return head, rest.partition(END)[2]


def write_into(path: Path, tables: str) -> None:
    """Replace what stands between the two marks of a document by tables.

    Parameters
    ----------
    path : path
        As for :func:`read_document`, whose errors it raises.
    tables : str
        In Markdown.
    """
    head, tail = read_document(path)
    path.write_text(f"{head}{BEGIN}\n\n{tables}\n\n{END}{tail}", encoding="utf-8")


def percent(rate: Measured) -> str:
    """Write a rate with its interval."""
    return f"{100 * rate.rate:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def mark(rate: Measured) -> str:
    """Mark a rate that lies outside its band, or only within its interval of it."""
    return "" if rate.inside is not False else " ≈" if rate.passed else " ✗"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Lay out a table whose first columns are words and whose others are numbers."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "---|" * words + "---:|" * (len(head) - words))
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def summary(cells: Sequence[R], bands: Mapping[str, Band], where: Callable[[R], str]) -> str:
    """Write for each band how many cells keep it, and the worst of them.

    Parameters
    ----------
    cells : sequence of Rates
    bands : mapping of str to Band
    where : callable
        Names the situation of a cell.
    """
    rows = []
    for name, (least, most) in bands.items():
        judged = [c for c in cells if name in c.rates and c.rates[name].passed is not None]
        if not judged:
            continue
        rates = [cell.rates[name] for cell in judged]
        worst = (max if least is None else min)(judged, key=lambda c: c.rates[name].rate)
        rows.append(
            [
                name,
                where(worst),
                f"≤ {100 * (most or 0):g}" if least is None else f"≥ {100 * least:g}",
                str(len(rates)),
                str(sum(rate.inside is True for rate in rates)),
                str(sum(rate.inside is False and rate.passed is True for rate in rates)),
                str(sum(rate.passed is False for rate in rates)),
                percent(worst.rates[name]),
            ]
        )
    head = ["what", "worst cell", "band (%)", "cells", "inside", "≈", "✗", "worst"]
    return "**What must hold, in all cells** (%)\n\n" + table(head, rows, 2)
