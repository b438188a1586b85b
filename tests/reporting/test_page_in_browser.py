"""The page of a report in a real browser: tables, figures, keyboard, print, and who cannot see."""

from __future__ import annotations

import csv
import io
import re

import pytest
from real_browser import pages_of
from reporting.conftest import LONG, PLAN

from kitsbench.reporting import live_tables

LIVE = "document.documentElement.dataset.tables === 'live'"
OPEN = "document.querySelectorAll('details:not(.jump)').forEach((fold) => (fold.open = true))"
WIDE = "document.documentElement.scrollWidth - window.innerWidth"
# A point where a figure has a mark that is in sight: the middle of an arc's or an outline's box may
# be empty, and one mark may lie below another.
DRAWN = """
(figure) => {
  for (const mark of figure.querySelectorAll(".mark")) {
    const own = mark.querySelector(".dot, .glyph, use, circle, rect, path") || mark;
    const points = [];
    if (own.getPointAtLength) {
      for (const share of [0, 0.25, 0.5, 0.75]) {
        const place = own.getPointAtLength(own.getTotalLength() * share);
        const { x, y } = place.matrixTransform(own.getScreenCTM());
        points.push([x, y]);
      }
    }
    const box = own.getBoundingClientRect();
    points.push([box.x + box.width / 2, box.y + box.height / 2]);
    for (const [x, y] of points) {
      const hit = document.elementFromPoint(x, y);
      if (hit && figure.contains(hit) && hit.closest(".mark")) return [x, y];
    }
  }
  return null;
}
"""
_TABLES = """
async () => {
  const wait = (time) => new Promise((go) => setTimeout(go, time));
  const shown = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].innerText);
  const every = [...document.querySelectorAll(".scroll.live table")];
  const found = [];
  for (const table of every) {
    const before = shown(table);
    const head = table.tHead.rows[0].cells[0];
    head.click();
    await wait(5);
    const up = shown(table), said = head.getAttribute("aria-sort");
    head.click();
    await wait(5);
    const down = shown(table);
    const box = table.closest(".dt-container").querySelector("input[type=search]");
    const word = before[before.length - 1].split("\\n")[0];
    const fill = async (text) => {
      box.value = text;
      box.dispatchEvent(new Event("input", { bubbles: true }));
      await wait(5);
    };
    await fill(word);
    const rows = [...table.tBodies[0].rows].map((row) => row.innerText);
    await fill("");
    const name = table.caption.innerText;
    const heads = table.querySelectorAll("tbody th[scope=row]").length;
    found.push({ name, before, up, down, said, word, rows, heads, filter: box.ariaLabel });
  }
  return found;
}
"""
_COPIED = """
() => {
  window.copied = [];
  document.execCommand = () => {
    const box = document.querySelector("body > div > textarea, textarea");
    window.copied.push(box ? box.value : String(getSelection()));
    return true;
  };
}
"""


def until(page, expression):
    """Wait for a condition; Playwright's own way asks for what the page's policy refuses."""
    for _ in range(600):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    pytest.fail(f"waited in vain for {expression}")


def drawn(page, figure):
    """A place of the window where a mark of a figure is; a busy machine draws it a while later."""
    for _ in range(200):
        place = figure.evaluate(DRAWN)
        if place is not None:
            return place
        page.wait_for_timeout(50)
    pytest.fail(f"no mark is in sight of {figure.inner_text()[:60]}")


@pytest.fixture(scope="module")
def window(chromium):
    if live_tables.table_library() is None:
        pytest.skip("itables is not installed here")
    with pages_of(chromium) as opened:
        yield opened


@pytest.fixture(scope="module")
def seen(window, report):
    """The report at 1400 pixels, with everything unfolded and its tables alive."""
    shown = window()
    page = shown.open(report / "index.html")
    until(page, LIVE)
    page.evaluate(OPEN)
    until(page, "document.querySelectorAll('.scroll > table').length === 0")
    return shown


@pytest.fixture(scope="module")
def phone(window, report):
    shown = window(width=390, height=844, dark=True)
    page = shown.open(report / "index.html")
    until(page, LIVE)
    return shown


def test_every_table_sorts_and_filters_and_names_its_rows(seen):
    tables = seen.page.evaluate(_TABLES)
    assert len(tables) >= 14
    for table in tables:
        assert table["name"]
        assert table["filter"] == f"Filter {table['name']}"
        assert table["heads"] == len(table["before"]), table["name"]
        assert table["said"] == "ascending", table["name"]
        assert sorted(table["up"]) == sorted(table["down"]) == sorted(table["before"])
        if len(set(table["before"])) > 1:
            assert table["up"] != table["down"], table["name"]
        assert table["rows"], table["name"]
        assert all(table["word"] in row for row in table["rows"]), table["name"]


