"""What a run prints at its end."""

from __future__ import annotations

import io
from pathlib import Path

from reporting.conftest import PLAN
from rich.console import Console

from kitsbench.reporting import terminal_table


def _print(group, width=120):
    console = Console(file=io.StringIO(), width=width)
    console.print(group)
    return console.file.getvalue()


def test_ranking_answer_verdicts_and_path(analysis):
    path = Path("/somewhere/rather/long") / ("x" * 130) / "index.html"
    text = _print(terminal_table(analysis.results, analysis.comparison, report=path))
    for label in PLAN.gaps:
        assert label in text
    assert "lead and cannot be told apart" in text
    assert "the difference exceeds the margin" in text.replace("\n", " ")
    # nothing of the path is lost where it does not fit into a line
    assert f"Report:{path}" in text.replace("\n", "").replace(" ", "")


def test_labels_with_brackets_are_not_taken_for_markup(analysis):
    # Without a comparison at hand it is computed.
    results = analysis.results
    frame = results.scores.replace({"architecture": {"unet3d": "[bold]x"}})
    renamed = type(results)(**{**results.__dict__, "scores": frame})
    assert "[bold]x" in _print(terminal_table(renamed))
