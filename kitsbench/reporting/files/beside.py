"""All files beside the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kitsbench.files import write_json, write_text
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.drawing.figures import Picture
from kitsbench.reporting.files.data import write_tables
from kitsbench.reporting.files.document import (
    SCHEMA,
    comparison_document,
    report_document,
    schema_text,
)
from kitsbench.reporting.files.figures import write_figures
from kitsbench.reporting.files.paper_tables import ALONE, inputs, paper_tables
from kitsbench.reporting.first_screen.screen import FirstScreen

FIGURES = "figures"
STALE = (FIGURES, "tab-*.tex")
"""Of an older report none of these may stay: they may be of what is no longer in it."""


def write_beside(
    analysis: Analysis, first: FirstScreen, drawn: Sequence[Picture], folder: Path
) -> None:
    """Write figures, LaTeX, tables and JSON.

    Parameters
    ----------
    analysis : Analysis
    first : FirstScreen
        Of the page.
    drawn : sequence of Picture
        Every figure of the page.
    folder : Path
    """
    write_figures(drawn, folder / FIGURES)
    write_tables(analysis, folder)
    write_json(folder / "comparison.json", comparison_document(analysis))
    write_json(folder / "report.json", report_document(analysis, first))
    write_text(folder / SCHEMA, schema_text())
    tables = paper_tables(analysis)
    for table in tables:
        write_text(folder / f"{table.name}.tex", table.latex())
    write_text(folder / "tables.tex", inputs(tables))
    write_text(folder / "tables-alone.tex", ALONE)
