"""Whether what was trained elsewhere may know the scans that it is tested on.

It is judged by what its maker declares, so it can only recognise names: those of the KiTS
challenges, of collections that hold their scans, and of the dataset in use.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kitsbench.data.datasets.patients import (
    known_patients,
    leaked_cases,
    patient,
    shows_patients,
)

if TYPE_CHECKING:
    from kitsbench.data.datasets.dataset import Dataset

UNKNOWN = "unknown"
"""Word of who does not know what a system was trained on."""
NOTHING = "nothing"
"""Word of a system without training, such as a threshold."""
OTHER_FOLDS = "other folds"
"""Word of who had each scan predicted by a network that did not train on it."""
COLLECTIONS = {
    "AbdomenCT-1K": "kits19",
    "AbdomenAtlas": "kits23",
    "FLARE": "kits19",
}
"""Collections that hold scans of KiTS (Ma et al. 2022, doi:10.1109/TPAMI.2021.3100536; Qu et al.
2023, arXiv:2305.09666). FLARE began with AbdomenCT-1K. The list cannot be complete."""
_KITS = re.compile(r"(?<![a-z])kits[\W_]*(?:20)?(19|21|23)?(?!\d)", re.IGNORECASE)


def trained_patients(trained_on: Iterable[str]) -> list[str]:
    """KiTS patients that are among what a system was trained on, sorted.

    Parameters
    ----------
    trained_on : iterable of str
        As was declared, each a name of a dataset.
    """
    return sorted({name for text in trained_on for name in _patients(text)})


def why_leaks(trained_on: Sequence[str], dataset: Dataset, cases: Sequence[str]) -> str | None:
    """Say why a system may know the scans that it is tested on; None where nothing says so.

    Parameters
    ----------
    trained_on : sequence of str
        What it was trained on, as was declared.
    dataset : Dataset
        In use.
    cases : sequence of str
        Of it, that are tested.
    """
    # A phantom has the names of KiTS cases and none of their patients.
    real = shows_patients(Path(dataset.root))
    numbered = real and bool(cases) and all(patient(case) is not None for case in cases)
    for text in trained_on:
        if text.casefold() == UNKNOWN:
            return "nobody says what it was trained on, so it may know the scans of the test"
        if numbered:
            leaked = leaked_cases(cases, _patients(text))
            if leaked:
                number = f"{len(leaked)} of the {len(cases)} scans"
                return f"it was trained on {text}, which holds {number} that it is tested on"
            if _patients(text):
                continue  # the numbers say it better than the name
        if _names(text, dataset.name) or (dataset.synthetic and _names(text, "phantom")):
            return f"it was trained on {text}, the dataset in use"
    return None


def meant(text: str) -> str | None:
    """The word that a misspelt one is close to; None where it is one, or close to none.

    Parameters
    ----------
    text : str
        What somebody wrote that a system was trained on.
    """
    known = (UNKNOWN, NOTHING, OTHER_FOLDS, "kits", "kits19", "kits21", "kits23", *COLLECTIONS)
    plain = {_plain(word): word for word in known}
    if _plain(text) in plain or _patients(text):
        return None
    close = difflib.get_close_matches(_plain(text), plain, 1, 0.8)
    return plain[close[0]] if close else None


def _patients(text: str) -> list[str]:
    years = [f"kits{year}" if year else "kits23" for year in _KITS.findall(text)]
    plain = _plain(text)
    years += [year for name, year in COLLECTIONS.items() if _plain(name) in plain]
    return sorted({name for year in years for name in known_patients(year)})


def _names(text: str, name: str) -> bool:
    """Whether a text has the words of a name, one after the other."""
    words, wanted = (re.findall(r"[^\W_]+", part.casefold()) for part in (text, name))
    places = range(len(words) - len(wanted) + 1)
    return bool(wanted) and any(words[at : at + len(wanted)] == wanted for at in places)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())
