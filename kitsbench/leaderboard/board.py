"""Adding entries to a board, reading a board, and checking all boards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kitsbench.errors import DataError, UsageError
from kitsbench.leaderboard.entries import make_entries
from kitsbench.leaderboard.schema import Entry, file_name


@dataclass(frozen=True)
class Problem:
    """A rule that a file breaks.

    Attributes
    ----------
    file : Path
    message : str
        What was found, and the rule.
    """

    file: Path
    message: str


def add_entries(workdir: str | Path, board: str | Path, replace: bool = False) -> list[Path]:
    """Add every architecture of an experiment to a board.

    Parameters
    ----------
    workdir : path
        Of a completed ``kitsbench run``.
    board : path
        Folder of the board; made where it is missing.
    replace : bool
        Overwrite entries of the same name.

    Returns
    -------
    list of Path
        The files that were written; entries that are there already, and equal, are not.

    Raises
    ------
    UsageError
        An entry of the same name is there and differs, or the experiment was made under other
        conditions than the entries of the board.
    DataError
        The experiment is not complete, or the board holds a file that is no entry.
    """
    board = Path(board)
    known = {file_name(entry.name): entry for entry in read_board(board)}
    new = make_entries(workdir)
    kept = [] if replace and _all_replaced(known, new) else list(known.values())
    for entry in new:
        _refuse_other_conditions(entry, kept, board)
    written = []
    for entry in new:
        file = board / file_name(entry.name)
        old = known.get(file.name)
        if old == entry:
            continue
        if old is not None and not replace:
            raise UsageError(
                f"{file} holds another entry of '{entry.name}' (of {old.provenance.created}). "
                "Use --replace to overwrite it, or another board with --to."
            )
        written.append((file, entry))
    # Nothing is written until everything was found to be in order.
    for file, entry in written:
        entry.write(file)
    return [file for file, _ in written]


def _all_replaced(known: dict[str, Entry], new: list[Entry]) -> bool:
    return set(known) <= {file_name(entry.name) for entry in new}


def _refuse_other_conditions(entry: Entry, peers: list[Entry], board: Path) -> None:
    for peer in peers:
        different = _differences(entry, peer)
        if different:
            raise UsageError(
                f"'{entry.name}' cannot enter {board}: {different}. Entries of one board were "
                "made under the same conditions; choose another board with --to."
            )


def _differences(one: Entry, other: Entry) -> str:
    """What differs between the conditions of two entries, in words; empty if nothing does."""
    found = [
        f"its {key} is {one.conditions[key]!r}, that of '{other.name}' {other.conditions[key]!r}"
        for key in one.conditions
        if one.conditions[key] != other.conditions[key]
    ]
    return "; ".join(found)


def read_board(board: str | Path) -> list[Entry]:
    """Read the entries of one board.

    Parameters
    ----------
    board : path
        Folder of JSON files; an absent folder is an empty board.

    Returns
    -------
    list of Entry
        In the order of their file names.

    Raises
    ------
    DataError
        A file is no entry; the message names it and the rule.
    """
    entries = []
    for file in sorted(Path(board).glob("*.json")):
        entry, problems = _read(file)
        if entry is None:
            raise DataError(f"{file}: {problems[0].message}. Run `kitsbench leaderboard check`.")
        entries.append(entry)
    return entries


def boards(root: str | Path) -> list[Path]:
    """Folders of boards under ``root``, or ``root`` itself where it holds entries.

    Raises
    ------
    DataError
        The folder does not exist.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"There is no folder {root}; name the folder that holds the boards.")
    if any(root.glob("*.json")):
        return [root]
    return sorted(folder for folder in root.iterdir() if any(folder.glob("*.json")))


def check_boards(root: str | Path) -> tuple[int, list[Problem]]:
    """Check every entry of every board.

    Parameters
    ----------
    root : path
        A board, or a folder of boards.

    Returns
    -------
    n_entries : int
        How many files were looked at.
    problems : list of Problem
        Empty where all is well.
    """
    problems: list[Problem] = []
    count = 0
    for board in boards(root):
        first: Entry | None = None
        for file in sorted(board.glob("*.json")):
            count += 1
            entry, found = _read(file)
            problems += found
            if entry is None:
                continue
            if file.name != file_name(entry.name):
                problems.append(
                    Problem(file, f"the entry '{entry.name}' belongs into {file_name(entry.name)}")
                )
            first = first or entry
            different = _differences(entry, first)
            if different:
                problems.append(
                    Problem(file, f"{different}; entries of one board share their conditions")
                )
    return count, problems


def _read(file: Path) -> tuple[Entry | None, list[Problem]]:
    try:
        entry, faults = Entry.check(file)
    except DataError as error:
        faults = [str(error).splitlines()[0].removeprefix(f"{file}").lstrip(": ")]
        entry = None
    return entry, [Problem(file, fault.rstrip(".")) for fault in faults]
