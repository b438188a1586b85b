"""The page of ratios is what was measured, and a ratio that falls is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import promises

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"


def test_each_promise_names_a_file_that_notes_it():
    for key, promise in promises.PROMISES.items():
        text = (HERE / promise.file).read_text(encoding="utf-8")
        assert f'"{key.split(".")[0]}.' in text, key


def test_the_page_is_made_of_the_figures_that_lie_beside_it():
    content = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    assert (DOCS / "benchmarks.md").read_text(encoding="utf-8") == promises.page(content)
    assert set(content["rows"]) <= set(promises.PROMISES)


@pytest.fixture
def notes(monkeypatch):
    """Nothing was noted before, on a machine that does nothing else."""
    monkeypatch.setattr(promises, "_found", {})
    monkeypatch.setattr(promises, "_busy", set())
    monkeypatch.setattr(promises, "_seconds", {})
    monkeypatch.setattr(promises, "is_busy", lambda: False)


def test_a_ratio_that_falls_by_more_than_a_fifth_is_told(notes):
    promises.note("harness.unet3d", [0.9, 1.0, 1.1])
    promises.note("scores.memory.moved", [1.5])
    before = promises.document(promises.noted())
    row = before["rows"]["harness.unet3d"]
    assert (row["ratio"], row["low"], row["high"], row["rounds"]) == (1.0, 0.95, 1.05, 3)
    promises._found.clear()
    promises.note("harness.unet3d", [0.81])
    promises.note("scores.memory.moved", [1.8])
    assert promises.fallen(promises.noted(), before) == []
    promises._found.clear()
    promises.note("harness.unet3d", [0.79])
    promises.note("scores.memory.moved", [2.0])  # more memory is worse
    promises.note("start.help", [0.2])  # nobody measured it before
    slower, larger = promises.fallen(promises.noted(), before)
    assert slower.startswith("harness.unet3d: 0.79, and 1 on ")
    assert slower.endswith("21 % worse")
    assert larger.startswith("scores.memory.moved: 2, and 1.5 on ")


def test_rounds_of_several_cases_are_one_row(notes):
    promises.note("scores.hd95.moved", [1.0, 2.0])
    promises.note("scores.hd95.moved", [3.0])
    row = promises.noted()["scores.hd95.moved"]
    assert (row["ratio"], row["low"], row["high"], row["rounds"]) == (2.0, 1.5, 2.5, 3)


def test_rows_that_were_not_repeated_stay_and_absent_ones_say_why(notes):
    promises.note("harness.unet3d", [1.0])
    first = promises.document(promises.noted())
    promises._found.clear()
    promises.note("start.help", [0.25], 0.0834)
    both = promises.document(promises.noted(), first)
    assert set(both["rows"]) == {"harness.unet3d", "start.help"}
    page = promises.page(both)
    assert "| a bare loop in PyTorch | 1 (1 to 1) | 1 |" in page
    assert "| nnunetv2 | – | – | not on record; needs a GPU and nnunetv2 |" in page
    assert "| `kitsbench --help`, CPU time (0.083 s) | `python -c pass` | 0.25 " in page
    assert page.count("\nMachine ") == 1
