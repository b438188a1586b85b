"""Label maps of somebody else that a call of ``kitsbench run`` lets take part."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kitsbench.data.datasets.leaks import meant
from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
MOST_HOURS = 1e7
FORM = "NAME=FOLDER[,trained_on=DATASET+DATASET][,hours=H]"
_KEY = re.compile(r",\s*(?=(?:trained[_-]on|hours)\s*=)")


@dataclass(frozen=True)
class Predictions:
    """A folder of label maps under a name.

    Parameters
    ----------
    name : str
        As tables show it.
    folder : Path
    trained_on : tuple of str
        What the networks behind them were trained on; empty where nobody has said it.
    hours : float or None
        Of their training.
    """

    name: str
    folder: Path
    trained_on: tuple[str, ...] = ()
    hours: float | None = None

    def __str__(self) -> str:
        """As the command line says it."""
        known = f",trained_on={'+'.join(self.trained_on)}" if self.trained_on else ""
        hours = "" if self.hours is None else f",hours={self.hours!r}"
        return f"{self.name}={self.folder}{known}{hours}"


def read_predictions(texts: Sequence[str], section: Mapping[str, Any]) -> tuple[Predictions, ...]:
    """Read what ``--predictions`` and the section ``[predictions]`` of a file say.

    Parameters
    ----------
    texts : sequence of str
        Each ``NAME=FOLDER[,trained_on=DATASET+DATASET][,hours=H]``.
    section : mapping
        Name to the folder, or to a table with ``folder``, ``trained_on`` and ``hours``. Who is
        named on the command line too is taken from there.

    Raises
    ------
    UsageError
        A part cannot be read, or a name is given twice.
    """
    found = [_read(text) for text in texts]
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--predictions names '{twice}' twice: give each folder its own name.")
    found += [_of_table(name, told) for name, told in section.items() if name not in names]
    return tuple(found)


def _read(text: str) -> Predictions:
    first, *rest = _KEY.split(text)
    name, sign, folder = (part.strip() for part in first.partition("="))
    if not sign or not folder:
        raise UsageError(f"'{brief(text)}' names no folder of label maps: write {FORM}.")
    odd = re.search(r",\s*([A-Za-z_-]+)\s*=", folder)
    if odd is not None and not Path(folder).expanduser().exists():
        raise UsageError(
            f"'{brief(text)}' sets {odd[1]}, and there is no folder {brief(folder)}: write {FORM}."
        )
    told: dict[str, Any] = {}
    for part in rest:
        key, _, value = (piece.strip() for piece in part.partition("="))
        key = key.replace("-", "_")
        if key in told:
            raise UsageError(f"'{brief(text)}' gives {key} twice: give it once.")
        told[key] = value.split("+") if key == "trained_on" else value
    return _made(name, folder, told)


def _of_table(name: str, told: Any) -> Predictions:
    table = {"folder": told} if isinstance(told, str) else told
    if not isinstance(table, Mapping) or not isinstance(table.get("folder"), str):
        raise UsageError(
            f"[predictions] gives '{brief(name)}' no folder: write [predictions.{brief(name)}] "
            'with folder = "...", and trained_on and hours if you know them.'
        )
    if unknown := sorted(set(table) - {"folder", "trained_on", "hours"}):
        raise UsageError(
            f"[predictions.{brief(name)}] sets '{brief(unknown[0])}'; it has folder, trained_on "
            "and hours."
        )
    rest = {key: value for key, value in table.items() if key != "folder"}
    return _made(name, table["folder"], rest)


def _made(name: str, folder: str, told: Mapping[str, Any]) -> Predictions:
    if NAME.fullmatch(name) is None:
        raise UsageError(
            f"'{brief(name)}' is no name for predictions: take letters, digits, '.', '_' and '-', "
            f"at most 60, as in {FORM}."
        )
    listed = told.get("trained_on", [])
    listed = [listed] if isinstance(listed, str) else listed
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise UsageError(f"trained_on of '{name}' is no name of a dataset, nor a list of names.")
    trained_on = tuple(" ".join(one.split()) for one in listed)
    if "" in trained_on:
        raise UsageError(f"trained_on of '{name}' is empty: name a dataset, or leave it out.")
    for text in trained_on:
        # Taken as it stands it would say that nothing leaks.
        if (word := meant(text)) is not None:
            raise UsageError(
                f"trained_on of '{name}' says '{brief(text)}': did you mean '{word}'? If it is "
                "another dataset, write its name in full."
            )
    return Predictions(name, Path(folder).expanduser(), trained_on, _hours(name, told))


def _hours(name: str, told: Mapping[str, Any]) -> float | None:
    if "hours" not in told:
        return None
    given = told["hours"]
    try:
        hours = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError):
        hours = math.nan
    if not 0 < hours <= MOST_HOURS:
        raise UsageError(
            f"hours of '{name}' is {brief(str(given))}: give the hours that its training took, "
            f"above 0 and at most {MOST_HOURS:g}."
        )
    return hours
