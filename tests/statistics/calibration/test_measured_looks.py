"""The calibration of looks: what it counts, and that looks keep their error."""

from __future__ import annotations

import numpy as np
import pytest

from kitsbench.errors import UsageError
from kitsbench.statistics.calibration.look_tables import calibrate_looks, look_tables
from kitsbench.statistics.calibration.looks import (
    BANDS,
    LookCell,
    LookResult,
    look_grid,
    measure_looks,
    quick_look_grid,
)
from kitsbench.statistics.calibration.simulation import simulate
from kitsbench.statistics.calibration.tables import write_into
from kitsbench.statistics.looks.simulated import Rounds
from kitsbench.statistics.tests.moments import moments_of, moments_of_many


def test_moments_round_by_round_are_those_of_the_scores_so_far():
    scores = simulate(np.random.default_rng(0), 2, 3, 4, 6, 4, 0.02)
    rounds = Rounds(scores)
    for seeds in (2, 3, 4):
        found = rounds.moments(np.full((2, 3), seeds))
        known = moments_of_many(scores[..., :seeds])
        for name in ("mean", "case_variance", "third", "fold_means"):
            assert getattr(found, name) == pytest.approx(getattr(known, name), abs=1e-12)
        for name in ("run", "residual"):
            assert getattr(found, name).square == pytest.approx(getattr(known, name).square)
            assert getattr(found, name).weight == pytest.approx(getattr(known, name).weight)


def test_moments_of_architectures_that_stopped_are_those_of_the_seeds_they_have():
    scores = simulate(np.random.default_rng(0), 1, 3, 4, 6, 4, 0.02)
    found = Rounds(scores).moments(np.array([[2, 4, 3]]))
    known = moments_of([tuple(scores[0, a, :, :, :s]) for a, s in enumerate((2, 4, 3))])
    assert found.mean[0] == pytest.approx(known.mean)
    assert found.case_variance[0] == pytest.approx(known.case_variance)
    assert found.run.square[0] == pytest.approx(known.run.square)
    assert found.run.df[0] == pytest.approx(known.run.df)
    assert found.residual.square[0] == pytest.approx(known.residual.square)


def test_looks_keep_the_error_and_most_of_the_power_and_spare_hours():
    equal = measure_looks(LookCell("specification", 3, 5, 60, 4, "0.01", "equal"), 400, 0)
    assert equal.rates["differs, at will"].rate <= 0.075  # 5 % and three standard errors
    assert equal.rates["differs"].rate <= equal.rates["differs, at will"].rate
    assert equal.hours < 0.95
    wide = measure_looks(LookCell("specification", 3, 5, 98, 4, "0.01", "two groups"), 300, 0)
    assert wide.rates["power"].rate > 0.6
    assert wide.rates["power lost"].rate == pytest.approx(
        wide.rates["fixed power"].rate - wide.rates["power"].rate
    )
    assert wide.rates["power lost"].rate < 0.06
    assert wide.rates["coverage"].rate > 0.92
    assert LookResult.from_dict(wide.to_dict()) == wide
    assert measure_looks(wide.cell, 300, 0) == wide


def test_two_that_scatter_unlike_keep_the_error_and_the_leader_is_found():
    """The two situations of the grid that came nearest to their bounds."""
    unlike = LookCell("specification", 2, 5, 98, 3, "one noisy", "equal")
    found = measure_looks(unlike, 10_000, 0).rates
    assert found["differs, at will"].rate <= 0.055
    assert found["coverage"].rate >= 0.94
    ahead = LookCell("specification", 5, 5, 210, 5, "0.01", "one ahead", "top")
    assert measure_looks(ahead, 2000, 0).rates["power lost"].rate <= 0.03


def test_the_shape_of_spending_has_its_price():
    cell = LookCell("normal", 2, 5, 100, 4, "0.01", "one ahead")
    early = measure_looks(LookCell(**{**cell.__dict__, "spending": "pocock"}), 400, 0)
    late = measure_looks(cell, 400, 0)
    assert early.rates["fixed power"] == late.rates["fixed power"]  # the same experiments
    assert early.rates["power"].rate < late.rates["power"].rate
    assert early.rates["power lost"].passed is None


def test_the_grid_has_every_question_state_and_size():
    grid = look_grid()
    assert len(grid) == len(set(grid))
    assert {cell.architectures for cell in grid} == {2, 3, 5, 12, 20}
    assert {cell.folds for cell in grid} == {1, 2, 3, 5, 10}
    assert {cell.question for cell in grid} == {"pairs", "top", "baseline"}
    assert {cell.spending for cell in grid} == {"obrien-fleming", "pocock"}
    assert {cell.truth for cell in grid if cell.architectures == 5} == {
        "equal", "one ahead", "two groups", "two close groups", "ladder", "close ladder"
    }  # fmt: skip
    assert max(cell.seeds for cell in grid) == 5
    assert len(quick_look_grid()) == 6


def test_what_was_measured_is_kept_and_written_into_a_page(tmp_path):
    saved, page = tmp_path / "looks.jsonl", tmp_path / "page.md"
    found = calibrate_looks(50, quick=True, saved=saved)
    again = calibrate_looks(50, quick=True, saved=saved, only_saved=True)
    assert again.cells == found.cells
    assert again.missing == 0
    page.write_text("before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n")
    write_into(page, look_tables(found))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "\nold\n" not in text
    for name in BANDS:
        assert f"| {name} |" in text
    assert "Not run" not in look_tables(found)
    whole = calibrate_looks(50, saved=saved, only_saved=True)
    assert whole.missing + len(whole.cells) == len(look_grid())
    assert f"Not run: {whole.missing} cells" in look_tables(whole)
    with pytest.raises(UsageError, match="There are 10 replicates"):
        calibrate_looks(10)