def test_a_table_is_copied_as_csv_markdown_and_latex(seen):
    page = seen.page
    page.evaluate(_COPIED)
    for kind in ("CSV", "Markdown", "LaTeX"):
        page.locator("#ranking .dt-button", has_text="Copy").first.click()
        page.locator(".dt-button-collection .dt-button", has_text=kind).click()
    page.keyboard.press("Escape")
    until(page, "window.copied.length === 3")
    written, markdown, latex = page.evaluate("window.copied")
    head, *rows = csv.reader(io.StringIO(written.strip()))
    assert head[:3] == ["Rank", "Architecture", "Mean tumour Dice"]
    assert {row[1].split()[0] for row in rows} == {*PLAN.gaps}
    assert all(re.fullmatch(r"0\.\d{3}", row[2]) for row in rows)  # without what a phone adds
    assert markdown.splitlines()[1].startswith("| --- | --- | ---: |")
    assert rf"{LONG.replace('_', chr(92) + '_')} " in latex
    assert latex.count(r" \\") == 1 + len(PLAN.gaps)
    assert "{}[0." in latex  # or the interval would be an argument of the row before


def test_columns_can_be_hidden(seen):
    page = seen.page
    heads = "[...document.querySelectorAll('#ranking thead th')].map((th) => th.innerText)"
    before = " ".join(page.evaluate(heads))
    page.locator("#ranking .dt-button", has_text="Columns").click()
    page.locator(".dt-button-collection .dt-button", has_text=re.compile("^95.% CI$")).click()
    page.keyboard.press("Escape")
    after = " ".join(page.evaluate(heads))
    assert "CI" in before
    assert "CI" not in after


def test_every_figure_answers_a_pointer_and_the_keyboard(seen):
    page = seen.page
    figures = page.locator("figure")
    names = []
    for place in range(figures.count()):
        figure = figures.nth(place)
        if figure.locator("img").count():
            assert len(figure.locator("img").get_attribute("alt")) > 60
            continue
        stop = figure.locator(".mark[tabindex='0']:visible")
        assert stop.count() == 1, figure.inner_text()[:60]  # one stop of the tabulator
        stop.evaluate("mark => mark.scrollIntoView({block: 'center', behavior: 'instant'})")
        page.mouse.move(1, 1)
        page.wait_for_timeout(200)  # scrolling hides what was told, and ends a moment later
        place_of_mark = drawn(page, figure)
        page.mouse.move(*place_of_mark)
        page.locator(".tip").wait_for(state="visible", timeout=5000)
        told = page.locator(".tip").inner_text()
        assert told.strip()
        stop.focus()
        first = page.locator(".tip").inner_text()
        page.keyboard.press("ArrowDown")
        second = page.locator(".tip").inner_text()
        assert second != first
        names.append((first, second))
        page.keyboard.press("Escape")
        assert page.locator(".tip").is_hidden()
    assert len(names) >= 8
    assert any(told.startswith("case_") for told, _ in names)
    assert any(" minus " in told for told, _ in names)
    assert any("of the draws" in told for told, _ in names)


def test_a_dot_of_a_drawn_case_leads_to_its_picture(seen):
    links = seen.page.locator("#cases a.mark")
    assert links.count() == 2 * len(PLAN.gaps)  # two regions
    place = links.first.get_attribute("href")
    assert place == "#case-case_00000"
    assert seen.page.locator(f"{place} img").count() == 1


def test_another_baseline_shows_its_own_pairs(seen):
    page = seen.page
    rows = page.locator(".forest tbody:visible tr")
    before = rows.locator("th").all_inner_texts()
    assert LONG not in before
    page.locator(".forest select").select_option(label="unet3d")
    after = [text.replace("\n", "") for text in rows.locator("th").all_inner_texts()]
    assert "unet3d" not in after
    assert LONG in after
    assert page.locator(".forest .base").inner_text() == "unet3d"
    assert rows.first.get_attribute("data-tip").startswith(f"{LONG} minus unet3d: +0.")


def test_a_row_that_is_chosen_is_marked_everywhere(seen):
    page = seen.page
    page.locator("#answer tr[data-name='msff_net']").click()
    marked = page.locator(".picked")
    assert marked.count() >= 5
    assert {*marked.evaluate_all("rows => rows.map((row) => row.dataset.name)")} == {"msff_net"}
    page.locator("#answer tr[data-name='msff_net']").click()
    assert page.locator(".picked").count() == 0


