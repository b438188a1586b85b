"""Tables that fit the terminal: fewer columns where it is narrow, and lines where it is narrower.

rich alone shrinks whichever column may be broken, down to nothing, and that is the one with names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kitsbench.text.media import terminal

_WORD = 20  # a longer word is broken before a column is left out


class FittingTable(Table):
    """A table of words that leaves out its extra columns, or its columns altogether, to fit.

    Parameters
    ----------
    heads : sequence of Text
    rows : sequence of sequences of Text
    justify : sequence of str
    whole, extra : sequence of bool
        Of each column: whether its cells are never broken, and whether it may be left out.
    **options
        Of rich's table.
    """

    def __init__(
        self,
        heads: Sequence[Text],
        rows: Sequence[Sequence[Text]],
        justify: Sequence[Any],
        whole: Sequence[bool],
        extra: Sequence[bool],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._made = (heads, rows, justify, whole, extra, options)
        for head, side, kept in zip(heads, justify, whole, strict=True):
            self.add_column(head, justify=side, no_wrap=kept, overflow="fold")
        for row in rows:
            self.add_row(*row)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render what fits into the width at hand."""
        heads, rows, justify, whole, extra, looks = self._made
        kept = list(range(len(heads)))
        while self._width(kept) > options.max_width and any(extra[i] for i in kept):
            kept.remove(next(i for i in reversed(kept) if extra[i]))
        if self._width(kept) > options.max_width and len(kept) > 1:
            yield from self._lines(options)
            return
        if len(kept) == len(heads):
            yield from super().__rich_console__(console, options)
            return
        yield FittingTable(
            [heads[i] for i in kept],
            [[row[i] for i in kept] for row in rows],
            [justify[i] for i in kept],
            [whole[i] for i in kept],
            [False] * len(kept),
            **looks,
        )
        line = ", ".join(_one_line(heads[i]) for i in range(len(heads)) if i not in kept)
        yield Text(f"A wider terminal also shows: {line}.", style="dim")

    def _width(self, kept: Sequence[int]) -> int:
        """Columns of the terminal without which a cell, or a word of one, would be broken."""
        heads, rows, _, whole, _, _ = self._made
        needed = 0
        for place in kept:
            cells = [heads[place], *(row[place] for row in rows)]
            lines = [line for cell in cells for line in cell.plain.split("\n")]
            if whole[place]:
                needed += max(map(cell_len, lines), default=0)
            else:
                longest = max((cell_len(w) for line in lines for w in line.split()), default=0)
                needed += min(longest, _WORD)
        # Spaces between columns; lines around them where there is a frame.
        return needed + (3 * len(kept) + 1 if self.box else 2 * len(kept) - 1)

    def _lines(self, options: ConsoleOptions) -> RenderResult:
        """A row as its name, and below it what the columns say."""
        heads, rows, justify, _, _, _ = self._made
        if self.title:
            yield self.title if isinstance(self.title, Text) else Text(terminal(self.title))
        name = next((i for i, side in enumerate(justify) if side == "left"), 0)
        for row in rows:
            yield Text(overflow="fold").append_text(row[name])
            told = [
                Text(" ").join([Text(_one_line(heads[i])), row[i]])
                for i in range(len(heads))
                if i != name and row[i].plain
            ]
            if told:
                joined = Text(", ").join(told)
                joined.overflow = "fold"
                yield Padding(joined, (0, 0, 0, 2))


def _one_line(head: Text) -> str:
    """A head that was folded to be narrow, as one reads it: ``load-`` above ``er`` is a word."""
    return " ".join(head.plain.replace("-\n", "").split())
