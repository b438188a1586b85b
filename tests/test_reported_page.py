"""What others print: every row has its source and its protocol, and what papers print is equal."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("reported_tables", DOCS / "reported_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_row_says_who_where_and_by_which_rule(page):
    known = page.read()
    used = {"source": set(), "protocol": set()}
    for row in known["rows"]:
        assert row["source"] in known["sources"], row
        assert row.get("protocol") in {*known["protocols"], None}, row
        assert set(row) <= {"system", "family", "source", "data", "protocol", "note", *page.COLUMNS}
        numbers = [row[column] for column in page.COLUMNS if column in row]
        assert all(0 < number < 1 for number in numbers), row
        assert numbers or "prints no score" in row["note"]
        for key in used:
            used[key].add(row.get(key))
    assert {*known["sources"]} <= used["source"]
    assert {*known["protocols"]} <= used["protocol"]


def test_means_are_those_of_the_regions_where_the_rule_says_so(page):
    for row in page.read()["rows"]:
        composite = row.get("protocol", "").startswith("kits19") and "mean" in row
        if composite and row["protocol"] != "kits19-labels":
            mean = (row["kidney"] + row["tumor"]) / 2
            assert abs(mean - row["mean"]) < 0.002, row


def test_one_network_has_several_numbers(page):
    text = page.families()
    means = [float(found) for found in re.findall(r"\*\*(0\.\d+)\*\*", text)]
    assert len(means) >= 10
    assert max(means) - min(means) > 0.05
    assert "SegResNet" in text


def test_the_papers_own_numbers(page, shared):
    """Each number of a seed paper stands in its text."""
    texts = {
        "tureckova2019": "000",
        "sun2019": "001",
        "myronenko2019": "002",
        "gohil2022": "003",
    }
    papers = shared / "papers"
    checked = 0
    for row in page.read()["rows"]:
        if row["source"] not in texts:
            continue
        (file,) = papers.glob(f"{texts[row['source']]}_*.txt")
        text = file.read_text(encoding="utf-8")
        for column in page.COLUMNS:
            if column in row:
                number = row[column]
                assert any(
                    form in text
                    for form in (f"{number:.4f}", f"{number:.3f}", f"{100 * number:.2f}")
                ), (row["system"], column)
                checked += 1
    assert checked > 30
