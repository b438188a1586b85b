"""What a terminal shows through rich: foreign text as text, never as a style.

rich is imported when something is made, so that ``--help`` stays instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kitsbench.text.media import terminal

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
        Head; a line break in it begins another line.
    justify : str
        Numbers stand to the right.
    whole : bool
        Whether its cells are never broken into lines.
    extra : bool
        Whether it may be left out where the terminal is too narrow for all columns.
    """

    name: str
    justify: Literal["left", "right"] = "left"
    whole: bool = False
    extra: bool = False


def words(text: object, style: str = "") -> Text:
    """A line in which nothing is a style, a link or a control of the terminal.

    Parameters
    ----------
    text : object
        Shown as :func:`kitsbench.text.terminal` gives it.
    style : str
        Of the whole line, such as ``red``; never foreign.
    """
    from rich.text import Text

    return Text(terminal(text), style=style)


def make_table(
    columns: Sequence[str | Column],
    rows: Iterable[Sequence[object]],
    title: str = "",
    frame: bool = True,
) -> Table:
    """A table whose title, heads and cells are shown as they are.

    Where the terminal is too narrow it leaves out its extra columns, and then writes rows as lines.

    Parameters
    ----------
    columns : sequence of str or Column
    rows : iterable of sequences
        As many cells as columns; what :func:`words` made keeps its style, anything else is shown
        as ``str`` gives it.
    title : str
        Above it, to the left.
    frame : bool
        Whether lines are drawn around the cells.
    """
    from rich.box import HEAVY_HEAD
    from rich.text import Text

    from kitsbench.text.fitting import FittingTable

    made = [Column(column) if isinstance(column, str) else column for column in columns]
    return FittingTable(
        [Text("\n").join(words(line) for line in column.name.split("\n")) for column in made],
        [[cell if isinstance(cell, Text) else words(cell) for cell in row] for row in rows],
        [column.justify for column in made],
        [column.whole for column in made],
        [column.extra for column in made],
        title=words(title) if title else None,
        title_justify="left",
        box=HEAVY_HEAD if frame else None,
        pad_edge=frame,
    )
