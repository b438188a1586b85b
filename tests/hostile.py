"""Texts that somebody who means harm, or nobody in particular, may put into a name or a note."""

from __future__ import annotations

import html.parser
import unicodedata

ESCAPE = "\x1b[2J\x1b]8;;http://evil.example\x07"
HOSTILE = (
    "[/bold] [red]styled[/red] [link=http://evil.example]here[/link]",
    f"cleared{ESCAPE} \x9b31m \x08\x08\x00 bell\x07",
    "left\u202eright\u2066\u200b\ufeff\U000e0041 half \udc80 of a pair",
    "first line\n# Heading\n| forged | row |\n| --- | --- |\r\n- item\u2028more\x85end",
    "<script>alert(1)</script><img src=x onerror=alert(1)> &lt;b&gt; </td></svg>",
    "[click](javascript:alert(1)) ![pixel](http://evil.example/x.png) [a]: http://evil.example",
    "`code` **bold** ~~gone~~ $x^2$ {{ 7 * 7 }} {% raw %} <http://evil.example> www.evil.example",
    r"\input{/etc/passwd} \\[9cm] 50% & 1_2^3 ~ # } { \end{tabular}",
    '=HYPERLINK("http://evil.example","a")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "1. first",
    "--- ",
    "_hidden $\\frac{1}$",
)
EVERYTHING = " ".join(HOSTILE)
"""All of it in one name."""
DRAWN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}


def unseen(shown: str) -> list[str]:
    """Letters that nobody sees, line breaks and tabs aside."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    found = [c for c in shown if unicodedata.category(c) in kinds and c not in "\n\t"]
    return [c for c in found if ord(c) not in DRAWN]


class Page(html.parser.HTMLParser):
    """What a reader of HTML makes of it."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        assert tag != "p" or [key for key, _ in attributes] == ["title"]

    def handle_data(self, data):
        self.text += data
