"""The tables of the page in a real browser, and the page without what brings them to life."""

from __future__ import annotations

import csv
import io

import pytest
from reporting.browser import browse
from reporting.conftest import LONG, PLAN
from reporting.workdirs import Plan, write_workdir

from kitsbench.reporting import build_report, live_tables
from kitsbench.reporting.tables import Table

_SCRIPT = """
found.live = await until(() => document.documentElement.dataset.tables === "live");
const wait = (time) => new Promise((go) => setTimeout(go, time));
document.querySelectorAll("details").forEach((fold) => (fold.open = true));
const every = [...document.querySelectorAll(".scroll table")];
await until(() => every.every((table) => table.closest(".dt-container")));
const shown = (table, at) => [...table.tBodies[0].rows].map((row) => row.cells[at].innerText);
found.tables = [];
for (const table of every) {
  const before = shown(table, 0);
  const head = table.tHead.rows[0].cells[0];
  const name = table.getAttribute("aria-label");
  head.querySelector("[tabindex], .dt-column-order")?.focus?.();
  head.click();
  await wait(20);
  const up = shown(table, 0), said = head.getAttribute("aria-sort");
  head.click();
  await wait(20);
  const down = shown(table, 0);
  const box = table.closest(".dt-container").querySelector("input[type=search]");
  const word = before[before.length - 1].split("\\n")[0];
  box.value = word;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  await wait(20);
  const rows = [...table.tBodies[0].rows].map((row) => row.innerText);
  found.tables.push({ name, before, up, down, said, word, rows });
  box.value = "";
  box.dispatchEvent(new Event("input", { bubbles: true }));
}
document.execCommand = () => {
  found.copied[found.kind] = document.querySelector("body > div > textarea, textarea").value;
  return true;
};
found.copied = {};
const press = (place, words) =>
  [...document.querySelectorAll(place)].find((b) => words.test(b.innerText.trim())).click();
for (const kind of ["CSV", "Markdown", "LaTeX"]) {
  found.kind = kind;
  press("#ranking .dt-button", /^Copy/);
  await wait(50);
  press(".dt-button", new RegExp("^" + kind + "$"));
  await until(() => kind in found.copied);
  await wait(300);
}
press("#ranking .dt-button", /^Columns/);
await wait(50);
press(".dt-button", /^95.% CI$/);
await wait(50);
const left = [...document.querySelector("#ranking table").tHead.rows[0].cells];
found.heads = left.map((cell) => cell.innerText.trim().replace(/\\s/g, " "));
"""


@pytest.fixture(scope="module")
def seen(report):
    if live_tables.table_library() is None:
        pytest.skip("itables is not installed here")
    return browse(report / "index.html", _SCRIPT)


def test_the_page_complains_of_nothing_and_asks_nobody(seen):
    assert seen.get("error") is None
    assert seen["console"] == []
    assert [address for address in seen["asked"] if not address.startswith("blob:")] == []


def test_every_table_sorts_and_filters(seen):
    assert seen["live"]
    assert len(seen["tables"]) >= 12
    for table in seen["tables"]:
        assert table["name"]
        assert table["said"] == "ascending", table["name"]
        assert sorted(table["up"]) == sorted(table["down"]) == sorted(table["before"])
        if len(set(table["before"])) > 1:
            assert table["up"] != table["down"], table["name"]
        assert table["rows"], table["name"]
        assert all(table["word"] in row for row in table["rows"]), table["name"]


def test_a_table_is_copied_as_csv_markdown_and_latex(seen):
    copied = seen["copied"]
    head, *rows = csv.reader(io.StringIO(copied["CSV"].strip()))
    assert head[:3] == ["Rank", "Architecture", "Mean tumour Dice"]
    assert {row[1].split()[0] for row in rows} == {*PLAN.gaps}
    assert copied["Markdown"].splitlines()[1].startswith("| --- | --- | ---: |")
    assert rf"{LONG.replace('_', chr(92) + '_')} " in copied["LaTeX"]
    assert copied["LaTeX"].count(r" \\") == 1 + len(PLAN.gaps)
    assert "{}[0." in copied["LaTeX"]  # or the interval would be an argument of the row before


def test_columns_can_be_hidden(seen):
    assert "Mean tumour Dice" in seen["heads"]
    assert "95 % CI" not in seen["heads"]


def test_a_phone_shows_the_name_and_the_score(report):
    if live_tables.table_library() is None:
        pytest.skip("itables is not installed here")
    script = """
    await until(() => document.documentElement.dataset.tables === "live");
    const cells = [...document.querySelector("#ranking table").tHead.rows[0].cells];
    found.heads = cells.map((cell) => cell.innerText.trim());
    found.right = Math.max(...cells.map((cell) => cell.getBoundingClientRect().right));
    found.width = window.innerWidth;
    """
    seen = browse(report / "index.html", script, width=500)
    assert seen["heads"] == ["Rank", "Architecture", "Mean tumour Dice"]
    assert seen["right"] <= seen["width"]


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
