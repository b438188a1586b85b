"""Adding entries to a board, reading a board, and checking all boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kitsbench.errors import DataError, UsageError
from kitsbench.files import parse_json, write_text
from kitsbench.files.documents import VERSION_KEY
from kitsbench.leaderboard.along import curve_faults
from kitsbench.leaderboard.elsewhere_proof import elsewhere_faults
from kitsbench.leaderboard.entries import Published, make_entries
from kitsbench.leaderboard.history import replacing, with_history
from kitsbench.leaderboard.peers import Filed, board_faults, dataset_faults, differences
from kitsbench.leaderboard.proof import entry_faults
from kitsbench.leaderboard.rules import (
    DESIGN,
    FILE,
    Rules,
    design_fault,
    read_design,
    read_rules,
    with_design,
    written_rules,
)
from kitsbench.leaderboard.schema import Entry, file_name
from kitsbench.leaderboard.table import read_table_text, table_path
from kitsbench.leaderboard.table_proof import agreement_faults, read_scores

_LIMIT = 16 * 2**20  # bytes of an entry's JSON
FORMER = (
    "an entry of an earlier kitsbench, without scores of cases, so that nothing in it can be "
    "checked: run its experiment again, then `kitsbench leaderboard add WORKDIR --to BOARD "
    "--replace`"
)


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


def add_entries(
    workdir: str | Path,
    board: str | Path,
    replace: bool = False,
    experiment: str | None = None,
) -> list[Path]:
    """Add every entrant of an experiment to a board.

    Parameters
    ----------
    workdir : path
        Of a completed ``kitsbench run``.
    board : path
        Folder of the board; made where it is missing.
    replace : bool
        Overwrite entries of the same name.
    experiment : str, optional
        The experiment's id, or its first letters; the latest by default.

    Returns
    -------
    list of Path
        The entries that were written, each with its table; those that are there already, and
        equal, are not.

    The first entries of a board bring its ``board.toml``, see :mod:`kitsbench.leaderboard.rules`.

    Raises
    ------
    UsageError
        An entry of the same name is there and differs, or the experiment was made under other
        conditions than the entries of the board or its ``board.toml``, or of another experiment
        there only a part would be left.
    DataError
        The experiment is not complete, or the board holds a file that is no entry.
    """
    board = Path(board)
    design = read_design(board)
    made = [
        new._replace(entry=with_design(new.entry, design))
        for new in make_entries(workdir, experiment)
    ]
    files = {board / file_name(new.entry.name): new for new in made}
    if len(files) < len(made):
        raise UsageError(
            f"Two architectures in {workdir} would have one file on a board; name them otherwise."
        )
    # What is replaced in any case need not be readable any more.
    stay = [file for file in _entry_files(board) if not (replace and file in files)]
    known = {file: _read_entry(file) for file in stay}
    rules = read_rules(board)
    kept = [entry for file, entry in known.items() if file not in files]
    for entry in kept:
        if fault := design_fault(entry, design):
            raise UsageError(
                f"'{entry.name}' stands on {board}, and {fault}. Entries of one board have one "
                "design; choose another board with --to."
            )
    for new in made:
        for peer in kept or list(known.values()):
            _refuse_other_conditions(new.entry, peer, board)
        _refuse_broken_rules(new.entry, rules, board)
    files = {file: _followed(file, new) for file, new in files.items()}
    written = {file: new for file, new in files.items() if not _is_there(file, new)}
    for file, new in written.items():
        if file in known and known[file] != new.entry:
            raise UsageError(
                f"{file} holds another entry of '{new.entry.name}' (of "
                f"{known[file].provenance.created}). Use --replace to overwrite it, or another "
                "board with --to."
            )
    if replace:
        _refuse_half_experiments(files, kept)
    if rules is None and any(new.entry.elsewhere is None for new in made):
        board.mkdir(parents=True, exist_ok=True)
        write_text(board / FILE, written_rules([new.entry for new in made]))
    # No entry is written until everything was found to be in order.
    for file, new in written.items():
        entry, old = new.entry, _standing(file)
        if old is not None and old.trials.ids != entry.trials.ids:
            entry = replacing(entry, old, file)
        new.table.write(table_path(file))
        entry.write(file)
    return list(written)


def _standing(file: Path) -> Entry | None:
    """The entry that stands in a file's place; None where there is none of today's format."""
    if not file.is_file() or _version(file) != _newest():
        return None
    return Entry.check(file)[0]


def _followed(file: Path, new: Published) -> Published:
    """A new entry with the history of the one that stands in its place."""
    old = _standing(file)
    if old is None or old.history is None:
        return new
    return new._replace(entry=with_history(new.entry, old.history))


def _refuse_other_conditions(entry: Entry, peer: Entry, board: Path) -> None:
    if different := differences(entry, peer):
        raise UsageError(
            f"'{entry.name}' cannot enter {board}: {different}. Entries of one board were "
            "made under the same conditions; choose another board with --to."
        )


def _refuse_broken_rules(entry: Entry, rules: Rules | None, board: Path) -> None:
    if rules is not None and (faults := rules.faults(entry)):
        raise UsageError(
            f"'{entry.name}' cannot enter {board}: {faults[0]}. Choose another board with --to."
        )


def _refuse_half_experiments(files: dict[Path, Published], kept: Sequence[Entry]) -> None:
    """Ranks hold among all entries of an experiment, so none goes without the others."""
    own = {new.entry.experiment for new in files.values()}
    for file in files:
        entry = _standing(file)
        if entry is None or entry.experiment in own:
            continue
        left = [other.name for other in kept if other.experiment == entry.experiment]
        if left:
            raise UsageError(
                f"{file} would be replaced, but '{left[0]}' stays, which was ranked with it in one "
                "experiment. Run them all again, remove the others' files, or choose another "
                "board with --to."
            )


def _is_there(file: Path, new: Published) -> bool:
    """Whether an equal entry is there, with its table.

    What was trained elsewhere is one and the same in all experiments that it takes part in.
    """
    try:
        there, own = Entry.read(file), new.entry
        if there.elsewhere is not None and own.elsewhere is not None:
            own = own.model_copy(update={"provenance": there.provenance, "seals": there.seals})
        elif there.trials == own.trials:
            # The same runs, of which another call has been asked for since: `run --add` writes
            # down a command and a day of its own.
            made = own.provenance.model_copy(
                update={"command": there.provenance.command, "created": there.provenance.created}
            )
            own = own.model_copy(update={"provenance": made, "seals": there.seals})
        return there == own and read_table_text(table_path(file)) == new.table.text
    except DataError:
        return False


def _entry_files(board: Path) -> list[Path]:
    return sorted(Path(board).glob("*.json"))


def read_board(board: str | Path) -> list[Entry]:
    """Read the entries of one board, their tables left aside.

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
    return [_read_entry(file) for file in _entry_files(Path(board))]


