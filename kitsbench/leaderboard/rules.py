"""``board.toml``: under which conditions the entries of a board were made, and who may enter.

Beside it may lie ``design.md``: what is asked and what will be concluded, written before the first
trial. Every entry has its hash, so that nobody changes the question when the answer is known.

It is written down beside the entries, so that a board means the same before its first entry as
after its last, and a reviewer reads in one place what a new one has to keep.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from kitsbench.errors import DataError
from kitsbench.files import digest
from kitsbench.files.documents import Part
from kitsbench.files.foreign import brief, read_bytes, read_toml
from kitsbench.leaderboard.schema import TRAINED, Entry

FILE = "board.toml"
DESIGN = "design.md"
NONE = "none"


class Conditions(Part):
    """What all entries share; see :attr:`~kitsbench.leaderboard.schema.Entry.conditions`.

    Attributes
    ----------
    dataset : str
        Fingerprint.
    protocol, endpoint : str
    recipe : str
        Hash of the matched recipe, or ``paper``: each by its own.
    tuning : str
        ``none``, or the hash of how settings were searched for.
    budget : str
        Of a training run, such as ``2h``.
    split : str
        Hash of the split.
    folds : tuple of int
        Those of its folds that are run.
    seeds : int
        Training runs for each fold.
    synthetic : bool
        Whether the scans are made up.
    """

    dataset: str
    protocol: str
    endpoint: str
    recipe: str
    tuning: str = NONE
    budget: str
    split: str
    folds: tuple[int, ...]
    seeds: int = Field(ge=1)
    synthetic: bool


class Allowed(Part):
    """Who may enter.

    Attributes
    ----------
    ensembles : bool
        Entrants that combine several trained networks.
    pretrained : bool
        Networks whose training begins with weights of other data.
    outside : bool
        Systems and label maps that were trained elsewhere; they stand apart.
    failures : bool
        Entries with failed training runs, whose cases count as missed.
    least_seeds : int
        Fewest seeds of each fold of an entry whose run looks ended before it had all of
        ``conditions.seeds``; 0: it must have all, since less information is no fair comparison.
    """

    ensembles: bool = True
    pretrained: bool = True
    outside: bool = True
    failures: bool = True
    least_seeds: int = Field(default=0, ge=0)


class Rules(Part):
    """One board's file.

    Attributes
    ----------
    title : str
        Heading of its page; the folder's name where it is empty.
    about : str
        A sentence or two below the heading.
    conditions : Conditions
    allowed : Allowed
    """

    title: str = ""
    about: str = ""
    conditions: Conditions
    allowed: Allowed = Allowed()

    def faults(self, entry: Entry) -> list[str]:
        """What an entry breaks, in sentences that name the key of ``board.toml``."""
        own, wanted = conditions_of(entry), self.conditions.model_dump(mode="json")
        if entry.elsewhere is not None:  # it shares scans and scoring, and had no training here
            own = {key: value for key, value in own.items() if key not in TRAINED}
        found = [
            f"its {key} is {own[key]!r}, and {FILE} says {wanted[key]!r}"
            for key in own
            if own[key] != wanted[key]
        ]
        found += [
            f"it {what}, which {FILE} does not allow (allowed.{key})"
            for key, what, true in (
                ("ensembles", "combines several networks", bool(_members(entry))),
                ("pretrained", "begins with weights of other data", bool(entry.beginning)),
                ("outside", "was trained elsewhere", entry.elsewhere is not None),
                ("failures", f"has {entry.trials.failed} failed runs", entry.trials.failed > 0),
            )
            if true and not getattr(self.allowed, key)
        ]
        least = self.allowed.least_seeds
        wanted_seeds, key = (least, "allowed.least_seeds") if least else (
            self.conditions.seeds, "conditions.seeds"
        )  # fmt: skip
        if entry.looks is not None and entry.seeds < min(wanted_seeds, self.conditions.seeds):
            found.append(
                f"looks ended its run after {entry.seeds} seeds, and {FILE} demands "
                f"{wanted_seeds} ({key}): `kitsbench run --add --seeds {self.conditions.seeds}` "
                "trains the rest as a fixed design"
            )
        return found


def conditions_of(entry: Entry) -> dict[str, Any]:
    """Conditions of an entry, in the words of ``board.toml``."""
    found = dict(entry.conditions)
    if "tuning" in found:
        found["tuning"] = NONE if found["tuning"] is None else digest(found["tuning"])
    return found


def _members(entry: Entry) -> bool:
    return any(run.members for run in entry.trials.runs)


def read_design(board: Path) -> str | None:
    """Hash of a board's design; None where it has none.

    Raises
    ------
    DataError
        It is a link, or cannot be read.
    """
    file = board / DESIGN
    if file.is_symlink():
        raise DataError(f"{file}: a symbolic link; the design of a board is a file of its own.")
    if not file.exists():
        return None
    try:
        return hashlib.sha256(read_bytes(file)).hexdigest()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error


def with_design(entry: Entry, design: str | None) -> Entry:
    """An entry that was trained here with the hash of its board's design, sealed."""
    if entry.elsewhere is not None or entry.design == design:
        return entry
    found = entry.model_copy(update={"design": design})
    return found.model_copy(update={"seals": found.sealed()})


