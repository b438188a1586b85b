"""Who in a score table was trained elsewhere: compared as it is, marked, or with nobody at all.

A table says it itself, in a column, so that what a report sets apart stays so wherever the table
goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.files.foreign import brief
from kitsbench.statistics.table.grid import listing

ELSEWHERE = "trained_elsewhere"
"""Column that says it; empty for who was trained under the budget, like all others."""
COMPARED, ALLOWED, APART = "compared", "allowed", "apart"
WORDS = (COMPARED, ALLOWED, APART)
"""Fairly, as far as anybody knows; though it may know the test scans; neither rank nor verdict."""


def word_of(leaks: bool, allowed: bool) -> str:
    """The word for who was trained elsewhere.

    Parameters
    ----------
    leaks : bool
        Whether it may know the scans that it is tested on.
    allowed : bool
        Whether it is compared all the same.
    """
    if not leaks:
        return COMPARED
    return ALLOWED if allowed else APART


def standings_of(table: pd.DataFrame) -> dict[str, str]:
    """The word of every architecture that was trained elsewhere; empty where nobody was.

    Parameters
    ----------
    table : DataFrame
        From :func:`~kitsbench.statistics.validate_scores`.
    """
    if ELSEWHERE not in table.columns:
        return {}
    said = table[["architecture", ELSEWHERE]].drop_duplicates()
    return {str(n): str(word) for n, word in said.itertuples(index=False, name=None) if word}


def trained_here(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of who was trained under the budget: for what speaks of training alone.

    Parameters
    ----------
    table : DataFrame
        From :func:`~kitsbench.statistics.validate_scores`.
    """
    outside = standings_of(table)
    return table[~table["architecture"].isin([*outside])].reset_index(drop=True)


def check_standings(table: pd.DataFrame, places: Sequence[str]) -> None:
    """Refuse a word that is none, and an architecture with two.

    Parameters
    ----------
    table : DataFrame
        With the column as text.
    places : sequence of str
        Where each row stands, for the messages.

    Raises
    ------
    DataError
        There is one.
    """
    if ELSEWHERE not in table.columns:
        return
    met: dict[str, tuple[str, str]] = {}
    said = table[["architecture", ELSEWHERE]].drop_duplicates()
    for at, name, word in said.itertuples(name=None):
        if word and word not in WORDS:
            raise DataError(
                f"{places[at]}: column '{ELSEWHERE}' holds '{brief(word)}'; it must be "
                f"{', '.join(WORDS)}, or empty for who was trained like the others."
            )
        before, place = met.setdefault(name, (word, places[at]))
        if before != word:
            raise DataError(
                f"{places[at]}: column '{ELSEWHERE}' is '{word}' for {name}, and '{before}' in "
                f"{place}; an architecture was trained elsewhere in all of its rows or in none."
            )


def without_apart(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out who may know the test scans, and say so in a note.

    Parameters
    ----------
    table : DataFrame
        From :func:`~kitsbench.statistics.validate_scores`.

    Raises
    ------
    DataError
        Nobody is left.
    """
    apart = [name for name, word in standings_of(table).items() if word == APART]
    if not apart:
        return table, []
    if len(apart) == table["architecture"].nunique():
        raise DataError(
            f"{listing(apart)} may know the test scans, and nobody else has scores, so there is "
            "nothing to compare. `kitsbench run --allow-leak` has them compared all the same."
        )
    note = (
        f"{listing(apart)} may know the test scans and {'is' if len(apart) == 1 else 'are'} left "
        "out: no rank and no verdict. `kitsbench run --allow-leak` compares all the same."
    )
    return table[~table["architecture"].isin(apart)].reset_index(drop=True), [note]


def mark(pairs: Sequence[dict[str, Any]], standings: Mapping[str, str]) -> None:
    """Say in the sentence of each pair that an entrant of it was not trained under the budget.

    Parameters
    ----------
    pairs : sequence of dict
        Rows of a comparison, whose ``sentence`` is changed.
    standings : mapping
        From :func:`standings_of`.
    """
    for pair in pairs:
        names = [name for name in (pair["a"], pair["b"]) if name in standings]
        if not names:
            continue
        was = "was" if len(names) == 1 else "were"
        leaks = [name for name in names if standings[name] != COMPARED]
        known = f" {listing(leaks)} may know the test scans." if leaks else ""
        pair["sentence"] = (
            f"{pair['sentence']} ({listing(names)} {was} trained elsewhere, not under this "
            f"budget: this compares systems as they are and says nothing about architectures."
            f"{known})"
        )
