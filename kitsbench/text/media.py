r"""Foreign text, made safe for the medium that it is shown in: one function for each.

Names, titles, notes, messages, paths and columns come from plugins, files and servers. In whatever
medium they are shown, they are text: no control of a terminal, no tag, no link, no row of a table,
no command of LaTeX, no formula. Every function leaves ordinary text as it is, numbers included.

Letters that nobody sees, or that change how their neighbours are shown, are written out in all
media (``\x1b``, ``\u202e``): a name cannot look like another one.
"""

from __future__ import annotations

import html as _html
import json
import re
import unicodedata
from typing import Any

LONGEST = 4000  # characters of a line on a terminal; what is longer tells nobody more

# Unicode's categories Cc, Cf (but for those that are drawn), Cs, and what XML forbids. A list,
# because asking unicodedata for every letter would take longer than printing it.
_UNSEEN = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ufffe\uffff\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f\ud800-\udfff"
)
_INVISIBLE = re.compile(f"[{_UNSEEN}]")
_BREAKS = re.compile("[ \t]*(?:\r\n|[\t\n\x0b\x0c\r\x1c-\x1e\x85\u2028\u2029])[ \t]*")


def visible(text: object) -> str:
    r"""The text with every letter seen; line breaks and tabs stay.

    A byte of a file's name that is no text is shown as itself, ``\xff``.
    """
    return _INVISIBLE.sub(_written_out, str(text))


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps such a byte in a name
        return f"\\x{code - 0xDC00:02x}"
    return found[0].encode("unicode_escape").decode()


def one_line(text: object) -> str:
    """The text with every letter seen, in one line: a line break is a space."""
    return visible(_BREAKS.sub(" ", str(text)))


def terminal(text: object) -> str:
    """One line for a terminal, cut in the middle where it would fill the screen.

    It is plain text: whoever prints it through rich wraps it in ``rich.text.Text``, which looks
    for no style in it, as :mod:`kitsbench.text.screen` does.
    """
    return shorten(one_line(text), LONGEST)


def shorten(text: str, most: int) -> str:
    """The beginning and the end of a text that has more than ``most`` characters."""
    if len(text) <= most:
        return text
    end = (most - 3) // 2
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"


def paragraph(text: str) -> list[str]:
    """Lines of an error's message: a line ends where a sentence does.

    A break in the middle of a sentence came with a name or a path, and begins no line of its own.
    """
    return [terminal(line) for line in re.split(r"(?<=[.:;!?)])\n(?=\S)", text.strip("\n"))]


def json_document(text: str) -> str:
    """The same document of JSON, whose letters are all seen where a terminal shows it."""
    return _INVISIBLE.sub(lambda found: json.dumps(found[0])[1:-1], text)


# -- HTML -------------------------------------------------------------------------------------


def html(text: object) -> str:
    """Text between tags or inside a quoted attribute."""
    return _html.escape(visible(text))


# -- Markdown ---------------------------------------------------------------------------------

_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#|[A-Za-z][A-Za-z0-9]*;)")
_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINK = re.compile(r"\][(\[:]|!\[|\[\^|\[[ xX]\]")
_ADDRESS = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=\b[wW]{3})\.")
# What a line begins with that is a heading, a quote, an item, a rule, a fence or a directive.
_BLOCK = re.compile(r"[#>]|:{3}|[-+=](?=\s|$|[-=]*\s*$)")
_NUMBERED = re.compile(r"(\d{1,9})(?=[.)](?:\s|$))")


def markdown(text: object) -> str:
    """A sentence, an item or the cell of a table in GitHub's Markdown."""
    line = re.sub(r"[\\`*~|${]", r"\\\g<0>", one_line(text).strip())
    line = _TAG.sub("&lt;", _ENTITY.sub("&amp;", _UNDERSCORE.sub(r"\\_", line)))
    if _LINK.search(line):  # other brackets, such as those of an interval, are none
        line = re.sub(r"[\[\]!]", r"\\\g<0>", line)
    line = _ADDRESS.sub(r"\\\g<0>", line)
    number = _NUMBERED.match(line)
    if number is not None:
        return f"{number[1]}\\{line[number.end() :]}"
    return f"\\{line}" if _BLOCK.match(line) else line


_CODE = re.compile(r"[\w.:=,+/@ -]*[\w.:=,+/@-]")


