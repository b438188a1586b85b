"""What brings a page's tables to life, and the page without it; the rest a browser shows."""

from __future__ import annotations

import pytest
from reporting.workdirs import Plan, write_workdir

from kitsbench.reporting import build_report, live_tables
from kitsbench.reporting.tables import Table


def test_without_the_library_the_page_says_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(live_tables, "DISTRIBUTION", "a-distribution-that-nobody-has")
    plan = Plan({"a": 0.0}, folds=1, seeds=1, predictions=False, profiles=False, showcase=0)
    page = build_report(write_workdir(tmp_path, plan)).read_text(encoding="utf-8")
    assert "pip install itables" in page
    assert "table-script" not in page
    assert "</table>" in page


def test_the_library_comes_with_its_licences():
    library = live_tables.table_library()
    if library is None:
        pytest.skip("itables is not installed here")
    assert library.versions.startswith("DataTables ")
    for word in ("MIT License", "Marc Wouts", "SpryMedia", "jQuery"):
        assert word in library.licences


def test_columns_are_sorted_by_what_their_numbers_mean():
    rows = [
        ["b", "<0.001", "1.2 GiB", "16.3 M", "2.0 min", "[−0.200, 0.1]"],
        ["a", "0.040", "900 MiB", "900 k", "90.0 s", "–"],
        ["c", "–", "2 GiB", "1.1 GFLOP", "1.0 h", "+0.100"],
    ]
    orders = Table(["", "p", "memory", "size", "time", "gap"], rows).orders()
    assert orders[0] is None
    found = [[float(text) if text else None for text in column] for column in orders[1:]]
    assert found[0] == [0.001, 0.04, None]
    assert found[1] == [1.2 * 2**30, 900 * 2**20, 2 * 2**30]
    assert found[2] == [16.3e6, 9e5, 1.1e9]
    assert found[3] == [120.0, 90.0, 3600.0]
    assert found[4] == [-0.2, None, 0.1]
    text = Table(["name", "number"], [["3 of 4", "1"], ["10", "2"]], text_columns=2).orders()
    assert text == [None, ["1.0", "2.0"]]
