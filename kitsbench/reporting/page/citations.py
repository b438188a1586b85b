"""What a paper about the experiment cites, as BibTeX."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from kitsbench.reporting.analysis import Analysis
from kitsbench.text import latex, one_line

_HELLER_2021 = """@article{heller2021kits19,
  author  = {Heller, Nicholas and others},
  title   = {The state of the art in kidney and kidney tumor segmentation in contrast-enhanced
             {CT} imaging: results of the {KiTS19} challenge},
  journal = {Medical Image Analysis},
  volume  = {67},
  pages   = {101821},
  year    = {2021}
}"""
_HELLER_2023 = """@misc{heller2023kits21,
  author = {Heller, Nicholas and others},
  title  = {The {KiTS21} challenge: automatic segmentation of kidneys, renal tumors, and renal
            cysts in corticomedullary-phase {CT}},
  note   = {arXiv:2307.01984},
  year   = {2023}
}"""
_OF_PROTOCOLS = {"kits19": _HELLER_2021, "kits21": _HELLER_2023, "kits23": _HELLER_2023}
_OF_CORRECTIONS = {
    "holm": """@article{holm1979simple,
  author  = {Holm, Sture},
  title   = {A simple sequentially rejective multiple test procedure},
  journal = {Scandinavian Journal of Statistics},
  volume  = {6},
  pages   = {65--70},
  year    = {1979}
}""",
    "hommel": """@article{hommel1988stagewise,
  author  = {Hommel, Gerhard},
  title   = {A stagewise rejective multiple test procedure based on a modified {Bonferroni} test},
  journal = {Biometrika},
  volume  = {75},
  pages   = {383--386},
  year    = {1988}
}""",
    "shaffer": """@article{shaffer1986modified,
  author  = {Shaffer, Juliet P.},
  title   = {Modified sequentially rejective multiple test procedures},
  journal = {Journal of the American Statistical Association},
  volume  = {81},
  pages   = {826--831},
  year    = {1986}
}""",
}
_BENJAMINI = """@article{benjamini1995controlling,
  author  = {Benjamini, Yoav and Hochberg, Yosef},
  title   = {Controlling the false discovery rate: a practical and powerful approach to multiple
             testing},
  journal = {Journal of the Royal Statistical Society B},
  volume  = {57},
  pages   = {289--300},
  year    = {1995}
}"""


def bibtex(analysis: Analysis) -> str:
    """Entries of what the methods rest on, and of the papers of the architectures.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    str
        Of an architecture's paper a plugin gives one line of text; titles of papers that are known
        come from ``papers.toml``.
    """
    experiment = analysis.results.experiment
    versions = analysis.results.versions or [experiment.version]
    found = [
        "@software{kitsbench,\n  author  = {{The kitsbench developers}},\n"
        "  title   = {kitsbench},\n"
        f"  version = {{{latex(', '.join(versions))}}},\n"
        f"  year    = {{{latex(experiment.created[:4])}}}\n}}"
    ]
    if experiment.protocol in _OF_PROTOCOLS:
        found.append(_OF_PROTOCOLS[experiment.protocol])
    judged = any(pair.get("p_adjusted") is not None for pair in analysis.pairs)
    correction = str(analysis.comparison.get("correction"))
    if judged and correction in _OF_CORRECTIONS:
        found.append(_OF_CORRECTIONS[correction])
    if any(pair.get("p_adjusted") is not None for pair in analysis.secondary):
        found.append(_BENJAMINI)
    works: dict[str, Work] = {}
    for entrant in experiment.entrants:
        for work in read_works(entrant.paper, entrant.title or entrant.architecture):
            works.setdefault(work.line, work)
    taken: set[str] = set()
    for work in works.values():
        key = base = work.key
        number = 2
        while key in taken:
            key, number = f"{base}-{number}", number + 1
        taken.add(key)
        found.append(work.entry(key))
    return "\n\n".join(found)


_LINE = re.compile(r"(?P<who>[^\d,]+?) (?P<year>(?:19|20)\d\d)(?:, (?P<where>.*))?")
_QUOTED = re.compile(r'(?:, )?["“](?P<title>[^"“”]+)["”]')


@dataclass(frozen=True)
class Work:
    """A paper, as far as a line of text tells.

    Attributes
    ----------
    line : str
        As the plugin has it, without a title in quotes.
    who, year, where, title : str
        Empty where nothing tells.
    of : str
        The architecture's title.
    """

    line: str
    who: str
    year: str
    where: str
    title: str
    of: str

    @property
    def key(self) -> str:
        """What the entry is cited by: the first author and the year, or the architecture."""
        base = f"{self.who.split()[0]}{self.year}" if self.who else self.of
        plain = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
        return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower() or "paper"

    def entry(self, key: str) -> str:
        """The entry. It always has an author and a title, which styles of BibTeX ask for."""
        note = [] if self.title else [f"title{'' if self.who else ' and authors'} to be looked up"]
        fields = {
            "author": _authors(self.who) if self.who else f"{{Authors of {_text(self.of)}}}",
            # In braces of its own, so that no style makes capitals small.
            "title": f"{{{_text(self.title or self.of)}}}",
        }
        if self.where.startswith("arXiv:"):
            fields |= {"eprint": _text(self.where[6:]), "archivePrefix": "arXiv"}
        elif self.where.startswith("doi:"):
            fields["doi"] = self.where[4:]
        elif self.where:
            note.insert(0, _text(self.where))
        if not self.who:
            note.insert(0, _text(self.line))
        if note:
            fields["note"] = "; ".join(note)
        if self.year:
            fields["year"] = self.year
        width = max(map(len, fields))
        lines = ",\n".join(f"  {name:{width}} = {{{value}}}" for name, value in fields.items())
        return f"@misc{{{key},\n{lines}\n}}"


def read_works(line: str, of: str) -> list[Work]:
    """Papers that a plugin's line names: ``Oktay et al. 2018, arXiv:1804.03999; ...``.

    Parameters
    ----------
    line : str
        Works are parted by semicolons. One may have its title in double quotes.
    of : str
        The architecture's title, where there is none of the paper.
    """
    works: list[Work] = []
    for part in filter(None, (one_line(part).strip() for part in line.split(";"))):
        quoted = _QUOTED.search(part)
        text = _QUOTED.sub("", part, count=1)
        match = _LINE.fullmatch(text)
        who, year, where = (match[name] or "" if match else "" for name in ("who", "year", "where"))
        if match is None and works and text.lower().startswith("journal version "):
            # The same people once more; of when, the line does not say.
            who, where = works[-1].who, text[len("journal version ") :]
        title = quoted["title"] if quoted else _titles().get(where) or _titles().get(text, "")
        if not _SAFE.fullmatch(where.removeprefix("doi:")) and where.startswith("doi:"):
            where = f"DOI {where[4:]}"  # what is no DOI is text
        works.append(Work(text, who, year, where, title, of))
    return works


_SAFE = re.compile(r"10\.[0-9]{4,9}/[A-Za-z0-9._;()/:-]+")


def _text(text: str) -> str:
    """A text for LaTeX without braces of its own: BibTeX counts even those that are escaped."""
    return latex(text.replace("{", "(").replace("}", ")"))


def _authors(who: str) -> str:
    """Authors as BibTeX parts them."""
    return _text(re.sub(r",? et al\.?$", " and others", who).replace(" & ", " and "))


@cache
def _titles() -> dict[str, str]:
    text = (files("kitsbench.reporting.page") / "papers.toml").read_text(encoding="utf-8")
    return {str(name): str(title) for name, title in tomllib.loads(text).items()}
