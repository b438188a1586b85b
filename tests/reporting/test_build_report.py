"""The files of a report, as their readers see them."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from reporting.conftest import LONG, PLAN
from reporting.workdirs import Plan, broken_entrant, write_workdir
from stored_files import change, replan

from kitsbench.errors import DataError
from kitsbench.experiments.records import LedgerRecord, find_experiment
from kitsbench.experiments.results import load_results
from kitsbench.experiments.tables import SCORES, write_table
from kitsbench.reporting import build_report
from kitsbench.reporting.drawing.figures import INK
from kitsbench.reporting.drawing.plots import VERDICT_MARKS
from kitsbench.reporting.words import VERDICT_NAMES
from kitsbench.statistics import compare, read_scores
from kitsbench.training.ledger import Reduction

_VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


class _Page(HTMLParser):
    """Collects what tests ask for, and notices tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.headings, self.cells = [], [], [], [], []
        self._collecting = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        for name in ("href", "src", "xlink:href"):
            if name in attributes:
                self.links.append(attributes[name])
        if tag in ("h1", "h2", "td"):
            self._collecting = []
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.open.pop()

    def handle_data(self, data):
        if self._collecting is not None:
            self._collecting.append(data)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("h1", "h2", "td"):
            text = "".join(self._collecting).strip()
            (self.cells if tag == "td" else self.headings).append(text)
            self._collecting = None


@pytest.fixture(scope="module")
def html(report):
    return (report / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return _Page(html)


def test_every_tag_is_closed_and_every_id_is_unique(page):
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_fetched_from_elsewhere(html, page):
    own = ("#", "data:", "../trials/", "viewer/index.html")
    outside = [link for link in page.links if not link.startswith(own)]
    assert set(outside) == {
        "report.md",
        "tables.tex",
        "scores.csv",
        "summary.csv",
        "pairs.csv",
        "ledger.csv",
        "comparison.json",
        "report.json",
        "report.schema.json",
    }
    # the names of XML namespaces are identifiers, and licences name their homes
    shown = html.split("<footer>")[0]
    addresses = set(re.findall(r'https?://[^\s"<]+', shown))
    assert all("w3.org" in a or "purl.org" in a or "creativecommons" in a for a in addresses)
    assert "default-src 'none'" in html.split("</head>")[0]  # a browser would refuse to
    assert not re.search(r"<script[^>]* src", html)
    assert "url(http" not in html


def test_links_inside_the_page_lead_somewhere(page):
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)


def test_files_that_the_page_names_are_there(report, page):
    for link in page.links:
        if not link.startswith(("#", "data:")):
            assert (report / link.partition("#")[0]).stat().st_size > 0


def test_sections_come_in_the_order_of_reading(page):
    assert page.headings[1:] == [
        "For a stronger statement",
        "What these numbers are",
        "Ranking",
        "Scores by region and label",
        "Verdicts on pairs",
        "How stable the ranking is",
        "Every case",
        "Case viewer",
        "Truth and predictions",
        "Along the budget",
        "What each costs",
        "Fairness audit: what each spent",
        "What papers claim",
        "Failures and exclusions",
        "Recipe, folds, seeds",
        "Provenance",
        "Methods, for a paper",
        "Words used here",
    ]


def test_the_page_says_that_synthetic_data_is_synthetic(html):
    assert "synthetic data" in html
    assert "say nothing about patients" in html


def test_the_first_screen_has_a_row_for_each_and_comes_first(html, page):
    screen = html.split('<section id="answer"')[1].split("</section>")[0]
    assert html.index('<section id="answer"') < html.index('<section id="facts"')
    rows = re.findall(r'<tr role="row" class="mark (\w+)"(.*?)</tr>', screen, re.DOTALL)
    assert [kind for kind, _ in rows] == ["first", "level", "behind", "unjudged"]
    for (_, row), name in zip(rows, [LONG, "msff_net", "unet3d", "late"], strict=True):
        assert f'data-name="{name}"' in row
        assert f'data-tip="{name}: mean tumour Dice 0.' in row
    places = [float(x) for x in re.findall(r"(?:left|right):([\d.]+)%", screen)]
    assert len(places) >= 4
    assert all(0 <= place <= 100 for place in places)
    trained = "Compared: 4 architectures, each trained 6 times"
    for word in (trained, "20 s", "12 synthetic CT scans"):
        assert word in screen
    assert "<code>kitsbench run --all --seeds 2</code>" in screen  # one trial failed


def test_every_picture_is_in_the_page(html):
    for name in ("matrix", "rank_bubbles", "cases", "budget", "learning", "tradeoff"):
        assert f'id="{name}-' in html
    assert 'class="standing forest"' in html
    image = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    assert base64.b64decode(image.group(1)).startswith(b"\x89PNG")


def test_drawings_take_the_colours_of_the_page(html):
    assert "currentColor" in html
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert drawn
    assert INK not in drawn  # the colour that stands for the page's own while a figure is drawn


