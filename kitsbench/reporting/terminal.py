"""The answer as a terminal shows it at the end of a run: a sentence, the top rows, what next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from kitsbench.experiments.results import Results
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis, analyse
from kitsbench.reporting.first_screen.answer import undefined
from kitsbench.reporting.first_screen.looked import summary
from kitsbench.reporting.first_screen.screen import first_screen
from kitsbench.reporting.first_screen.standing import Place, Standing
from kitsbench.reporting.scores import interval_of_mean
from kitsbench.text.screen import Column, make_table
from kitsbench.text.screen import words as shown

MOST_ROWS = 12
"""Rows that are all shown; of more, the first ten."""
_TOP = 10


def terminal_table(
    results: Results,
    comparison: dict[str, Any] | None = None,
    report: Path | None = None,
    analysis: Analysis | None = None,
) -> Group:
    """Build what ``kitsbench run`` prints at the end.

    Parameters
    ----------
    results : Results
        The experiment.
    comparison : dict, optional
        The statistics as JSON of ``compare``, where they are at hand; else they are computed.
    report : Path, optional
        Page to point at.
    analysis : Analysis, optional
        All that the statistics say, where it is at hand.

    Returns
    -------
    rich.console.Group
        A table and lines, to be printed by a :class:`rich.console.Console`.
    """
    analysis = _with(analysis or analyse(results), comparison)
    first = first_screen(analysis)
    parts: list[Any] = [shown(first.headline, "bold"), shown("")]
    if first.standing is not None:
        parts += [*_rows(analysis, first.standing), shown("")]
    remarks = [*first.remarks, undefined(analysis), *summary(results)]
    parts += [shown(remark) for remark in remarks if remark]
    if first.steps:
        parts += [shown(""), shown("For a stronger statement:")]
    for step in first.steps:
        time = f" ({step.time})" if step.time else ""
        # A command stands in a line of its own, where it can be copied.
        parts += [shown(f"- {step.purpose}{time}:"), _indented(step.command)]
    if report is not None:
        # A link stays one where a narrow terminal breaks the path into lines.
        link = Style(link=Path(report).resolve().as_uri())
        line = Text.assemble((shown(f"Report: {report}").plain, link), overflow="fold")
        parts += [shown(""), line]
    return Group(*parts)


def _indented(command: str) -> Padding:
    return Padding(shown(command), (0, 0, 0, 4), expand=False)


def _with(analysis: Analysis, comparison: dict[str, Any] | None) -> Analysis:
    if comparison is None:
        return analysis
    plain = comparison if isinstance(comparison, dict) else comparison.to_dict()
    return replace(analysis, comparison=plain)


def _rows(analysis: Analysis, standing: Standing) -> list[Any]:
    """The first rows of the ranking, and how many more there are."""
    every = len(standing.places) + standing.left_out
    places = standing.places if every <= MOST_ROWS else standing.places[:_TOP]
    parts: list[Any] = [_table(analysis, standing, places)]
    if every > len(places):
        parts.append(shown(f"... and {every - len(places)} more in the report."))
    return parts


def _table(analysis: Analysis, standing: Standing, places: list[Place]) -> Table:
    rows = {str(row["architecture"]): row for row in analysis.ranking}
    groups = any(row.get("group") for row in analysis.ranking)
    columns = [
        *[Column("#", "right", whole=True)] * bool(rows),
        Column("Architecture"),
        *[Column("Group", whole=True)] * groups,
        Column(f"Mean {standing.endpoint}", "right"),
        Column("95 % interval", whole=True),
        *[Column("")] * any(_note(place) for place in places),
    ]
    lines = []
    for place in places:
        row = rows.get(place.name) or analysis.row(
            analysis.protocol, place.name, analysis.region, analysis.metric
        )
        cells = [f"{row['rank']:g}"] if rows else []
        cells.append(place.name)
        cells += [str(row.get("group") or words.DASH)] * groups
        cells.append(words.number(place.mean))
        cells.append(interval_of_mean({**row, "metric": analysis.metric}))
        cells += [_note(place)] * (len(columns) - len(cells))
        lines.append(cells)
    return make_table(columns, lines, frame=False)


def _note(place: Place) -> str:
    """What is remarkable about a row, in a few words."""
    return ", ".join(filter(None, [place.remark, "rising" * place.rising]))
