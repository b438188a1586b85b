"""Every field that somebody else fills, filled with what does harm; a look into every output."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from command_line import call_kitsbench
from hostile import EVERYTHING, HOSTILE, Page, unseen
from markdown_it import MarkdownIt
from reporting.workdirs import Plan, broken_entrant, write_workdir
from stored_files import change, replan

from kitsbench.experiments.records import Status, find_experiment
from kitsbench.leaderboard import Entry, add_entries, read_board
from kitsbench.leaderboard.markdown import MARK, render_board
from kitsbench.leaderboard.table import parse_table, read_table_text

NAMES = (f"{HOSTILE[0]}{HOSTILE[1]}{HOSTILE[3]}", f"=1+1 {HOSTILE[4]}{HOSTILE[5]}", HOSTILE[15])
TAGS = {"script", "iframe", "b", "x"}


def storable(text: str) -> str:
    """Without halves of characters, which no file holds: the hash of a plan is that of its file."""
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """An experiment whose names, titles, notes, reasons and versions are hostile."""
    plan = Plan(
        dict(zip(NAMES, (0.0, 0.1, 0.05), strict=True)),
        folds=2,
        failed=((NAMES[0], 1, 0, "plugin error"),),
        predictions=False,
    )
    folder = write_workdir(tmp_path_factory.mktemp("hostile"), plan)
    record, everything = find_experiment(folder), storable(EVERYTHING)
    words = {"title": everything, "paper": everything, "distribution": everything}
    words |= {"version": everything, "notes": (everything, *map(storable, HOSTILE))}
    entrants = [entrant.model_copy(update=words) for entrant in record.entrants]
    entrants.append(broken_entrant(everything, everything))
    dataset = {"name": everything, "note": everything, "excluded": {everything: everything}}
    replan(
        folder,
        entrants=tuple(entrants),
        dataset=record.dataset.model_copy(update=dataset),
        device=record.device.model_copy(update={"name": everything}),
        command=everything,
    )
    for status in folder.glob("trials/*/status.json"):
        if Status.read(status).status == "failed":
            change(status, Status, message=EVERYTHING)
    return folder


@pytest.fixture(scope="module")
def report(workdir, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    done = call_kitsbench("report", workdir, "-o", out)
    assert done.code == 0, done.err
    assert unseen(done.out + done.err) == []
    return out


def test_the_page_has_the_tags_of_its_template_alone(report):
    page = (report / "index.html").read_text(encoding="utf-8")
    assert unseen(page) == []
    tags = []

    class Tags(Page):
        def handle_starttag(self, tag, attributes):
            tags.append(tag)
            assert not any(key.startswith("on") for key, _ in attributes), attributes
            links = dict(attributes).get("href") or ""
            assert "javascript" not in links
            assert "evil" not in links

    text = Tags(page).text
    assert (TAGS - {"script"}).isdisjoint(tags)
    own = re.findall(r'<script>\n|<script type="application/\w+" id="[a-z-]+">', page)
    assert tags.count("script") == len(own)
    assert "<script>alert(1)</script>" in text


def test_the_markdown_has_the_blocks_of_its_template_alone(report):
    page = (report / "report.md").read_text(encoding="utf-8")
    assert unseen(page) == []
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    inside = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in (*tokens, *inside)}
    assert kinds.isdisjoint({"html_block", "html_inline", "link_open", "fence", "code_block"})
    assert all(i.attrs["src"].startswith("figures/") for i in inside if i.type == "image")
    heads = [
        tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"
    ]
    assert "Heading" not in heads
    rows = [token.map for token in tokens if token.type == "tr_open"]
    lines = [line for line in page.splitlines() if line.startswith("|")]
    rules = [line for line in lines if re.fullmatch(r"\| (---:? \| )*---:? \|", line)]
    assert len(rows) == len(lines) - len(rules)
    assert not any(line.startswith("| forged") for line in lines)


def test_the_figures_are_whole_and_show_the_names(report):
    drawings = sorted((report / "figures").glob("*.svg"))
    assert drawings
    for file in drawings:
        tree = ElementTree.parse(file)
        assert {element.tag.split("}")[1] for element in tree.iter()}.isdisjoint(TAGS)
    assert r"$\frac{1}$" in "".join(file.read_text(encoding="utf-8") for file in drawings)
    assert all(file.parent == report / "figures" for file in (report / "figures").rglob("*.*"))


def test_latex_keeps_no_command(report):
    files = sorted(report.glob("tab-*.tex"))
    assert {file.stem for file in files} >= {"tab-ranking", "tab-names", "tab-pairs"}
    assert (report / "tables.tex").read_text().count(r"\input{tab-") == len(files)
    for file in files:
        page = file.read_text(encoding="utf-8")
        assert unseen(page) == []
        assert not re.search(r"\\(input|frac|\[)", page)
        assert page.count(r"\begin{") == page.count(r"\end{")
        assert re.fullmatch(r"[\x00-\x7fÀ-ž]*", page)  # what pdflatex takes without packages


def test_no_cell_of_a_table_is_a_formula(report):
    for file in report.glob("*.csv"):
        for row in csv.reader(io.StringIO(file.read_text(encoding="utf-8"))):
            for cell in row:
                assert unseen(cell) == []
                assert not cell or (cell[0] not in "=+@\t" and not re.match(r"-[^\d]", cell)), cell


def test_a_table_that_was_written_is_read_with_its_own_names(report):
    done = call_kitsbench("compare", report / "scores.csv", "--protocol", "kits19", "--json")
    assert done.code == 0, done.err
    names = {row["architecture"] for row in done.json["ranking"]}
    assert any(name.startswith("=1+1 ") for name in names)


@pytest.mark.parametrize("verb", ["claims", "compare"])
def test_a_terminal_shows_names_as_text(verb, workdir, report):
    place = workdir if verb == "claims" else report / "scores.csv"
    more = () if verb == "claims" else ("--protocol", "kits19", "--rankings", "--secondary")
    done = call_kitsbench(verb, place, *more)
    assert done.code == 0, done.err
    assert unseen(done.out + done.err) == []
    assert not any(line.startswith("# Heading") for line in done.out.splitlines())


def test_a_board_shows_entries_as_text(workdir, tmp_path):
    add_entries(workdir, tmp_path / "board")
    entries = []
    for entry in read_board(tmp_path / "board"):
        made = entry.provenance.model_copy(
            update={"distribution": EVERYTHING, "version": EVERYTHING, "source_hash": HOSTILE[5]}
        )
        entries.append(entry.model_copy(update={"provenance": made, "title": EVERYTHING}))
    assert all(isinstance(entry, Entry) for entry in entries)
    # Another budget, and with it a table and a heading of its own.
    budget = entries[0].budget.model_copy(update={"amount": 7.0, "text": EVERYTHING})
    recipe = entries[0].recipe.model_copy(update={"name": EVERYTHING, "digest": HOSTILE[5]})
    entries[0] = entries[0].model_copy(update={"budget": budget, "recipe": recipe})
    page = render_board(EVERYTHING, entries)
    assert unseen(page) == []
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    inside = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in (*tokens, *inside)}
    assert kinds.isdisjoint({"html_inline", "link_open", "image", "fence", "hr"})
    blocks = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert blocks == [MARK]
    assert [token.type for token in tokens].count("heading_open") == 4
    assert [token.type for token in tokens].count("tr_open") == 2 + len(entries)


def test_the_table_beside_an_entry_holds_no_formula_and_its_own_names(workdir, tmp_path):
    add_entries(workdir, tmp_path / "board")
    (file,) = (tmp_path / "board").glob("=1-1*.csv.gz")
    text = read_table_text(file)
    cells = next(row for row in csv.reader(io.StringIO(text.decode())) if row[0] != "dataset")
    assert cells[1].startswith("'=1+1 ")
    assert set(parse_table(text, file)["architecture"]) <= set(NAMES)


def test_the_json_of_a_report_holds_the_names_as_they_are(workdir, report):
    document = json.loads((report / "comparison.json").read_text(encoding="utf-8"))
    assert {row["architecture"] for row in document["ranking"]} <= set(NAMES)
