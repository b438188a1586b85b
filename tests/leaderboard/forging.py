"""Tools of a forger: honest boards are read, changed, and sealed and hashed anew."""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from stored_files import put

from kitsbench.errors import KitsbenchError
from kitsbench.leaderboard import Entry, check_boards, peers, table_proof

Content = dict[str, Any]
Rows = list[dict[str, str]]
Change = Callable[[Content], Any]
"""Changes an entry."""
Forge = Callable[[Path], Any]
"""Changes a board."""

TABLE = "a.scores.csv.gz"


@contextmanager
def remembered() -> Iterator[None]:
    """Work equal tables out once: most forgeries leave them alone, and minutes are saved."""
    with pytest.MonkeyPatch.context() as patch:
        for room, name in (
            (peers, "scores_of"),
            (peers, "ranks_of"),
            (table_proof, "validate_scores"),
        ):
            patch.setattr(room, name, _remember(getattr(room, name)))
        yield


def _remember(function: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    @functools.wraps(function)
    def answer(table, *rest):
        key = (repr(table.to_numpy().tolist()), *rest)
        if key not in known:
            known[key] = function(table, *rest)
        return known[key]

    return answer


def told(board: Path) -> str:
    """What ``check`` says of the board, which it must refuse."""
    _, problems = check_boards(board.parent)
    assert problems
    return "\n".join(f"{problem.file.name}: {problem.message}" for problem in problems)


def read(board: Path, name: str = "a") -> Content:
    return json.loads((board / f"{name}.json").read_text(encoding="utf-8"))


def write(board: Path, content: Content, name: str = "a", seal: bool = True) -> None:
    text = json.dumps(content)
    if seal:
        try:
            content["seals"] = Entry.model_validate_json(text).sealed()
            text = json.dumps(content)
        except (KitsbenchError, ValidationError):
            pass  # it is refused before anybody looks at seals
    (board / f"{name}.json").write_text(text, encoding="utf-8")


def read_rows(board: Path, name: str = "a") -> Rows:
    text = gzip.decompress((board / f"{name}.scores.csv.gz").read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text)))


def write_rows(board: Path, rows: Rows, name: str = "a", hashed: bool = True) -> None:
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    text = out.getvalue().encode()
    (board / f"{name}.scores.csv.gz").write_bytes(gzip.compress(text))
    if hashed:
        content = read(board, name)
        content["table"] = {"rows": len(rows), "sha256": hashlib.sha256(text).hexdigest()}
        write(board, content, name)


def index(content: Content, region: str = "tumor", metric: str = "dice") -> int:
    """Number of a score by the entry's protocol."""
    found = [(s["protocol"], s["region"], s["metric"]) for s in content["scores"]]
    return found.index((content["protocol"], region, metric))


def at(*places: Any) -> Change:
    """Put values in their places: place, value, place, value."""

    def change(content: Content) -> None:
        for place, value in zip(places[::2], places[1::2], strict=True):
            put(content, place, value)

    return change


def forged(change: Change, name: str = "a") -> Forge:
    """Change an entry; its seals follow."""

    def forge(board: Path) -> None:
        content = read(board, name)
        change(content)
        write(board, content, name)

    return forge


def named(new: str, name: str = "a") -> Forge:
    """Another name throughout: in the entry, its identity and its table."""

    def forge(board: Path) -> None:
        write_rows(board, [{**row, "architecture": new} for row in read_rows(board, name)], name)
        forged(at("name", new), name)(board)

    return forge


def replaced(old: str, new: str, name: str = "a.json") -> Forge:
    """Change the text of a file, where its format itself is in the way."""

    def forge(board: Path) -> None:
        file = board / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    return forge


def rewritten(change: Callable[[bytes], bytes], name: str = "a.json") -> Forge:
    """Change the bytes of a file."""

    def forge(board: Path) -> None:
        file = board / name
        file.write_bytes(change(file.read_bytes()))

    return forge


def filed(name: str, content: bytes) -> Forge:
    """Other bytes in a file."""
    return lambda board: (board / name).write_bytes(content)


def linked(name: str) -> Forge:
    """Put a file elsewhere, and a link in its place."""

    def forge(board: Path) -> None:
        elsewhere = board.parent.parent / name
        shutil.move(board / name, elsewhere)
        (board / name).symlink_to(elsewhere)

    return forge


def instead(name: str, make: Callable[[Path], Any]) -> Forge:
    """Something that is no file of bytes, under the name of one."""

    def forge(board: Path) -> None:
        (board / name).unlink()
        make(board / name)

    return forge


def a_pipe(name: str) -> Forge:
    return instead(name, os.mkfifo)


def gone(name: str) -> Forge:
    return instead(name, lambda file: None)


def of_size(name: str, size: int) -> Forge:
    """A file cut, or made longer with zeros."""

    def forge(board: Path) -> None:
        with open(board / name, "r+b") as file:
            file.truncate(size)  # takes no place on the disk

    return forge


def moved(board: Path, old: str, new: str) -> None:
    """Give an entry's files another name."""
    for ending in (".json", ".scores.csv.gz"):
        shutil.move(board / f"{old}{ending}", board / f"{new}{ending}")
