"""The notebook of the docs, cell by cell, on an experiment as a run leaves it."""

from __future__ import annotations

import json
from pathlib import Path

from reporting.workdirs import Plan, write_workdir

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "explore.ipynb"


def test_every_cell_runs(tmp_path, monkeypatch):
    write_workdir(tmp_path / "kitsbench-work", Plan({"unet3d": 0.0, "msff_net": 0.06}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    names: dict = {}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 6
    for number, text in enumerate(code, start=1):
        exec(compile(text, f"cell {number}", "exec"), names)
    assert len(names["chosen"]) == 2 * 3 * 2 * 4
    assert names["outcome"]._repr_html_().count("<tr") >= 3
    assert len(names["losses"])
    plt.close("all")


def test_it_holds_no_output():
    """Outputs would be somebody's numbers of some day."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell.get("outputs", []) == [] for cell in cells)