def read_filed(board: str | Path) -> list[Filed]:
    """Read the entries of one board with their tables, as :func:`read_board` does.

    Raises
    ------
    DataError
        A file is no entry, or a table none of scores.
    """
    found = []
    for file in _entry_files(Path(board)):
        entry = _read_entry(file)
        scores, wrong = read_scores(entry, file)
        if wrong:
            raise DataError(f"{file}: {wrong[0]}.\nRun `kitsbench leaderboard check`.")
        found.append(Filed(file, entry, scores))
    return found


def _read_entry(file: Path) -> Entry:
    entry, problems = _read(file)
    if entry is None:
        raise DataError(f"{file}: {problems[0].message}.\nRun `kitsbench leaderboard check`.")
    return entry


def boards(root: str | Path) -> list[Path]:
    """Folders of boards under ``root``, or ``root`` itself where it holds entries.

    Raises
    ------
    DataError
        The folder does not exist, or holds neither entries nor folders.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"There is no folder {root}; name the folder that holds the boards.")
    folders = sorted(
        folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")
    )
    if any(root.glob("*.json")):
        return [root]
    if not folders:
        raise DataError(
            f"{root} holds no entries; `kitsbench leaderboard add WORKDIR --to {root}/NAME` makes "
            "some."
        )
    return folders


def check_boards(root: str | Path) -> tuple[int, list[Problem]]:
    """Check every entry of every board, and work out again what can be.

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

    Raises
    ------
    DataError
        There is no such folder, or it is empty.
    """
    problems: list[Problem] = []
    filed: list[Filed] = []
    count = 0
    for board in boards(root):
        files = _entry_files(board)
        count += len(files)
        found, wrong = _read_all(board, files)
        filed += found
        problems += wrong
        problems += [Problem(*fault) for fault in board_faults(found)]
        problems += _rule_faults(board, found)
        problems += _design_faults(board, found)
    problems += [Problem(*fault) for fault in dataset_faults(filed)]
    return count, list(dict.fromkeys(problems))


def _rule_faults(board: Path, filed: Sequence[Filed]) -> list[Problem]:
    """What entries break of their board's file."""
    file = board / FILE
    try:
        rules = read_rules(board)
    except DataError as error:
        said = str(error).splitlines()[0].removeprefix(f"{file}").lstrip(": ").rstrip(".")
        return [Problem(file, said)]
    if rules is None:
        if all(one.entry.elsewhere is not None for one in filed):
            return []  # nobody has said yet under which budget others may enter
        remedy = f"`kitsbench leaderboard conditions {board} > {file}` writes what they share"
        return [Problem(board, f"a board without {FILE}, which states its conditions: {remedy}")]
    return [Problem(one.file, fault) for one in filed for fault in rules.faults(one.entry)]


