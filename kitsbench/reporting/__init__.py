"""Scores, ledgers and verdicts as pages, tables and figures.

In: a working directory with trials that have ended. Out: a report in HTML, Markdown, LaTeX and CSV,
and the table that the terminal shows.
"""

from kitsbench.reporting.build import build_report
from kitsbench.reporting.terminal import terminal_table

__all__ = ["build_report", "terminal_table"]
