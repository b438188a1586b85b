"""How a figure becomes part of a page: style, colours, and SVG that follows light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from kitsbench.text import FIGURE, visible

# Okabe and Ito (2008): eight colours that all kinds of colour vision tell apart, without black
# and yellow, which vanish on a dark or a light page. Beyond six, dashes and markers repeat them.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
MARKERS = ["o", "s", "^", "D", "v", "P"]
DASHES: list[Any] = ["-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1))]
# As a figure is printed, on white. On a page they stand for the page's own colours, so nothing else
# may be drawn in them.
INK = "#222222"
GRID = "#dddddd"
# The names of the settings are a type of their own in matplotlib's newer annotations.
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "kitsbench",
    "pdf.fonttype": 42,  # text stays text: it can be searched, and publishers take no other kind
    **FIGURE,
}
_DPI = 200  # of a PNG, and of what a PDF holds as dots; scans have as many as they are drawn in
# Neither the date nor the version of the drawing library: equal results give equal files.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
KINDS = tuple(_METADATA)
"""Endings of the files that a figure is written to beside the page."""


@dataclass(frozen=True)
class Picture:
    """One figure of the report.

    Attributes
    ----------
    name : str
        File name without suffix.
    title, caption : str
        What it shows, and how to read it.
    svg : str
        The drawing, or empty.
    png : bytes
        The image, where it is one.
    width : float
        Natural width in CSS pixels.
    figure : Figure or None
        What was drawn, for files of other kinds.
    frame : Bbox or None
        What of the figure is shown, in inches; None for all.
    """

    name: str
    title: str
    caption: str
    svg: str = ""
    png: bytes = b""
    width: float = 0
    figure: Figure | None = field(default=None, repr=False, compare=False)
    frame: Bbox | None = field(default=None, repr=False, compare=False)

    def files(self) -> dict[str, bytes]:
        """The figure as files of its own: {ending: content}, dark on white where it has no ground.

        Text is text in SVG and PDF, and equal figures give equal bytes.
        """
        found = {"svg": standalone(self.svg).encode()} if self.svg else {}
        found |= {"png": self.png} if self.png else {}
        if self.figure is not None:
            left = [kind for kind in KINDS if kind not in found]
            found |= {kind: _saved(self.figure, kind, self.frame) for kind in left}
        if "svg" in found and not self.svg:
            found["svg"] = _rename(visible(found["svg"].decode()), self.name).encode()
        return {kind: found[kind] for kind in KINDS if kind in found}


def look(order: list[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dash of every architecture, the same in all figures.

    Parameters
    ----------
    order : list of str
        Names in the order of the experiment, so that a rank does not decide the colour.
    """
    return {
        name: {
            "color": PALETTE[i % len(PALETTE)],
            "marker": MARKERS[(i + i // len(PALETTE)) % len(MARKERS)],
            "linestyle": DASHES[i // len(PALETTE) % len(DASHES)],
        }
        for i, name in enumerate(order)
    }


def style() -> Any:
    """Context in which a figure of the report is drawn."""
    return matplotlib.rc_context(_STYLE)


def roomy() -> ConstrainedLayoutEngine:
    """Room between rows of panels, so that a title does not touch the axis above."""
    return ConstrainedLayoutEngine(h_pad=0.12)


def picture(
    figure: Figure,
    name: str,
    title: str,
    caption: str,
    *,
    marks: Mapping[str, str] | None = None,
    series: Mapping[str, Sequence[str]] | None = None,
    links: Mapping[str, str] | None = None,
    told: str = "",
) -> Picture:
    """Turn a figure into SVG whose text and axes take the colours of the page around it.

    Parameters
    ----------
    figure : Figure
    name, title, caption : str
        As of :class:`Picture`.
    marks : mapping of str to str, optional
        What a pointer is told that rests on a mark: {its ``gid`` in the figure: text}.
    series : mapping of str to sequence of str, optional
        The same of what draws many marks at once: {its ``gid``: a text for each, as they come}.
    links : mapping of str to str, optional
        Where a mark of a series leads to: {its text: an address in the page}.
    told : str
        What the figure says, for who cannot see it.
    """
    frame = _laid_out(figure)
    text = visible(_saved(figure, "svg", frame).decode())
    svg = text[text.index("<svg") :]
    width = float(re.search(r'width="([\d.]+)pt"', svg).group(1)) * 4 / 3  # type: ignore[union-attr]
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for gid, text in (marks or {}).items():
        mark = f'<g id="{gid}">'
        svg = svg.replace(mark, f'<g id="{gid}" class="mark">\n{_tip(text)}', 1)
    for gid, texts in (series or {}).items():
        svg = _mark_each(svg, gid, texts, links or {})
    svg = _rename(svg, name)
    svg = re.sub(r"font-family: [^;\"]+", "font-family: var(--font, sans-serif)", svg)
    svg = re.sub(r"font: ([\w ]*?)([\d.]+px) [^;\"]+", r"font: \1\2 var(--font, sans-serif)", svg)
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--grid, #ddd)")
    said = visible(f"{title}. {told}" if told else title)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{_attribute(said)}" ', 1)
    svg = svg.strip()
    return Picture(name, title, caption, svg, width=round(width), figure=figure, frame=frame)


def _laid_out(figure: Figure) -> Bbox | None:
    """Put everything into its place once, for all kinds of files; gives the frame that holds it.

    Where the figure has a ground, as those of scans, which fill it, there is none: it is whole.
    """
    if to_rgba(figure.get_facecolor())[3] > 0:
        return None
    with style():
        figure.draw_without_rendering()
        # To lay out and to measure takes as long as to draw, and would be done for every file.
        figure.set_layout_engine("none")
        frame = figure.get_tightbbox()
        return frame.padded(float(matplotlib.rcParams["savefig.pad_inches"]))


def _saved(figure: Figure, kind: str, frame: Bbox | None) -> bytes:
    buffer = io.BytesIO()
    with style():
        figure.savefig(
            buffer,
            format=kind,
            bbox_inches=frame,
            dpi="figure" if frame is None or kind == "svg" else _DPI,
            facecolor="auto" if frame is None or kind == "svg" else "white",
            metadata=_METADATA[kind],
        )
    return buffer.getvalue()


def _rename(svg: str, name: str) -> str:
    """Number the identifiers: several drawings share one page, and equal results give equal text.

    Those that matplotlib gives to clip paths change from one drawing to the next.
    """
    new = {old: f"{name}-{i}" for i, old in enumerate(re.findall(r'\bid="([^"]+)"', svg))}
    svg = re.sub(r'\bid="([^"]+)"', lambda found: f'id="{new[found[1]]}"', svg)
    svg = re.sub(r'href="#([^"]+)"', lambda found: f'href="#{new.get(found[1], found[1])}"', svg)
    return re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{new[found[1]]})", svg)


def standalone(svg: str) -> str:
    """The drawing as a file of its own: dark on white whatever opens it, without variables."""
    plain = re.sub(r"var\(--\w+, ([^)]+)\)", r"\1", svg)
    # A place in the page is nowhere outside of it.
    plain = re.sub(r'<a class="mark" href="[^"]*">', '<g class="mark">', plain)
    plain = plain.replace("</a>", "</g>")
    return plain.replace("<svg ", '<svg style="background:#fff;color:#222" ', 1) + "\n"


_SHAPE = re.compile(r"<defs>.*?</defs>|<(?:use|path)\b[^>]*/>", re.DOTALL)


def _mark_each(svg: str, gid: str, texts: Sequence[str], links: Mapping[str, str]) -> str:
    """Give every shape of a group its text: markers where it has some, else its paths."""
    start = svg.find(f'<g id="{gid}">')
    if start < 0:
        return svg
    end, depth = start, 0
    for found in re.finditer(r"<g\b|</g>", svg[start:]):
        depth += 1 if found[0] == "<g" else -1
        if depth == 0:
            end = start + found.end()
            break
    group = svg[start:end]
    kind = "<use" if "<use" in group else "<path"
    count = sum(found[0].startswith(kind) for found in _SHAPE.finditer(group))
    if count != len(texts):  # a text beside a mark that it does not speak of would be a lie
        return svg
    left = iter(texts)

    def told(found: re.Match[str]) -> str:
        if not found[0].startswith(kind):
            return found[0]
        text = next(left)
        if (link := links.get(text)) is not None:
            return f'<a class="mark" href="{_attribute(link)}">{_tip(text)}{found[0]}</a>'
        return f'<g class="mark">{_tip(text)}{found[0]}</g>'

    return svg[:start] + _SHAPE.sub(told, group) + svg[end:]


def _tip(text: str) -> str:
    return f"<title>{_attribute(visible(text))}</title>"


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
