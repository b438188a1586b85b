"""What a paper about the experiment cites, as BibTeX."""

from __future__ import annotations

import re

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
        Of an architecture's paper a plugin gives one line of text, which stands in a note.
    """
    experiment = analysis.results.experiment
    versions = analysis.results.versions or [experiment.version]
    found = [
        "@software{kitsbench,\n  title   = {kitsbench},\n"
        f"  version = {{{latex(', '.join(versions))}}},\n"
        f"  year    = {{{latex(experiment.created[:4])}}}\n}}"
    ]
    if experiment.protocol in _OF_PROTOCOLS:
        found.append(_OF_PROTOCOLS[experiment.protocol])
    judged = any(pair.get("p_adjusted") is not None for pair in analysis.pairs)
    correction = str(analysis.comparison.get("correction"))
    if judged and correction in _OF_CORRECTIONS:
        found.append(_OF_CORRECTIONS[correction])
    if analysis.secondary:
        found.append(_BENJAMINI)
    papers: dict[str, str] = {}
    for entrant in experiment.entrants:
        if entrant.paper:
            papers.setdefault(entrant.paper, entrant.architecture)
    taken: set[str] = set()
    for paper, architecture in papers.items():
        key = base = re.sub(r"[^A-Za-z0-9]+", "-", architecture).strip("-").lower() or "paper"
        number = 2
        while key in taken:
            key, number = f"{base}-{number}", number + 1
        taken.add(key)
        found.append(f"@misc{{{key},\n  note = {{{latex(one_line(paper))}}}\n}}")
    return "\n\n".join(found)