def test_figures_are_files_of_their_own_too(report):
    names = {file.name for file in (report / "figures").iterdir()}
    assert names >= {
        "ranking.svg",
        "forest.svg",
        "cases.svg",
        "budget.svg",
        "overlay-case_00000.png",
    }
    for file in (report / "figures").glob("*.svg"):
        assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_figures_tell_a_pointer_and_who_cannot_see_them(report, analysis):
    space = "{http://www.w3.org/2000/svg}"
    told = {}
    for name in ("forest", "matrix", "budget", "learning", "cases", "rank_bubbles"):
        root = ElementTree.parse(report / "figures" / f"{name}.svg").getroot()
        told[name] = [mark.text for mark in root.iter(f"{space}title") if mark.text]
        assert len(root.get("aria-label")) > 60, name
    assert len([text for text in told["forest"] if " minus " in text]) == len(analysis.pairs)
    for pair in analysis.pairs:
        number = f"{abs(pair['difference']):.3f}"
        assert any(pair["a"] in text and number in text for text in told["forest"])
    assert len(told["matrix"]) == len(PLAN.gaps) ** 2
    assert len(told["cases"]) == 2 * 12 * len(PLAN.gaps)  # regions and cases
    for text in told["cases"]:
        assert re.fullmatch(r"case_\d{5}, .+: (kidney and )?tumour Dice [01]\.\d{3}", text), text
    for name in PLAN.gaps:
        assert any(text.startswith(f"{name}: ") for text in told["budget"])
        assert any(text.startswith(f"{name}: rank ") for text in told["rank_bubbles"])
        assert any(text.startswith(f"{name}, fold 0, seed 0: ") for text in told["learning"])


def test_each_verdict_has_a_mark_of_its_own():
    groups = {"better_negligible": "equivalent"}
    marks = {groups.get(v, v): str(mark) for v, mark in VERDICT_MARKS.items()}
    assert set(VERDICT_MARKS) == set(VERDICT_NAMES)
    assert len(set(marks.values())) == len(marks)


def test_the_failed_trial_is_shown_with_its_reason(page, html):
    assert "out-of-memory" in page.cells
    assert "1 of 24 trials failed (late)" in html


def test_scores_csv_gives_the_same_comparison_again(report, analysis):
    scores = read_scores(report / "scores.csv")
    assert set(scores["architecture"]) == set(PLAN.gaps)
    again = compare(scores, protocol="kits19").to_dict()
    stored = json.loads((report / "comparison.json").read_text())
    assert [row["mean"] for row in again["ranking"]] == pytest.approx(
        [row["mean"] for row in stored["ranking"]]
    )
    assert [p["verdict"] for p in again["pairs"]] == [p["verdict"] for p in stored["pairs"]]


def test_summary_csv_equals_means_computed_by_hand(report):
    scores = pd.read_csv(report / "scores.csv")
    mine = scores[
        (scores["architecture"] == "unet3d")
        & (scores["protocol"] == "kits19")
        & (scores["region"] == "tumor")
        & (scores["metric"] == "dice")
    ]
    summary = pd.read_csv(report / "summary.csv").set_index(
        ["protocol", "architecture", "region", "metric"]
    )
    row = summary.loc[("kits19", "unet3d", "tumor", "dice")]
    assert row["mean"] == pytest.approx(mine["value"].mean())
    folds = mine.groupby("fold")["value"].mean()
    assert row["sd_over_folds"] == pytest.approx(folds.std(ddof=1))
    assert row["n_cases"] == 12


def test_pairs_csv_holds_primary_and_exploratory_pairs(report):
    pairs = pd.read_csv(report / "pairs.csv")
    primary = pairs[(pairs["region"] == "tumor") & (pairs["metric"] == "dice")]
    assert len(primary) == 6
    assert primary["verdict"].notna().all()
    others = pairs.drop(primary.index)
    assert len(others) == 5 * 6
    assert others["verdict"].isna().all()


def test_ledger_csv_has_one_row_a_trial(report, workdir):
    ledger = pd.read_csv(report / "ledger.csv")
    assert len(ledger) == 24
    assert ledger["device_seconds"].isna().sum() == 1
    assert ledger.loc[ledger["status"] == "failed", "reason"].tolist() == ["out-of-memory"]


def test_markdown_has_complete_tables_and_existing_figures(report):
    text = (report / "report.md").read_text(encoding="utf-8")
    for match in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (report / match).is_file()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert f"| {LONG}" in "\n".join(rows)
    for block in re.split(r"\n(?!\|)", text):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) <= 1


@pytest.mark.parametrize(
    ("plan", "first"),
    [
        (
            Plan({"unet3d": 0.0}, predictions=False, profiles=False),
            "unet3d reaches a mean tumour Dice of",
        ),
        (Plan({"a": 0.0, "b": 0.001}, folds=1, seeds=1, showcase=0), "After 20 s of training each"),
        (
            Plan({"a": 0.0}, folds=1, seeds=1, failed=(("a", 0, 0, "non-finite loss"),)),
            "No trial has finished",
        ),
    ],
    ids=["one architecture", "one fold, one seed", "all failed"],
)
def test_thin_experiments_have_a_page_too(tmp_path, plan, first):
    page = build_report(write_workdir(tmp_path, plan)).read_text(encoding="utf-8")
    assert first in page
    assert _Page(page).open == []
    if plan.seeds == 1 and len(plan.gaps) == 2:
        assert "nothing can be said about the architectures" in page
    if plan.failed:
        assert "non-finite loss" in page


