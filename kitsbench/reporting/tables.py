"""A table of text, and how it is written as Markdown and as LaTeX."""

from __future__ import annotations

from dataclasses import dataclass, field

from kitsbench.text import latex, markdown


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
    """

    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    caption: str = ""
    text_columns: int = 1

    def markdown(self) -> str:
        """The table in GitHub's Markdown."""
        rules = ["---" if i < self.text_columns else "---:" for i in range(len(self.head))]
        head, *rows = ([markdown(cell) for cell in line] for line in [self.head, *self.rows])
        return "\n".join("| " + " | ".join(line) + " |" for line in [head, rules, *rows])

    def latex(self, label: str) -> str:
        r"""The table as LaTeX, for the package booktabs.

        Parameters
        ----------
        label : str
            Key for ``\\ref``.
        """
        columns = "l" * self.text_columns + "r" * (len(self.head) - self.text_columns)
        body = [" & ".join(latex(cell) for cell in row) + r" \\" for row in self.rows]
        lines = [
            r"\begin{table}",
            rf"  \caption{{{latex(self.caption)}}}",
            rf"  \label{{{label}}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            "    " + " & ".join(latex(cell) for cell in self.head) + r" \\",
            r"    \midrule",
            *(f"    {line}" for line in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"
