"""The site: it must name what there is, and nothing else."""

from __future__ import annotations

import ast
import configparser
import html
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from kitsbench.cli import VERBS, cli
from kitsbench.metrics import METRICS, say

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_and_options_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    context = cli.make_context("kitsbench", [], resilient_parsing=True)
    for line in re.findall(r"kitsbench ((?:[a-z]+ ?)[^`\n]*)[`\n]", text):
        command, words = cli, line.split()
        while words and hasattr(command, "commands" if command is not cli else "list_commands"):
            found = command.get_command(context, words[0])
            if found is None:
                break
            command, words = found, words[1:]
        if command is cli:
            continue  # the word after the name is prose
        options = {name for p in command.params for name in p.opts} | {"--help", "-h", "--debug"}
        for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", " ".join(words)):
            assert option in options, f"{page.name}: {line}"


def test_every_public_name_of_the_contract_is_documented():
    import kitsbench.architecture

    text = (DOCS / "contract.md").read_text(encoding="utf-8")
    for name in kitsbench.architecture.__all__:
        assert re.search(rf"\.{name}$", text, re.MULTILINE), name


def cells(table):
    """Rows of a Markdown table by the name in their first cell."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {first.strip("`"): rest for first, *rest in lines}


def test_the_tables_of_metrics_are_made_from_their_facts():
    spec = importlib.util.spec_from_file_location("metric_tables", DOCS / "metric_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    facts, empty = cells(tables.facts()), cells(tables.empty_and_missing())
    assert list(facts) == list(empty) == list(METRICS)
    for name, metric in METRICS.items():
        assert facts[name][0] == metric.meaning
        assert facts[name][4] == (
            f"{metric.margin_in('tumor'):g}; {metric.margin_in('kidney'):g} with the kidney"
            if name in ("dice", "surface_dice")
            else "–"
        )
        statuses = ("empty_prediction", "false_positive", "both_empty", "failed")
        worth = [metric.at(status) for status in statuses] + [metric.at("failed", holds=False)]
        assert empty[name][:5] == [say(value) for value in worth]
    page = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    for part in ("metrics", "empty_and_missing"):
        assert f"```{{include}} _generated/{part}.md" in page
    assert not re.search(r"^\| `?(dice|recall|hd95_mm)", page, re.MULTILINE)  # no second table


def test_the_margins_that_the_page_on_statistics_names_are_the_defaults():
    text = " ".join((DOCS / "statistics.md").read_text(encoding="utf-8").split())
    tumour, kidney = (METRICS["dice"].margin_in(region) for region in ("tumor", "kidney"))
    assert (
        f"{tumour:g} Dice for tumours, masses and cysts, {kidney:g} where the kidney is part of "
        "the region"
    ) in text


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text(encoding="utf-8")):
            assert (DOCS / target).is_file(), f"{page.name}: {target}"


def test_a_run_is_as_large_as_the_pages_say():
    from kitsbench.experiments.asked.resolve import DATASET, PHANTOM

    text = " ".join((DOCS / "first_run.md").read_text(encoding="utf-8").split())
    steps = {kind: budget.amount for kind, budget in PHANTOM.budget.items()}
    assert {budget.unit for budget in PHANTOM.budget.values()} == {"steps"}
    assert PHANTOM.folds == (0,)
    assert (
        f"{PHANTOM.cases} phantom scans, the first of {PHANTOM.split} folds, "
        f"{PHANTOM.seeds} seed, {steps['cpu']:g} steps of training a trial on a CPU and "
        f"{steps['cuda']:g} on a GPU"
    ) in text
    assert f"{DATASET.split} folds and {DATASET.seeds} seeds" in text
    minutes, hours = DATASET.budget["cpu"].amount / 60, DATASET.budget["cuda"].amount / 3600
    assert f"{minutes:g} minutes of training a trial on a CPU and {hours:g} hours on a GPU" in text
    splits = (DOCS / "folds.md").read_text(encoding="utf-8")
    assert f"the default: {DATASET.split} folds, {PHANTOM.split} on the phantom" in splits


def test_the_map_fits_a_screen_and_leads_somewhere():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (own,) = re.findall(r"^## The map\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert own.count("\n") <= 45
    rooms = {path.parent.name for path in (ROOT / "kitsbench").glob("*/__init__.py")}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", own)} == set()
    named = set(re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:toml|md|cfg))`", text))
    assert len(named) > 20
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_room_says_what_goes_in_and_what_comes_out():
    for folder in sorted(path.parent for path in (ROOT / "kitsbench").glob("*/**/__init__.py")):
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert re.search(r"^In: .*\bOut: ", text or "", re.MULTILINE | re.DOTALL), folder


def test_the_citation_is_one_and_names_this_version_and_licence():
    """By the rules of the Citation File Format 1.2.0 for the keys that it has."""
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    known = {"abstract", "type", "version", "license", "keywords"}
    assert set(found) <= known | {"cff-version", "message", "title", "authors"}
    assert found["cff-version"] == "1.2.0"
    assert found["type"] in ("software", "dataset")
    for author in found["authors"]:
        assert set(author) & {"name", "family-names"}
    assert len(set(found["keywords"])) == len(found["keywords"]) > 0
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    for key in ("version", "license"):
        assert found[key] == setup["metadata"][key]


@pytest.mark.parametrize(
    "room", ["statistics", "evaluation", "leaderboard", "claims", "reporting", "profiling"]
)
def test_what_a_room_hands_out_is_described_for_the_page_on_python(room):
    """The page takes every name of ``__all__`` that has a docstring."""
    page = (DOCS / "python_api.md").read_text(encoding="utf-8")
    assert f".. automodule:: kitsbench.{room}\n   :members:\n" in page
    module = importlib.import_module(f"kitsbench.{room}")
    for name in module.__all__:
        kind = getattr(module, name)
        assert not callable(kind) or kind.__doc__, name


def test_every_variable_that_is_read_stands_on_its_page():
    page = (DOCS / "environment.md").read_text(encoding="utf-8")
    read = set()
    for file in (ROOT / "kitsbench").rglob("*.py"):
        read |= set(re.findall(r"[\"']_?(KITSBENCH_[A-Z_]+)[\"']", file.read_text("utf-8")))
    assert len(read) >= 2
    assert {name for name in read if name not in page} == set()


def test_the_form_for_a_board_entry_asks_for_what_boards_compare(tmp_path):
    """What decides which board an entry fits is named to whoever fills in the form."""
    from reporting.workdirs import Plan, write_workdir

    from kitsbench.leaderboard import add_entries, read_board

    form = (ROOT / ".github/ISSUE_TEMPLATE/board_entry.yml").read_text(encoding="utf-8")
    plan = Plan({"a": 0.0}, 1, 1, 2, showcase=0, predictions=False, profiles=False)
    add_entries(write_workdir(tmp_path / "work", plan), tmp_path / "board")
    entry = read_board(tmp_path / "board")[0]
    for condition in entry.conditions:
        assert re.search(rf"\b{condition}\b", form), condition


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as HTML, and what building it said."""
    for name in ("sphinx", "sphinx_click", "sphinx_copybutton", "sphinx_design"):
        pytest.importorskip(name)
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    built = subprocess.run(
        [*command, str(DOCS), str(out)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return out


@pytest.mark.slow
def test_the_site_builds_without_a_warning(site):
    page = (site / "cli.html").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"kitsbench {verb}" in page
    page = html.unescape((site / "evaluation.html").read_text(encoding="utf-8"))
    page = page.replace("’", "'")  # as typeset
    for metric in METRICS.values():
        assert f"<p>{metric.meaning}</p>" in page


@pytest.mark.slow
def test_links_of_the_site_lead_to_files(site):
    """Sphinx knows its own references; raw links and figures are looked after here."""
    pages = [page for page in site.rglob("*.html") if not {"_modules", "_static"} & {*page.parts}]
    assert len(pages) > 50
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r'(?:href|src)="([^"#?]+)', text):
            if ":" in target:  # an address
                continue
            assert (page.parent / target).exists(), f"{page.relative_to(site)}: {target}"
    assert (site / "schemas" / "entry.schema.json").is_file()


@pytest.mark.slow
def test_links_of_the_site_lead_to_places_in_files(site):
    places = {
        page.resolve(): set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")))
        for page in site.rglob("*.html")
    }
    followed = 0
    for page in places:
        if "_modules" in page.parts:
            continue
        for target in re.findall(r'href="([^":]*#[^"]+)"', page.read_text(encoding="utf-8")):
            file, _, place = html.unescape(unquote(target)).partition("#")
            there = places.get((page.parent / file).resolve() if file else page)
            if there is not None:
                followed += 1
                assert place in there, f"{page.name}: {target}"
    assert followed > 1000


@pytest.mark.slow
def test_the_glossary_has_every_word_of_the_report(site):
    from kitsbench.reporting.words import GLOSSARY

    page = html.unescape((site / "glossary.html").read_text(encoding="utf-8"))
    page = page.replace("’", "'")
    for word, meaning in GLOSSARY:
        assert re.search(rf"<dt[^>]*>{re.escape(word)}<", page), word
        assert meaning.split(". ")[0].split(" “")[0][:60] in page, word


@pytest.mark.slow
def test_search_works_without_a_server(site, browser_page):
    seen = browser_page()
    seen.open((site / "search.html").resolve().as_uri() + "?q=budget")
    seen.until("document.querySelectorAll('#search-results li a').length > 5")
    found = seen.page.eval_on_selector_all(
        "#search-results li a", "links => links.map(link => link.href)"
    )
    assert any(link.startswith((site / "budgets.html").resolve().as_uri()) for link in found)
    assert (seen.console, seen.asked) == ([], [])


SAMPLE = ("index", "cli", "formats", "reported", "_generated/cards/unet3d")


@pytest.mark.slow
@pytest.mark.timeout(3600)  # with the site that is built for it, beside other work
@pytest.mark.parametrize(
    "names", [SAMPLE, pytest.param((), marks=pytest.mark.exhaustive)], ids=["some", "all"]
)
def test_pages_in_a_browser(site, browser_page, names):
    """No complaint of the console, no request to anybody, nothing that axe finds."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    pages = [site / f"{name}.html" for name in names] or sorted(
        page for page in site.rglob("*.html") if not {"_modules", "_static"} & {*page.parts}
    )
    seen = browser_page()
    found = []
    for page in pages:
        seen.open(page)
        seen.page.wait_for_timeout(50)
        for violation in axe.Axe().run(seen.page).response["violations"]:
            nodes = [node["html"][:120] for node in violation["nodes"][:3]]
            found.append((str(page.relative_to(site)), violation["id"], nodes))
    assert found == []
    # Axe reads style sheets anew, which a browser refuses for files; nobody else does.
    own = ("ERR_FAILED", "CORS", "preload assets")
    assert [line for line in seen.console if not any(word in line for word in own)] == []
    assert seen.asked == []
