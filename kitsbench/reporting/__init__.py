"""Scores, ledgers and verdicts as pages, tables and figures.

In: working directories with trials that have ended. Out: a report in HTML, Markdown, LaTeX, CSV,
Parquet and JSON, its figures, and the table that the terminal shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kitsbench.reporting.build import build_report
    from kitsbench.reporting.several.pages import build_reports
    from kitsbench.reporting.terminal import terminal_table

__all__ = ["build_report", "build_reports", "terminal_table"]


def __getattr__(name: str) -> Any:
    # Late: who prints a table, or finds a report as it should be, needs nothing that draws.
    if name == "build_report":
        from kitsbench.reporting.build import build_report

        return build_report
    if name == "build_reports":
        from kitsbench.reporting.several.pages import build_reports

        return build_reports
    if name == "terminal_table":
        from kitsbench.reporting.terminal import terminal_table

        return terminal_table
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
