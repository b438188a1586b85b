"""The ranking and its verdicts as a terminal shows them at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.style import Style
from rich.table import Table
from rich.text import Text

from kitsbench.experiments.results import Results
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis, analyse
from kitsbench.reporting.answer import answer
from kitsbench.reporting.scores import interval_of_mean
from kitsbench.text import one_line
from kitsbench.text.screen import Column, make_table
from kitsbench.text.screen import words as shown

_MOST_SENTENCES = 6


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
    parts: list[Any] = [_table(analysis)] if analysis.scored else []
    parts += [shown(sentence) for sentence in answer(analysis)]
    telling = [
        pair["sentence"]
        for pair in analysis.pairs
        if pair["better"] is not None or pair["verdict"] == "equivalent"
    ]
    if telling:
        parts.append(shown(""))
        parts += [shown(f"• {sentence}") for sentence in telling[:_MOST_SENTENCES]]
        if len(telling) > _MOST_SENTENCES:
            parts.append(shown(f"… and {len(telling) - _MOST_SENTENCES} more in the report."))
    if report is not None:
        # A link stays one where a narrow terminal breaks the path into lines.
        link = Style(link=Path(report).resolve().as_uri())
        line = Text.assemble((shown(f"Report: {report}").plain, link), overflow="fold")
        parts += [shown(""), line]
    return Group(*parts)


def _with(analysis: Analysis, comparison: dict[str, Any] | None) -> Analysis:
    if comparison is None:
        return analysis
    plain = comparison if isinstance(comparison, dict) else comparison.to_dict()
    return Analysis(**{**analysis.__dict__, "comparison": plain})


def _summary(analysis: Analysis, name: str) -> dict[str, Any]:
    return analysis.row(analysis.protocol, name, analysis.region, analysis.metric)


def _table(analysis: Analysis) -> Table:
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    columns = [
        Column("Rank", "right"),
        Column("Architecture"),
        Column("Group"),
        Column(one_line(f"Mean {endpoint}"), "right"),
        Column("95 % CI", "right", whole=True),
        Column("Steps", "right"),
        Column("Failed", "right"),
    ]
    rows = []
    ranked = {str(row["architecture"]): row for row in analysis.ranking}
    for name in analysis.scored:
        row = ranked.get(name, {})
        # Ranked means are over the folds that all share, which may be fewer than the summary's.
        mean = {**row, "metric": analysis.metric} if row else _summary(analysis, name)
        own = [trial for trial in analysis.results.trials if trial.name == name]
        steps = [t.ledger.steps for t in own if t.state == "finished" and t.ledger is not None]
        rows.append(
            (
                f"{row['rank']:g}" if row else words.DASH,
                name,
                row.get("group") or words.DASH,
                words.number(mean.get("mean")),
                interval_of_mean(mean),
                words.big(sum(steps) / len(steps)) if steps else words.DASH,
                sum(trial.state == "failed" for trial in own),
            )
        )
    return make_table(columns, rows)
