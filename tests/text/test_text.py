"""Foreign text in every medium: judged by what reads that medium."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata

import pandas as pd
import pytest
from hostile import EVERYTHING, HOSTILE, Page, unseen
from markdown_it import MarkdownIt
from rich.console import Console

from kitsbench import text
from kitsbench.text.screen import Column, make_table, words

ORDINARY = (
    "unet3d:width=0.25,depth=4",
    "attention_vnet",
    "0.812 [0.790, 0.834]",
    "−0.020",
    "-0.5",
    "Kidney and tumour (95 % CI)",
    "p <0.001",
    "a, b & c",
    "Çiçek et al., 2016: U-Net; Müller’s “kidney”",
    "日本語",
)
ALL = (*HOSTILE, EVERYTHING)


@pytest.mark.parametrize(
    "medium", [text.terminal, text.markdown, text.markdown_code, text.latex, text.html]
)
@pytest.mark.parametrize("foreign", ALL)
def test_every_letter_is_seen(medium, foreign):
    shown = medium(foreign)
    assert unseen(shown) == []
    shown.encode("utf-8")


def test_every_unseen_letter_of_unicode_is_written_out():
    every = "".join(map(chr, range(0x110000)))
    assert unseen(text.visible(every)) == []
    assert text.visible("\x1b\u202e\ud800\U000e0041") == r"\x1b\u202e\ud800\U000e0041"
    assert text.visible(b"case_\xff".decode(errors="surrogateescape")) == r"case_\xff"
    letters = "".join(c for c in every if unicodedata.category(c)[0] in "LMNP")
    assert text.visible(letters) == letters


@pytest.mark.parametrize("ordinary", ORDINARY)
def test_ordinary_text_stays_as_it_is(ordinary):
    assert text.terminal(ordinary) == ordinary
    assert text.csv_cell(ordinary) == ordinary
    assert text.markdown(ordinary) == ordinary


# -- the terminal -----------------------------------------------------------------------------


@pytest.mark.parametrize("foreign", ALL)
def test_a_terminal_shows_one_line_without_a_style(foreign):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=4000, legacy_windows=False)
    console.print(words(foreign))
    assert stream.getvalue().splitlines() == [text.terminal(foreign)]


@pytest.mark.parametrize("foreign", ALL)
def test_a_table_shows_its_title_heads_and_cells(foreign):
    console = Console(file=io.StringIO(), width=3000)
    console.print(make_table([Column(foreign, whole=True)], [[foreign]], foreign))
    shown = console.file.getvalue()
    assert unseen(shown) == []
    assert shown.count(text.terminal(foreign).strip()) >= 2


def test_a_long_line_keeps_both_ends():
    shown = text.terminal("a" + "x" * 5_000_000 + "z")
    assert len(shown) == text.LONGEST
    assert (shown[0], shown[-1]) == ("a", "z")


def test_lines_of_an_error_end_where_a_sentence_does():
    message = "a\nname: the key b is wrong.\nDelete it and run again."
    assert text.paragraph(message) == ["a name: the key b is wrong.", "Delete it and run again."]


# -- HTML -------------------------------------------------------------------------------------


@pytest.mark.parametrize("foreign", ALL)
def test_html_has_no_tag_more(foreign):
    page = Page(f'<p title="{text.html(foreign)}">{text.html(foreign)}</p>')
    assert page.tags == ["p"]
    assert page.text == text.visible(foreign)


# -- Markdown ---------------------------------------------------------------------------------


def read(page: str) -> tuple[set[str], str]:
    """Kinds of parts of a page, and its text, as a reader of GitHub's Markdown has them."""
    kinds, shown = set(), ""
    todo = list(
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(page)
    )
    while todo:
        token = todo.pop(0)
        kinds.add(token.type)
        todo = [*(token.children or ()), *todo]
        shown += token.content if token.type in ("text", "text_special", "code_inline") else ""
    return kinds, shown


@pytest.mark.parametrize("foreign", ALL)
@pytest.mark.parametrize("medium", [text.markdown, text.markdown_code])
def test_markdown_shows_a_sentence_as_text(foreign, medium):
    kinds, shown = read(medium(foreign))
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "code_inline"}
    assert "code_inline" not in kinds or medium is text.markdown_code
    assert shown == text.one_line(foreign).strip()


