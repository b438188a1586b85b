"""Scores, ledgers and verdicts as pages, tables and figures."""

from kitsbench.reporting.build import build_report
from kitsbench.reporting.terminal import terminal_table

__all__ = ["build_report", "terminal_table"]
