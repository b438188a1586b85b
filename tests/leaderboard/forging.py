"""Tools of a forger: honest boards are read, changed, and sealed and hashed anew."""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kitsbench.errors import KitsbenchError
from kitsbench.leaderboard import Entry, check_boards, peers, table_proof

Content = dict[str, Any]
Rows = list[dict[str, str]]


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