def design_fault(entry: Entry, design: str | None) -> str | None:
    """What an entry's design contradicts on its board, in a sentence that names the key.

    Parameters
    ----------
    entry : Entry
    design : str or None
        Hash of the board's.
    """
    if entry.elsewhere is not None or entry.design == design:
        return None
    if design is None:
        return f"the key design is {entry.design}, and the board has no {DESIGN}: restore it"
    if entry.design is None:
        return (
            f"it has no key design, and the board has a {DESIGN}: run its experiment by that, and "
            "add it with --replace"
        )
    return (
        f"the key design is {entry.design[:12]}..., and {DESIGN} has the hash {design[:12]}...: "
        "a design stays as it was before the first trial; restore it, and write what was learned "
        "since somewhere else"
    )


def read_rules(board: Path) -> Rules | None:
    """Read a board's file; None where it has none.

    Raises
    ------
    DataError
        It is a link or cannot be read, or a key is missing, unknown or wrong.
    """
    file = board / FILE
    if file.is_symlink():
        raise DataError(f"{file}: a symbolic link; the file of a board is one of its own.")
    if not file.exists():
        return None
    try:
        # A date of TOML is none of JSON's types; as a text it is whatever a key takes it for.
        return Rules.model_validate_json(json.dumps(read_toml(file), default=str))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"])) or "the file"
        raise DataError(
            f"{file}: {key}: {fault['msg']} (found {brief(fault['input'])}).\nCompare it with what "
            f"the entries say: `kitsbench leaderboard conditions {board}`."
        ) from error
    except ValueError as error:
        raise DataError(f"{file} is no TOML: {error}.") from error


def written_rules(entries: list[Entry]) -> str:
    """The file that a board with these entries should have.

    Parameters
    ----------
    entries : list of Entry
        At least one; the first that was trained here is the one that is read.

    Raises
    ------
    DataError
        None of them was trained here, so that nobody says recipe, budget and seeds.
    """
    entry = next((one for one in entries if one.elsewhere is None), None)
    if entry is None:
        raise DataError(
            "No entry of the board was trained under its conditions, so recipe, budget and seeds "
            "cannot be told. Add an experiment that was."
        )
    found = conditions_of(entry)
    lines = [
        "# What every entry of this board keeps; `kitsbench leaderboard check` holds them against",
        "# it. The page is made of the entries and of this file.",
        f"title = {_toml('')}",
        f"about = {_toml('')}",
        "",
        "[conditions]",
        *(f"{key} = {_toml(value)}" for key, value in found.items()),
        "",
        "[allowed]",
        *(f"{key} = {_toml(value)}" for key, value in _allowed(entries).items()),
    ]
    return "\n".join(lines) + "\n"


def _allowed(entries: list[Entry]) -> dict[str, Any]:
    """Who may enter: whoever is there already, and by default all others."""
    fewest = min((one.seeds for one in entries if one.looks is not None), default=0)
    most = max((one.most_seeds for one in entries), default=0)
    found = Allowed(least_seeds=fewest if fewest < most else 0).model_dump()
    # A word that no entry has need of is left out: boards of before do not know it.
    return {key: value for key, value in found.items() if key != "least_seeds" or value}


def _toml(value: Any) -> str:
    """A text, number, truth value or list; in TOML they are written as in JSON.

    But for two letters: one beyond 16 bits is no pair of halves there, and DEL has its number.
    """
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