def test_stages_and_plateaus_are_shown_where_there_are_any(tmp_path):
    plan = Plan({"staged": 0.0, "plain": 0.1}, folds=1, seeds=1, showcase=0)
    workdir = write_workdir(tmp_path, plan)
    assert "Stages of training" not in build_report(workdir).read_text(encoding="utf-8")
    for trial in load_results(workdir).trials:
        if trial.name == "staged":
            (whole,) = trial.ledger.stages
            common = {"lr": 1e-4, "schedule": "plateau"}
            coarse = replace(
                whole,
                **common,
                name="coarse",
                steps=40,
                device_seconds=6.0,
                trained_parameters=700,
                frozen_parameters=1300,
                ended_by="until",
                ended_because="coarse.dice reached 0.95",
            )
            every = replace(
                whole,
                **common,
                name="all",
                from_step=40,
                from_seconds=6.0,
                steps=80,
                device_seconds=14.0,
                trained_parameters=2000,
            )
            falls = tuple(Reduction("all", step, 0.2) for step in (77, 99))
            change(trial.folder.ledger, LedgerRecord, stages=(coarse, every), lr_reductions=falls)
    text = build_report(workdir).read_text(encoding="utf-8")
    assert _Page(text).open == []
    section = text.split(">Stages of training<", 1)[1].split("</section>")[0]
    assert len(re.findall(r"<tr[ >]", section)) == 3
    for words in ("coarse.dice reached 0.95", "1.30 k", "0.0001", "77, 99"):
        assert words in section, words


def test_cysts_are_judged_on_scans_that_have_one(tmp_path):
    plan = Plan({"a": 0.0, "b": 0.02}, layout="kits23", folds=1, synthetic=False)
    built = build_report(write_workdir(tmp_path, plan))
    page = built.read_text(encoding="utf-8")
    assert "Cyst alone" in page
    drawing = (built.parent / "figures" / "cases.svg").read_text(encoding="utf-8")
    for panel in ("Kidney and masses", "Masses (tumour or cyst)", "Tumour", "Cyst"):
        assert f">{panel}<" in drawing
    assert "Masses (tumour or cyst)" in page
    assert "cyst yellow, dashed" in page
    assert "synthetic data" not in page


def test_scores_that_break_a_rule_do_not_hide_the_rest(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0, "b": 0.1}, folds=1, showcase=0))
    file = next(workdir.glob("trials/*/scores.parquet"))
    table = pd.read_parquet(file)
    table.loc[0, "value"] = float("nan")
    write_table(file, table, SCORES)
    page = build_report(workdir).read_text(encoding="utf-8")
    assert "the status is ok" in page
    assert "Fairness audit" in page


def test_a_vanished_dataset_costs_the_overlays_only(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0, "b": 0.1}, folds=1))
    (workdir / "dataset").rename(workdir / "moved")
    page = build_report(workdir).read_text(encoding="utf-8")
    assert "case_00000 is not drawn" in page
    assert "Ranking" in page


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A working directory with awkward names, a plugin that does not load, and its report."""
    plan = Plan({"<b>x</b>": 0.0, "y|z_&": 0.1}, folds=1, showcase=0)
    workdir = write_workdir(tmp_path_factory.mktemp("strange"), plan)
    broken = broken_entrant("ghost", "ImportError: no module ghost")
    replan(workdir, entrants=(*find_experiment(workdir).entrants, broken))
    return workdir, build_report(workdir).read_text(encoding="utf-8")


def test_a_broken_plugin_is_listed(strange):
    _, page = strange
    assert "ghost cannot take part" in page
    assert "ImportError: no module ghost" in page


def test_names_of_plugins_cannot_inject_markup(strange):
    _, page = strange
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "y|z_&amp;" in page
    assert _Page(page).open == []


def test_building_again_gives_the_same_page_and_only_reads(strange, tmp_path):
    workdir, page = strange
    before = {f: f.stat().st_mtime_ns for f in workdir.rglob("*") if f.is_file()}
    again = build_report(workdir, tmp_path / "again").read_text(encoding="utf-8")
    # But for the links to the trials, which a page outside of the working directory has not.
    assert "/trials/" in page
    assert again == re.sub(r'<a href="[./\w-]+/trials/\w+/">(\w+)</a>', r"\1", page)
    assert {f: f.stat().st_mtime_ns for f in workdir.rglob("*") if f.is_file()} == before


def test_an_output_that_is_a_file_is_refused(strange, tmp_path):
    target = tmp_path / "taken"
    target.write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        build_report(strange[0], target)
    assert target.read_text() == "mine"