def test_the_bar_leads_copies_and_skips(seen):
    page = seen.page
    page.evaluate("window.scrollTo(0, 0); document.activeElement.blur()")
    page.evaluate(_COPIED)
    page.locator(".bar .copy-methods").click()
    (methods,) = page.evaluate("window.copied")
    assert "4 entrants (" in methods
    assert "adjusted by Holm over all pairs" in methods
    page.locator(".jump summary").click()
    page.locator(".jump nav a", has_text="How stable the ranking is").click()
    assert page.url.endswith("#stability")
    assert not page.evaluate("document.querySelector('.jump').open")
    first = page.evaluate("document.querySelector('body').firstElementChild.textContent")
    assert first == "Skip to the answer"


def test_what_is_folded_is_printed_and_folded_again(phone):
    page = phone.page
    folded = "document.querySelectorAll('details:not([open]):not(.jump)').length"
    before = page.evaluate(folded)
    assert before >= 5
    columns = page.locator("#ranking thead th:visible")
    shown = columns.count()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(folded) == 0
    assert columns.count() > shown  # paper has room for what a phone has not
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(folded) == before
    assert columns.count() == shown


def test_a_phone_shows_names_scores_and_intervals_without_scrolling(phone):
    page = phone.page
    assert page.evaluate(WIDE) <= 0
    heads = page.locator("#ranking thead th:visible")
    names = [text.split("\n")[0].strip() for text in heads.all_inner_texts()]
    assert names == ["Rank", "Architecture", "Mean tumour Dice"]
    box = page.locator("#ranking tbody tr:first-child td.n:visible").first.bounding_box()
    assert box["x"] + box["width"] <= 390
    assert re.search(r"\[0\.\d+, ", page.locator("#ranking tbody tr").first.inner_text())


def _complaints(page, standard):
    found = standard.Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found]


def test_a_phone_says_what_it_hides_and_a_wider_window_brings_it_back(window, report):
    page = window(width=390, height=844).open(report / "index.html")
    until(page, LIVE)
    box = page.locator("#fairness .scroll.live").first
    heads = [text.split("\n")[0].strip() for text in box.locator("thead th").all_inner_texts()]
    assert heads == ["Architecture", "Of budget", "Steps"]
    told = box.locator(".hint").inner_text()
    assert re.search(r"^\d+ columns are hidden: see them under “Columns”", told)
    page.set_viewport_size({"width": 1400, "height": 900})
    until(page, "document.querySelectorAll('#fairness .scroll.live thead th').length > 8")
    assert "hidden" not in (box.locator(".hint").text_content() or "")
    page.set_viewport_size({"width": 390, "height": 844})
    until(page, "document.querySelectorAll('#fairness .scroll.live thead th').length === 3")


def test_who_cannot_see_is_not_shut_out(seen, phone):
    reason = "axe-playwright-python is not installed, which brings axe-core (extra test)"
    standard = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason)
    assert seen.page.evaluate(WIDE) <= 0
    assert _complaints(seen.page, standard) == []  # light, unfolded
    assert _complaints(phone.page, standard) == []  # dark, folded
    seen.page.emulate_media(media="print")
    assert _complaints(seen.page, standard) == []
    seen.page.emulate_media(media="screen")


def test_a_dot_of_a_case_that_the_viewer_holds_opens_it_there(window, report):
    shown = window()
    page = shown.open(report / "index.html")
    until(page, LIVE)
    held = page.locator("#viewer tbody a")
    if not held.count():
        pytest.skip("the viewer's library is not installed here")
    case = held.first.inner_text()
    mark = page.locator("#cases .mark", has=page.locator(f"title:text-matches('^{case}, ')")).first
    mark.dispatch_event("click")
    until(page, "location.hash.startsWith('#case=')")
    until(page, "Boolean(document.querySelector('iframe.viewer'))")
    assert page.locator("iframe.viewer").get_attribute("src").endswith(f"#case={case}")
    page.evaluate(
        "document.querySelectorAll('#cases details').forEach((fold) => (fold.open = true))"
    )
    assert page.locator("#cases tbody th a", has_text=case).get_attribute("href") == f"#case={case}"


def test_the_page_complains_of_nothing_and_asks_nobody(seen, phone):
    for shown in (seen, phone):
        assert shown.console == []
        assert shown.asked == []
