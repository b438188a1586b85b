"""Whether what was trained elsewhere may know the scans that it is tested on.

It is judged by what its maker declares, so it can only recognise names: those of the KiTS
challenges, of collections that may hold their scans, and of the dataset in use.
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
    "AbdomenCT-1K": "kits21",
    "AbdomenAtlas": "kits23",
    "FLARE": "kits21",
}
"""Collections that may hold scans of KiTS, and those of which year.

None of them lists its cases by the numbers of KiTS, so all that it may have taken count:

- AbdomenCT-1K names KiTS19 among its sources (github.com/JunMa11/AbdomenCT-1K; its benchmark for
  full supervision trains on 40 of KiTS), and KiTS19 has 300 cases with its hidden ones.
- AbdomenAtlas is made from public data, with KiTS among them (github.com/MrGiovanni/AbdomenAtlas,
  which names no year).
- FLARE 2021 was made from AbdomenCT-1K, by the same people. That scans of KiTS are in it, or in the
  FLARE of a later year, is said nowhere; those of 2022 name kidney diseases and no source.

The list cannot be complete.
"""
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
    return why_known(trained_on, dataset.name, cases, real, dataset.synthetic)


def why_known(
    trained_on: Sequence[str], name: str, cases: Sequence[str], real: bool, synthetic: bool
) -> str | None:
    """As :func:`why_leaks`, of a dataset that need not be at hand.

    Parameters
    ----------
    trained_on : sequence of str
    name : str
        Of the dataset.
    cases : sequence of str
        Of it, that are tested.
    real : bool
        Whether its cases may be patients.
    synthetic : bool
        Whether its scans are made up.
    """
    numbered = real and bool(cases) and all(patient(case) is not None for case in cases)
    for text in trained_on:
        if UNKNOWN in re.findall(r"[a-z]+", text.casefold()) or _plain(text) in ("", UNKNOWN):
            return "nobody says what it was trained on, so it may know the scans of the test"
        if numbered:
            leaked = leaked_cases(cases, _patients(text))
            if leaked:
                number = f"{len(leaked)} of the {len(cases)} scans"
                holds = "holds" if _years(text) else "may hold"
                return f"it was trained on {text}, which {holds} {number} that it is tested on"
            if _patients(text):
                continue  # the numbers say it better than the name
        if _names(text, name) or (synthetic and _names(text, "phantom")):
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
    plain = _plain(text)
    years = _years(text)
    years += [year for name, year in COLLECTIONS.items() if _plain(name) in plain]
    return sorted({name for year in years for name in known_patients(year)})


def _years(text: str) -> list[str]:
    """Years of KiTS that a text names; one without a year may be the latest."""
    return [f"kits{year}" if year else "kits23" for year in _KITS.findall(text)]


def _names(text: str, name: str) -> bool:
    """Whether a text has the words of a name, one after the other."""
    words, wanted = (re.findall(r"[^\W_]+", part.casefold()) for part in (text, name))
    places = range(len(words) - len(wanted) + 1)
    return bool(wanted) and any(words[at : at + len(wanted)] == wanted for at in places)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())