def _design_faults(board: Path, filed: Sequence[Filed]) -> list[Problem]:
    """Entries of another design than the board's."""
    try:
        design = read_design(board)
    except DataError as error:
        file = board / DESIGN
        return [Problem(file, str(error).splitlines()[0].removeprefix(f"{file}: ").rstrip("."))]
    faults = [(one.file, design_fault(one.entry, design)) for one in filed]
    return [Problem(file, fault) for file, fault in faults if fault is not None]


def _read_all(board: Path, files: Sequence[Path]) -> tuple[list[Filed], list[Problem]]:
    problems: list[Problem] = []
    filed: list[Filed] = []
    if board.is_symlink():
        problems.append(Problem(board, "a symbolic link; boards are folders of their own"))
    if not files and not (board / DESIGN).is_file():  # a design comes before its first trial
        remedy = f"`kitsbench leaderboard add WORKDIR --to {board}` makes some"
        problems.append(Problem(board, f"a board without entries: {remedy}, or remove the folder"))
    elif any(folder.is_dir() and any(folder.glob("*.json")) for folder in board.iterdir()):
        problems.append(Problem(board, "entries and folders with entries; boards lie side by side"))
    owned = {table_path(file) for file in files}
    for stray in sorted({*board.glob("*.csv.gz")} - owned):
        problems.append(Problem(stray, "a table without an entry beside it"))
    for file in files:
        entry, found = _read(file)
        problems += found
        if entry is None:
            continue
        faults = entry_faults(entry, file)
        scores, wrong = read_scores(entry, file)
        at_odds = [] if scores is None else agreement_faults(entry, scores, file)
        at_odds += [] if scores is None else curve_faults(entry, scores)
        apart = elsewhere_faults(entry, None if wrong else scores)
        problems += [Problem(file, fault) for fault in (*faults, *wrong, *at_odds, *apart)]
        filed.append(Filed(file, entry, None if wrong else scores))
    return filed, problems


def _newest() -> int:
    return int(Entry.model_fields[VERSION_KEY].default)


def _version(file: Path) -> int | None:
    """Format of an entry's file, where it says one."""
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    found = content.get(VERSION_KEY) if isinstance(content, dict) else None
    return found if type(found) is int else None


def _read(file: Path) -> tuple[Entry | None, list[Problem]]:
    if file.is_symlink():
        return None, [Problem(file, "a symbolic link; entries are files of their own")]
    if not file.is_file():
        return None, [Problem(file, "no file; a board holds files alone")]
    if file.stat().st_size > _LIMIT:
        return None, [Problem(file, f"more than {_LIMIT // 2**20} MiB, which no entry has")]
    version = _version(file)
    if version is not None and 0 < version < _newest():
        return None, [Problem(file, FORMER)]
    try:
        entry, faults = Entry.check(file)
    except DataError as error:
        faults = [str(error).splitlines()[0].removeprefix(f"{file}").lstrip(": ")]
        entry = None
    return entry, [Problem(file, fault.rstrip(".")) for fault in faults]