@pytest.mark.parametrize("foreign", ALL)
def test_markdown_keeps_items_and_rows_together(foreign):
    cell = text.markdown(foreign)
    kinds, _ = read(f"- {cell}\n- **x:** {cell}\n")
    assert kinds.isdisjoint(
        {"html_inline", "html_block", "link_open", "image", "heading_open", "hr"}
    )
    page = f"| a | b |\n| --- | ---: |\n| {cell} | 1 |\n| {cell} | 2 |\n"
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    assert [token.type for token in tokens].count("tr_open") == 3
    assert [token.type for token in tokens].count("td_open") == 4


@pytest.mark.parametrize("foreign", ALL)
def test_markdown_makes_no_address_of_its_own(foreign):
    # GitHub turns addresses into links; an escaped colon or point keeps them text.
    assert not re.search(r"[A-Za-z]://|\bwww\.", text.markdown(foreign))


def test_a_name_is_written_in_the_letters_of_code():
    assert text.markdown_code("unet3d:width=0.5") == "`unet3d:width=0.5`"
    assert text.markdown_code("a`b|c") == r"a\`b\|c"


# -- LaTeX ------------------------------------------------------------------------------------


@pytest.mark.parametrize("foreign", ALL)
def test_latex_has_no_command_of_the_text(foreign):
    shown = text.latex(foreign)
    own = re.sub(
        r"\\(?:text(?:backslash|ascii\w+|bar)\{\}|char34\{\}|ldots\{\}|rule\{\.9ex\}\{\.9ex\}|[&%$#_{}])"
        r"|\$(?:\\[a-z]+|-|<|>|\^2|\^3|'|\^\\circ)\$|^\{\}|\{\}(?=[-',])|\{[`']\}",
        "",
        shown,
    )
    assert not re.search(r"[\\&%$#_{}~^]", own)
    assert shown[:1] not in ("[", "*")


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("a--b, it''s", "a-{}-b, it'{}'s"),  # no ligatures: two letters stay two
        ("α = 0.05 ≤ µ", r"$\alpha$ = 0.05 $\leq$ $\mu$"),
        ("Müller, Łukasz, naïve, 中, 🙂", "Müller, Łukasz, naïve, "
         r"\textbackslash{}u4e2d, \textbackslash{}U0001f642"),
        ('say "no"', r"say \char34{}no\char34{}"),
    ],
)  # fmt: skip
def test_latex_has_the_letters_that_every_paper_can_set(foreign, shown):
    assert text.latex(foreign) == shown


# -- tables of other programs -----------------------------------------------------------------


@pytest.mark.parametrize("foreign", HOSTILE)
def test_no_cell_is_a_formula(foreign):
    cell = text.csv_cell(foreign)
    assert cell.lstrip(" ")[0] not in "=+-@\t\r\n"
    assert text.csv_value(cell) == text.one_line(foreign)
    assert text.csv_value(text.csv_cell(cell)) == cell


def test_numbers_of_a_table_stay_numbers():
    values = [-1, -0.5, "-0.5", "+3", "-1e-5", ".5", None, True]
    assert [text.csv_cell(value) for value in values] == values
    assert [text.csv_cell(c) for c in ("-1 + 2", "-inf", "−1")] == ["'-1 + 2", "'-inf", "−1"]


def test_a_frame_is_written_by_the_same_rule():
    frame = pd.DataFrame(
        {"=name": ["=1", "ok"], "value": [-0.5, 2**53 + 1], "mixed": ["-x", -3], "n": [1, 2]}
    )
    frame["kind"] = pd.Categorical(["@a", "b"])
    rows = list(csv.reader(io.StringIO(text.csv_table(frame))))
    assert rows[0] == ["'=name", "value", "mixed", "n", "kind"]
    assert rows[1] == ["'=1", "-0.5", "'-x", "1", "'@a"]
    assert frame.columns[0] == "=name"  # the frame itself is left alone


# -- JSON, figures, files ---------------------------------------------------------------------


@pytest.mark.parametrize("foreign", ALL)
def test_a_document_is_the_same_with_every_letter_seen(foreign):
    shown = text.json_document(json.dumps({foreign: foreign}, ensure_ascii=False, indent=1))
    assert unseen(shown) == []
    assert json.loads(shown) == {foreign: foreign}


@pytest.mark.parametrize("foreign", [*ALL, "../../etc/passwd", "", "..", "a" * 500])
def test_a_file_stays_in_its_folder(foreign):
    name = text.file_stem(foreign)
    assert re.fullmatch(r"[\w=,+-][\w.=,+-]{0,149}", name)
