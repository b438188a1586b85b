"""The page of the viewer: one template for the report's folder and for the local server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from kitsbench.scans.label_names import IGNORED, LabelNames
from kitsbench.text import one_line
from kitsbench.viewer.cases import ViewedCase
from kitsbench.viewer.documents import plain_json
from kitsbench.viewer.palette import colours_of

WINDOWS = (
    ("abdomen", "Abdomen", -160, 240),
    ("kidney", "Kidney", -80, 300),
    ("tumour", "Tumour", -20, 160),
    ("bone", "Bone", -450, 1050),
)
"""Key, name, and the HU that are shown black and white."""
_SCRIPTS = ("volumes.js", "scene.js", "lists.js", "viewer.js")


@dataclass(frozen=True)
class Shown:
    """What the page says beside its cases.

    Attributes
    ----------
    title : str
    makers : list of str
        Architectures whose label maps may be chosen, in the order of lists.
    first : str or None
        The one that is chosen at first.
    score : str
        What the numbers beside cases are, such as ``tumour Dice``; empty where there are none.
    high : bool
        Whether a higher number is the better one.
    synthetic : bool
    notes : list of str
        Sentences about all cases.
    titles : dict of str to str
        Names of labels for people.
    back : str
        Address of the page that leads here; empty for none.
    """

    title: str
    makers: list[str]
    first: str | None = None
    score: str = ""
    high: bool = True
    synthetic: bool = False
    notes: list[str] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    back: str = ""


def render(
    shown: Shown,
    cases: Sequence[ViewedCase],
    scripts: Sequence[str],
    versions: str,
    licences: str,
) -> str:
    """The page as HTML.

    Parameters
    ----------
    shown : Shown
    cases : sequence of ViewedCase
    scripts : sequence of str
        Address of the script of each case.
    versions : str
        Of NiiVue.
    licences : str
        Address of its licences.
    """
    import jinja2
    import markupsafe

    own = files("kitsbench.viewer") / "page"

    def part(name: str) -> str:
        return markupsafe.Markup((own / name).read_text(encoding="utf-8"))

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((own / "viewer.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=one_line(shown.title),
        shown=shown,
        windows=WINDOWS,
        versions=versions,
        licences=licences,
        style=part("viewer.css"),
        script=markupsafe.Markup("\n").join(map(part, _SCRIPTS)),
        data=markupsafe.Markup(plain_json(_known(shown, cases, scripts))),
    )


def _known(shown: Shown, cases: Sequence[ViewedCase], scripts: Sequence[str]) -> dict[str, Any]:
    names = cases[0].names if cases else LabelNames({})
    return {
        "score": shown.score,
        "high": shown.high,
        "ignored": IGNORED if names.ignores else None,
        "first": None if shown.first is None else one_line(shown.first),
        "makers": [one_line(name) for name in shown.makers],
        "windows": [[key, low, high] for key, _, low, high in WINDOWS],
        "labels": [
            [names.labels[name], one_line(shown.titles.get(name, name)), colour.code]
            for name, colour in colours_of(names.labels).items()
        ],
        "cases": [
            {
                "name": one_line(case.name),
                "script": address,
                "showcase": case.showcase,
                "scores": {one_line(name): value for name, value in case.scores.items()},
                "makers": [one_line(name) for name in case.predictions],
            }
            for case, address in zip(cases, scripts, strict=True)
        ],
    }
