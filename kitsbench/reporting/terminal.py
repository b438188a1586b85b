"""The ranking and its verdicts as a terminal shows them at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text

from kitsbench.experiments.results import Results
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis, analyse
from kitsbench.reporting.answer import answer
from kitsbench.reporting.scores import interval_of_mean

_MOST_SENTENCES = 6


def terminal_table(
    results: Results, comparison: dict[str, Any] | None = None, report: Path | None = None
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

    Returns
    -------
    rich.console.Group
        A table and lines, to be printed by a :class:`rich.console.Console`.
    """
    analysis = _with(analyse(results), comparison)
    parts: list[Any] = [_table(analysis)] if analysis.scored else []
    parts += [Text(sentence) for sentence in answer(analysis)]
    telling = [
        pair["sentence"]
        for pair in analysis.pairs
        if pair["better"] is not None or pair["verdict"] == "equivalent"
    ]
    if telling:
        parts.append(Text(""))
        parts += [Text(f"• {sentence}") for sentence in telling[:_MOST_SENTENCES]]
        if len(telling) > _MOST_SENTENCES:
            parts.append(Text(f"… and {len(telling) - _MOST_SENTENCES} more in the report."))
    if report is not None:
        # A link stays one where a narrow terminal breaks the path into lines.
        link = Style(link=Path(report).resolve().as_uri())
        parts += [Text(""), Text(f"Report: {report}", style=link, overflow="fold")]
    return Group(*parts)


def _with(analysis: Analysis, comparison: dict[str, Any] | None) -> Analysis:
    if comparison is None:
        return analysis
    plain = comparison if isinstance(comparison, dict) else comparison.to_dict()
    return Analysis(**{**analysis.__dict__, "comparison": plain})


def _summary(analysis: Analysis, name: str) -> dict[str, Any]:
    return analysis.row(analysis.protocol, name, analysis.region, analysis.metric)


def _table(analysis: Analysis) -> RichTable:
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    table = RichTable(title=None, pad_edge=False)
    table.add_column("Rank", justify="right")
    table.add_column("Architecture", overflow="fold")
    table.add_column("Group")
    table.add_column(f"Mean {endpoint}", justify="right")
    table.add_column("95 % CI", justify="right", no_wrap=True)
    table.add_column("Steps", justify="right")
    table.add_column("Failed", justify="right")
    ranked = {str(row["architecture"]): row for row in analysis.ranking}
    for name in analysis.scored:
        row = ranked.get(name, {})
        # Ranked means are over the folds that all share, which may be fewer than the summary's.
        mean = {**row, "metric": analysis.metric} if row else _summary(analysis, name)
        own = [trial for trial in analysis.results.trials if trial.name == name]
        steps = [t.ledger.steps for t in own if t.state == "finished" and t.ledger is not None]
        table.add_row(
            f"{row['rank']:g}" if row else words.DASH,
            escape(name),
            str(row.get("group") or words.DASH),
            words.number(mean.get("mean")),
            interval_of_mean(mean),
            words.big(sum(steps) / len(steps)) if steps else words.DASH,
            str(sum(trial.state == "failed" for trial in own)),
        )
    return table
