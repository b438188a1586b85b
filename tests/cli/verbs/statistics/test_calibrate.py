"""``kitsbench calibrate`` as a user types it; the rates themselves: tests/statistics."""

from __future__ import annotations

import json

import pytest
from command_line import call_kitsbench

from kitsbench.statistics.calibration import benchmark
from kitsbench.statistics.calibration import rates as calibration
from kitsbench.statistics.calibration.study import BANDS, Cell

GRID = [Cell("normal", 2, 5, 42, 2, "0.01", "equal"), Cell("skewed", 5, 1, 16, 3, "0.02", "equal")]


@pytest.fixture
def small(monkeypatch):
    """Two situations instead of all, and two cells of the grid."""
    controls = ("Wilcoxon over cases, one seed",)
    cells = [calibration.Cell(1, 42, 3, 0.02, 0.0, 0.0, ("two-way case x run t", *controls))]
    cells += [calibration.Cell(5, 42, 1, 0.01, 0.0, 0.05, ("fold t",))]
    monkeypatch.setattr(calibration, "quick_cells", lambda: cells)
    monkeypatch.setattr(calibration, "family_rates", lambda *_: [])
    monkeypatch.setattr(benchmark, "quick_grid", lambda: GRID)


def invoke(*arguments):
    return call_kitsbench("calibrate", *arguments)


def test_the_table_and_the_exit_code(small, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    result = invoke("--quick", "--replicates", 150)
    assert result.code == 0
    assert "two-way case x run t" in result.out
    assert "42 cases, 1 fold, 3 seeds" in result.out
    assert "3.0 to 6.5" in result.out
    assert "5 on 16 cases, 1 x 3" in result.out
    # Three situations side by side; of the grid five bands each, as no gap can be found equal; and
    # two plans.
    assert "15 of 15 acceptance bands met (150 experiments in each cell" in result.err


def test_json_and_markdown(small):
    found = invoke("--quick", "--replicates", 60, "--json").json
    assert [rate["gap"] for rate in found["rates"]] == [0.0, 0.0, 0.05]
    assert found["replicates"] == 60
    for rate in found["rates"]:
        assert rate["se"] == pytest.approx((rate["rate"] * (1 - rate["rate"]) / 60) ** 0.5)
    for cell in found["cells"]:
        pair = cell["rates"]["pair error"]
        assert pair["low"] <= pair["rate"] <= pair["high"]
    text = invoke("--quick", "--replicates", 60, "--markdown").out
    assert "**Rejections, 210 cases, 5 folds, 1 seed** (%)" in text
    assert "| **fold t** |" in text
    assert "**Grid, scores: skewed** (%)" in text


def test_a_missed_band_is_an_error(small, monkeypatch):
    monkeypatch.setattr(calibration, "ERROR_BAND", (0.9, 1.0))
    result = invoke("--quick", "--replicates", 60)
    assert result.code == 1
    assert "MISSED" in result.out
    refused = invoke("--replicates", 10)
    assert refused.code == 2
    assert "at least 50" in refused.err


def test_a_missed_band_of_the_grid_is_an_error_after_a_closer_look(small, monkeypatch):
    monkeypatch.setitem(BANDS, "rank coverage", (0.999, None))
    result = invoke("--quick", "--replicates", 200, "--json")
    assert result.code == 1
    assert not result.json["passed"]
    missed = [c for c in result.json["cells"] if c["rates"]["rank coverage"]["passed"] is False]
    assert missed
    assert {cell["experiments"] for cell in missed} == {1000}


def test_what_was_measured_is_kept_and_written_into_a_document(small, tmp_path, monkeypatch):
    document, saved = tmp_path / "calibration.md", tmp_path / "rates.jsonl"
    document.write_text(
        "# Rates\n\n<!-- measured: begin -->\nStale.\n<!-- measured: end -->\n\nEnd.\n"
    )
    options = ("--quick", "--replicates", 60, "--saved", saved)
    invoke(*options)
    lines = saved.read_text().splitlines()
    # An interrupted run: the first cell and no more.
    saved.write_text(lines[0] + "\n")
    partial = invoke(*options, "--only-saved", "--write", document)
    text = document.read_text()
    assert "Not run: 6 situations" in partial.err
    assert "Cells of the grid: 1, with 60 experiments" in text
    assert "**Not run: 6 of the situations.**" in text
    monkeypatch.setattr(benchmark, "measure", None)  # what is saved is not measured again
    saved.write_text("\n".join(lines) + "\n")
    whole = invoke(*options, "--write", document)
    assert "Not run" not in whole.err
    text = document.read_text()
    assert text.startswith("# Rates\n")
    assert text.endswith("\n\nEnd.\n")
    assert "Stale" not in text
    assert "Cells of the grid: 2, with" in text
    assert "Not run" not in text


def test_wrong_files_are_refused(small, tmp_path, monkeypatch):
    plain = tmp_path / "notes.md"
    plain.write_text("No marks.\n")
    monkeypatch.setattr(benchmark, "measure", None)  # refused before anything is measured
    refused = invoke("--quick", "--replicates", 60, "--write", plain)
    assert refused.code == 2
    assert "measured: begin" in refused.err
    assert plain.read_text() == "No marks.\n"
    refused = invoke("--quick", "--saved", plain)
    assert refused.code == 2
    assert "Line 1 of" in refused.err
    refused = invoke("--quick", "--only-saved")
    assert refused.code == 2
    assert "--saved FILE" in refused.err


def test_looks_are_measured_kept_and_shown(tmp_path):
    saved = tmp_path / "looks.jsonl"
    words = ("calibrate", "--looks", "--quick", "--replicates", "50", "--saved", saved)
    found = json.loads(call_kitsbench(*words, "--json").out)
    assert len(found["cells"]) == 6
    assert all(0 < cell["hours"] <= 1 for cell in found["cells"])
    again = call_kitsbench(*words, "--only-saved", "--markdown")
    assert "**Device hours, as a part of the fixed design's" in again.out
    assert "acceptance bands met (50 experiments in each of 6 cells" in again.err
    lone = call_kitsbench("calibrate", "--looks", "--only-saved")
    assert "name it with --saved FILE" in lone.err
