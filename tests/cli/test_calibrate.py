"""``kitsbench calibrate`` as a user types it; the rates themselves: tests/statistics."""

from __future__ import annotations

import pytest
from command_line import call_kitsbench

from kitsbench.statistics.calibration import rates as calibration


@pytest.fixture
def small(monkeypatch):
    """Two situations instead of all."""
    controls = ("Wilcoxon over cases, one seed",)
    cells = [calibration.Cell(1, 42, 3, 0.02, 0.0, 0.0, ("two-way case x run t", *controls))]
    cells += [calibration.Cell(5, 42, 1, 0.01, 0.0, 0.05, ("fold t",))]
    monkeypatch.setattr(calibration, "_quick_cells", lambda: cells)
    monkeypatch.setattr(calibration, "_family", lambda *_: [])


def invoke(*arguments):
    return call_kitsbench("calibrate", *arguments)


def test_the_table_and_the_exit_code(small):
    result = invoke("--quick", "--replicates", 150)
    assert result.code == 0
    assert "two-way case x run t" in result.out
    assert "42 cases, 1 fold, 3 seeds" in result.out
    assert "3.0 to 6.5" in result.out
    assert "3 of 3 acceptance bands met (150 replicates, seed 0" in result.err


def test_json_and_markdown(small):
    found = invoke("--quick", "--replicates", 60, "--json").json
    assert [rate["gap"] for rate in found["rates"]] == [0.0, 0.0, 0.05]
    assert found["replicates"] == 60
    for rate in found["rates"]:
        assert rate["se"] == pytest.approx((rate["rate"] * (1 - rate["rate"]) / 60) ** 0.5)
    text = invoke("--quick", "--replicates", 60, "--markdown").out
    assert "**Rejections, 210 cases, 5 folds, 1 seed** (%)" in text
    assert "| **fold t** |" in text


def test_a_missed_band_is_an_error(small, monkeypatch):
    monkeypatch.setattr(calibration, "ERROR_BAND", (0.9, 1.0))
    result = invoke("--quick", "--replicates", 60)
    assert result.code == 1
    assert "MISSED" in result.out
    refused = invoke("--replicates", 10)
    assert refused.code == 2
    assert "at least 50" in refused.err