def markdown_code(text: object) -> str:
    """A name in the letters of code; one with marks of Markdown in it is plain text instead."""
    line = one_line(text).strip()
    return f"`{line}`" if _CODE.fullmatch(line) else markdown(line)


# -- LaTeX ------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    # \textquotedbl is no letter of TeX's first encoding, which a paper may have.
    '"': r"\char34{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "<": r"$<$",
    ">": r"$>$",
    "“": "``",
    "”": "''",
    "‘": "{`}",
    "’": "{'}",
    "…": r"\ldots{}",
    "\u00a0": "~",
    "·": r"$\cdot$",
    "•": r"$\bullet$",
    "●": r"$\bullet$",
    "○": r"$\circ$",
    "■": r"\rule{.9ex}{.9ex}",
    "◆": r"$\diamond$",
    "★": r"$\star$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "↗": r"$\nearrow$",
    "∞": r"$\infty$",
    "°": r"$^\circ$",
    "²": "$^2$",
    "³": "$^3$",
    "′": "$'$",
    "µ": r"$\mu$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "ε": r"$\varepsilon$",
    "θ": r"$\theta$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "π": r"$\pi$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
    "φ": r"$\varphi$",
    "χ": r"$\chi$",
    "ω": r"$\omega$",
    "Δ": r"$\Delta$",
    "Σ": r"$\Sigma$",
    "Ω": r"$\Omega$",
}
_LIGATURES = "-',"  # two of them become another letter
_ACCENTS = set("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
_OTHER_LETTERS = set("ßøØæÆœŒłŁı¡¿£§¶©")


def latex(text: object) -> str:
    r"""Text of LaTeX; after the ``\\`` of the row before, ``[`` and ``*`` are letters as well.

    A letter that pdflatex refuses is written out, as those are that nobody sees.
    """
    line = one_line(text)
    guard = line.lstrip()[:1] in ("[", "*")
    pairs = zip(" " + line, line, strict=False)
    return "{}" * guard + "".join(_latex_letter(before, letter) for before, letter in pairs)


def _latex_letter(before: str, letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    if letter in _LIGATURES and letter == before:
        return "{}" + letter
    if letter.isascii() or letter in _OTHER_LETTERS:
        return letter
    base, *marks = list(unicodedata.normalize("NFD", letter))
    if letter < "\u0180" and base.isascii() and marks and _ACCENTS.issuperset(marks):
        return letter
    return _LATEX["\\"] + letter.encode("unicode_escape").decode()[1:]


# -- tables of other programs -----------------------------------------------------------------

# Spreadsheets take what begins with one of these for a formula, in full width as well.
_FORMULA = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def csv_cell(value: Any) -> Any:
    """A cell of a CSV file, which no spreadsheet takes for a formula; numbers stay numbers.

    Text that begins with ``=``, ``+``, ``-``, ``@`` or a tab gets an apostrophe before it, which
    :func:`csv_value` takes away again.
    """
    if not isinstance(value, str):
        return value
    guard = _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return "'" * bool(guard) + one_line(value)


def csv_value(text: str) -> str:
    """What was written into a cell by :func:`csv_cell`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_table(frame: Any) -> str:
    """A pandas frame as CSV without its index, each text of it by :func:`csv_cell`."""
    written = frame.copy()
    for place, kind in enumerate(frame.dtypes):
        if kind.kind not in "biufcmM":  # texts, categories, and columns of several types
            cells = [csv_cell(value) for value in frame.iloc[:, place]]
            written.isetitem(place, type(frame.iloc[:, 0])(cells, index=frame.index, dtype=object))
    written.columns = [csv_cell(column) for column in frame.columns]
    return str(written.to_csv(index=False))


def page_rules() -> dict[str, Any]:
    """The rules by which a page's script copies its tables, for JSON inside the page.

    ``latex`` is what each letter becomes, ``formula`` and ``number`` are patterns, as of
    :func:`csv_cell`, which JavaScript understands too; they hold at the beginning of a cell.
    """
    return {"latex": _LATEX, "formula": _FORMULA.pattern, "number": _NUMBER.pattern}


# -- figures, and names of files --------------------------------------------------------------

FIGURE: dict[Any, Any] = {"text.parse_math": False}
"""Settings under which matplotlib takes nothing between dollars for a formula."""


def file_stem(text: object) -> str:
    """A name of a file that stays in its folder, without the suffix."""
    return re.sub(r"[^\w.=,+-]+", "-", one_line(text)).strip(".-")[:150] or "unnamed"
