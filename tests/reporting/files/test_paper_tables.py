"""LaTeX that fits the columns of papers, measured by the metrics of Computer Modern."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import matplotlib
import pytest
from hostile import EVERYTHING, HOSTILE
from reporting.conftest import LONG, PLAN
from reporting.workdirs import Plan, write_workdir

from kitsbench.experiments.results import load_results
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.files import latex as setting
from kitsbench.reporting.files.latex import COLUMN, MOST_LINES, PAGE, Cell, PaperTable, width_of
from kitsbench.reporting.files.paper_tables import design, inputs, paper_tables
from kitsbench.reporting.first_screen.leading import winner

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "afm"
# The small sizes of Computer Modern are wider than the one at 10 pt: a digit is 531 and 569.
WIDER = 0.531 / 0.5


@pytest.fixture(scope="module")
def roman():
    """Widths of Computer Modern Roman, in thousandths of its size, by code."""
    text = (FONTS / "cmr10.afm").read_text(encoding="latin-1")
    found = re.findall(r"^C (\d+) ; WX ([\d.]+) ;", text, re.MULTILINE)
    return {int(code): float(width) for code, width in found}


@pytest.fixture(scope="module")
def tables(analysis):
    return {table.name: table for table in paper_tables(analysis)}


def test_no_letter_is_wider_than_it_is_measured(roman):
    for code in range(0x21, 0x7F):
        letter = chr(code)
        if letter in '"<>\\^_`{|}~':  # of another place in this font, or of another font
            continue
        real = roman[code] / 1000 * 8 * WIDER
        assert width_of(letter) >= real - 0.05, letter


def natural(table):
    return [
        max([width_of(head), *(row[at].width for row in table.rows)])
        for at, head in enumerate(table.head)
    ]


def total(table):
    widths = [
        own if fixed is None else fixed
        for own, fixed in zip(natural(table), table.columns(), strict=True)
    ]
    return sum(widths) + 6 * (len(widths) - 1)


def assert_fits(tables):
    for table in tables:
        assert total(table) <= (PAGE if table.long else COLUMN) + 0.5, table.name
        for at, width in enumerate(table.columns()):
            if width is not None:
                assert at in table.text_columns
                for row in table.rows:
                    pieces = re.split(r"\\allowbreak\{\}", setting._breakable(row[at].text, width))
                    assert max(map(len, pieces)) < 200


def test_every_table_fits_a_column(tables):
    assert {"tab-ranking", "tab-scores-tumor", "tab-pairs", "tab-cost", "tab-names"} <= set(tables)
    assert_fits(tables.values())


def test_names_that_nobody_expects_fit_too(analysis):
    # Halves of characters are in no file of scores.
    whole = [name.encode("utf-8", "backslashreplace").decode() for name in (EVERYTHING, HOSTILE[2])]
    names = dict(zip(PLAN.gaps, (*whole, "W" * 200, HOSTILE[1]), strict=True))

    def renamed(value):
        if isinstance(value, dict):
            return {key: renamed(part) for key, part in value.items()}
        if isinstance(value, list):
            return [renamed(part) for part in value]
        return names.get(value, value) if isinstance(value, str) else value

    comparison = renamed(analysis.comparison)
    summary = analysis.summary.assign(architecture=analysis.summary["architecture"].map(names))
    scores = analysis.results.scores
    results = dataclasses.replace(
        analysis.results, scores=scores.assign(architecture=scores["architecture"].map(names))
    )
    other = dataclasses.replace(analysis, results=results, comparison=comparison, summary=summary)
    found = paper_tables(other)
    assert_fits(found)
    for table in found:
        text = table.latex()
        assert not re.search(r"\\(?:input|frac)\b|\\\\\[", text)
        assert text.count(r"\begin{") == text.count(r"\end{")
        rows = [line for line in text.splitlines() if line.endswith(r"\tabularnewline")]
        for line in rows:
            if "multicolumn" not in line and "caption" not in line:
                assert len(re.findall(r"(?<!\\)&", line)) == len(table.head) - 1


def test_cells_hold_names_and_titles_stand_in_a_list(tables):
    names = [row[1].text for row in tables["tab-ranking"].rows]
    assert sorted(names) == sorted(PLAN.gaps)
    listed = {row[0].text: row[1].text for row in tables["tab-names"].rows}
    assert listed["unet3d"] == "Unet3D"
    assert set(listed) == set(PLAN.gaps)


def test_numbers_are_those_of_the_statistics(analysis, tables):
    table = tables["tab-ranking"]
    assert [row[2].text for row in table.rows] == [f"{r['mean']:.3f}" for r in analysis.ranking]
    pairs = {(row[0].text, row[1].text[2:]): row for row in tables["tab-pairs"].rows}
    for pair in analysis.pairs:
        row = pairs[pair["a"], pair["b"]]
        assert row[2].text == f"{pair['difference']:+.3f}".replace("-", "−")


def test_the_best_is_bold_only_where_the_tests_separate_it(analysis, tmp_path):
    def bold(one):
        table = next(table for table in paper_tables(one) if table.name == "tab-ranking")
        return [row[1].text for row in table.rows if row[2].bold]

    assert winner(analysis) is None  # two lead together
    assert bold(analysis) == []
    plan = Plan({"a": 0.25, "b": -0.2, "c": 0.0}, seeds=3, predictions=False, showcase=0)
    apart = analyse(load_results(write_workdir(tmp_path / "apart", plan)))
    assert bold(apart) == ["a"]
    plan = dataclasses.replace(plan, seeds=1, folds=1)
    single = analyse(load_results(write_workdir(tmp_path / "single", plan)))
    assert bold(single) == []


def test_captions_say_what_was_done(analysis, tables, tmp_path):
    told = design(analysis)
    for words in (
        "Dataset phantom (synthetic)", "n = 12 test cases", "protocol kits19", "3 folds × 2 seeds",
        "20 s of training a run", "scope L1",
    ):  # fmt: skip
        assert words in told
    for name in ("tab-ranking", "tab-scores-tumor", "tab-pairs"):
        assert told in tables[name].caption
    assert "late" in tables["tab-ranking"].latex()
    assert "Trials: finished of planned" in tables["tab-ranking"].caption  # one failed
    plan = Plan({"a": 0.0, "b": 0.1}, folds=1, seeds=1, layout="kits23", synthetic=False,
                budget=("400steps", 400.0, "steps"), predictions=False)  # fmt: skip
    other = design(analyse(load_results(write_workdir(tmp_path, plan))))
    for words in (
        "n = 4 test cases",
        "protocol kits23",
        "1 fold × 1 seed",
        "400 steps",
        "scope L0",
    ):
        assert words in other


def test_a_long_table_goes_on_in_another_float():
    rows = [[Cell(f"name {number}"), Cell("0.5", below="[0.4, 0.6]")] for number in range(50)]
    text = PaperTable("tab-x", "Many. More.", ["A", "B"], rows).latex()
    parts = text.split(r"\begin{table}")[1:]
    assert len(parts) == 3
    for part in parts:
        assert part.count(r"\tabularnewline") - 1 <= MOST_LINES
    assert text.count(r"\label{tab:x}") == 1
    assert parts[1].count("(continued)") == 1
    assert sum(part.count("name ") for part in parts) == 50


def test_many_pairs_take_pages_in_one_column_and_their_head_in_two(tmp_path):
    gaps = {f"net{number}": 0.02 * number for number in range(7)}
    plan = Plan(gaps, folds=2, predictions=False, showcase=0)
    tables = paper_tables(analyse(load_results(write_workdir(tmp_path, plan))))
    found = {table.name: table for table in tables}
    assert len(found["tab-pairs"].rows) == 21
    assert found["tab-pairs"].latex().count(r"\begin{longtable}") == 1
    assert len(found["tab-pairs-first"].rows) == 12
    assert "12 of 21 pairs" in found["tab-pairs-first"].caption
    assert r"\if@twocolumn\input{tab-pairs-first}\else\input{tab-pairs}\fi" in inputs(tables)
    assert_fits(tables)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("options", ["", "[twocolumn]"])
def test_pdflatex_sets_every_table_inside_its_column(report, tmp_path, options):
    for file in report.glob("*.tex"):
        shutil.copy(file, tmp_path)
    alone = (report / "tables-alone.tex").read_text()
    # Two columns of 252 pt, as journals have them; those of article are narrower.
    page = r"\setlength{\textwidth}{516pt}\setlength{\columnsep}{12pt}" if options else ""
    document = alone.replace(
        r"\documentclass{article}", rf"\documentclass{options}{{article}}{page}"
    )
    (tmp_path / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-3000:]
    wide = [float(found) for found in re.findall(r"Overfull \\hbox \(([\d.]+)pt", done.stdout)]
    assert max(wide, default=0) < 1, done.stdout[-3000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 0
    assert LONG.split(":")[0].replace("_", r"\_") in (tmp_path / "tab-ranking.tex").read_text()
