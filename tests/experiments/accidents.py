"""What may happen to the files of a run: keys and columns that change, and bytes that go astray."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

NOT_A_NUMBER, HUGE = "@nan@", "@huge@"
OF_EVERY_TYPE = ("a word", 7, 7.5, True, None, [], {})


@dataclass(frozen=True)
class Accident:
    """One change of a file.

    Attributes
    ----------
    kind : str
        What happened.
    place : str
        The key, with dots, or the column; empty for the whole file.
    content : bytes
        The file afterwards.
    """

    kind: str
    place: str
    content: bytes


def spoil_json(content: bytes, rng: random.Random) -> Accident:
    """Let something happen to a JSON file that holds an object."""
    kind = rng.choice(["removed", "renamed", "retyped"] * 4 + ["nan", "huge", *WHOLE])
    if kind in WHOLE:
        return Accident(kind, "", WHOLE[kind](content, rng))
    data = json.loads(content)
    path, owner = _walk(data, rng)
    key = path[-1]
    if kind == "removed":
        del owner[key]
    elif kind == "renamed":
        owner[f"{key}_"] = owner.pop(key)
    elif kind == "retyped":
        owner[key] = rng.choice([v for v in OF_EVERY_TYPE if type(v) is not type(owner[key])])
    else:
        owner[key] = NOT_A_NUMBER if kind == "nan" else HUGE
    text = json.dumps(data, indent=2)
    for word, number in ((NOT_A_NUMBER, "NaN"), (HUGE, "9" * 5000)):
        text = text.replace(json.dumps(word), number)
    return Accident(kind, ".".join(path), text.encode())


def spoil_table(content: bytes, rng: random.Random) -> Accident:
    """Let something happen to a Parquet file."""
    kind = rng.choice(["dropped", "renamed", "retyped", "added", "cut short", "emptied"])
    if kind in WHOLE:
        return Accident(kind, "", WHOLE[kind](content, rng))
    table = pd.read_parquet(io.BytesIO(content))
    name = rng.choice(list(table.columns))
    if kind == "dropped":
        table = table.drop(columns=name)
    elif kind == "renamed":
        table = table.rename(columns={name: f"{name}_"})
    elif kind == "retyped":
        number = pd.api.types.is_numeric_dtype(table[name])
        table[name] = table[name].astype(rng.choice(["str", "float32"]) if number else "category")
    else:
        name = "mood"
        table[name] = 1.0
    changed = io.BytesIO()
    table.to_parquet(changed, index=False)
    return Accident(kind, name, changed.getvalue())


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(1, len(content) - 2)]


WHOLE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut short": _cut,
    "emptied": lambda content, rng: b"",
    "a list": lambda content, rng: b"[" + content + b"]",
    "no text": lambda content, rng: content.replace(b'"', b"\xff", 1),
    "too deep": lambda content, rng: b"[" * 100_000 + b"]" * 100_000,
}


def _walk(data: Any, rng: random.Random) -> tuple[list[str], dict[str, Any]]:
    """A random key of an object or of what is in it, and the object that has it."""
    path: list[str] = []
    owner = data
    while True:
        key = rng.choice(list(owner))
        path.append(key)
        found, more = owner[key], []
        while isinstance(found, list) and found:
            index = rng.randrange(len(found))
            more.append(str(index))
            found = found[index]
        if not isinstance(found, dict) or not found or rng.random() < 0.3:
            return path, owner
        path += more
        owner = found
