"""What a run prints at its end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from reporting.conftest import PLAN
from reporting.workdirs import Plan, write_workdir
from rich.console import Console

from kitsbench.experiments.results import load_results
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
    assert "lead and cannot be told apart" in " ".join(text.split())
    assert "1 of 24 trials failed (late)" in " ".join(text.split())
    assert "    kitsbench run --all --seeds 2" in text
    # nothing of the path is lost where it does not fit into a line
    assert f"Report:{path}" in text.replace("\n", "").replace(" ", "")


def test_labels_with_brackets_are_not_taken_for_markup(analysis):
    # Without a comparison at hand it is computed.
    results = analysis.results
    frame = results.scores.replace({"architecture": {"unet3d": "[bold]x"}})
    renamed = type(results)(**{**results.__dict__, "scores": frame})
    assert "[bold]x" in _print(terminal_table(renamed))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits_the_terminal_and_shows_the_first_ten_of_many(tmp_path, width):
    gaps = {f"architecture_{number:02d}": -0.02 * number for number in range(20)}
    plan = Plan(gaps, folds=1, seeds=1, showcase=0, predictions=False, profiles=False)
    text = _print(terminal_table(load_results(write_workdir(tmp_path, plan))), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("After 20 s of training each, architecture_0")
    assert sum(line.strip()[:1].isdigit() and "architecture_" in line for line in lines) == 10
    assert "... and 10 more in the report." in lines
    assert "    kitsbench run --all --seeds 3" in lines
    # Below the sentence the numbers, then how far they reach, then what to do next.
    order = [text.index(word) for word in ("luck", "95 % interval", "scope L0", "--seeds 3")]
    assert order == sorted(order)
