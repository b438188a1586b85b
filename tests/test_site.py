"""The site as a reader gets it: built without a warning, links, search, pages in a browser.

Building it takes as long as a twelfth of the suite, so `.ci/run` does it in its own step:
``pytest -n 0 -m exhaustive tests/test_site.py``.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from kitsbench.cli import VERBS
from kitsbench.metrics import METRICS

DOCS = Path(__file__).resolve().parents[1] / "docs"

pytestmark = pytest.mark.exhaustive


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


def test_the_site_builds_without_a_warning(site):
    page = (site / "cli.html").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"kitsbench {verb}" in page
    page = html.unescape((site / "evaluation.html").read_text(encoding="utf-8"))
    page = page.replace("’", "'")  # as typeset
    for metric in METRICS.values():
        assert f"<p>{metric.meaning}</p>" in page


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


def test_the_glossary_has_every_word_of_the_report(site):
    from kitsbench.reporting.words import GLOSSARY

    page = html.unescape((site / "glossary.html").read_text(encoding="utf-8"))
    page = page.replace("’", "'")
    for word, meaning in GLOSSARY:
        assert re.search(rf"<dt[^>]*>{re.escape(word)}<", page), word
        assert meaning.split(". ")[0].split(" “")[0][:60] in page, word


def test_search_works_without_a_server(site, browser_page):
    seen = browser_page()
    seen.open((site / "search.html").resolve().as_uri() + "?q=budget")
    seen.until("document.querySelectorAll('#search-results li a').length > 5")
    found = seen.page.eval_on_selector_all(
        "#search-results li a", "links => links.map(link => link.href)"
    )
    assert any(link.startswith((site / "budgets.html").resolve().as_uri()) for link in found)
    assert (seen.console, seen.asked) == ([], [])


SAMPLE = ("index", "cli", "formats", "reported", "experiments", "_generated/cards/unet3d")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("names", [SAMPLE, ()], ids=["sample", "whole site"])
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
