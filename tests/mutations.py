"""What may happen to the bytes of any file, and to the words of one that holds text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]


def _place(content: bytes, rng: random.Random) -> int:
    return rng.randrange(max(1, len(content)))


def _flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice([1, 1, 4, 32])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _lost(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    return content[:start] + content[start + rng.randrange(1, 40) :]


def _doubled(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    piece = content[start : start + rng.randrange(1, 200)]
    return content[:start] + piece + content[start:]


def _strange(content: bytes, rng: random.Random) -> bytes:
    start = _place(content, rng)
    piece = rng.choice([b"\0", b"\xff\xfe", b"\xed\xb2\x80", b"\x1b[2J", b"\n\n", b'"', b"'", b","])
    return content[:start] + piece + content[start:]


BYTES: tuple[Mutation, ...] = (_flipped, _cut, _lost, _doubled, _strange)
"""What may happen to any file."""

NUMBERS = (b"9" * 5000, b"-" + b"9" * 25, b"1e400", b"-1e400", b"NaN", b"nan", b"inf", b"-1")
NUMBERS += (b"0", b"2.5", b"true", b"null", b'""', b'"a"', b"[]", b"{}", b"9007199254740993")


def _number(content: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", content))
    if not found:
        return _flipped(content, rng)
    one = rng.choice(found)
    return content[: one.start()] + rng.choice(NUMBERS) + content[one.end() :]


def _word(content: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"[A-Za-z_]{3,}", content))
    if not found:
        return _flipped(content, rng)
    one = rng.choice(found)
    other = rng.choice([rng.choice(found)[0], b"", b"../../x", b"x" * 5000, b"\xc3\xbc", b"nan"])
    return content[: one.start()] + other + content[one.end() :]


def _deep(content: bytes, rng: random.Random) -> bytes:
    start, levels = _place(content, rng), rng.choice([150, 2000, 100_000])
    return content[:start] + b"[" * levels + b"]" * levels + content[start:]


def _other_encoding(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(rng.choice(["utf-16", "utf-8-sig", "utf-32", "cp500"]), "replace")


TEXT: tuple[Mutation, ...] = (*BYTES, *(_number, _word) * 3, _deep, _other_encoding)
"""What may happen to a file of text: JSON, TOML, CSV."""


def mutate(content: bytes, number: int, kinds: tuple[Mutation, ...]) -> bytes:
    """The content after one or two of the mutations; the same ones for the same number."""
    rng = random.Random(number)
    for _ in range(rng.choice([1, 1, 2])):
        content = rng.choice(kinds)(content, rng)
    return content
