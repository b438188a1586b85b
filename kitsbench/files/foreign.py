"""Files that somebody else may have written: their bytes, and JSON and TOML in them.

A name may lead to a folder, a pipe that nobody writes into, or a device without an end; a text may
be in another encoding, nested without end, or hold numbers that no program can take. Whoever reads
through this room meets two errors alone: an ``OSError``, whose ``strerror`` says why there are no
bytes, and a ``ValueError``, whose text says what is wrong with them.
"""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from kitsbench.text import one_line, shorten

MOST_BYTES = 1 << 28
"""Of a file of JSON, TOML or names; the largest that kitsbench writes has some MB."""
DEEPEST = 100
"""Levels of lists and tables in each other; no file of kitsbench or of KiTS has more than ten."""
_KINDS = {
    stat.S_ISDIR: "it is a folder",
    stat.S_ISFIFO: "it is a pipe",
    stat.S_ISCHR: "it is a device",
    stat.S_ISBLK: "it is a device",
    stat.S_ISSOCK: "it is a socket",
}


def brief(value: object, most: int = 60) -> str:
    """A foreign value as a message shows it: in one line, and cut where it is long."""
    return shorten(one_line(value), most)


def check_file(path: str | Path) -> os.stat_result:
    """See that a path leads to a file of bytes, without opening it: to open a pipe may take ever.

    Raises
    ------
    OSError
        There is none; ``strerror`` says what is there instead.
    """
    try:
        found = os.stat(path)
    except ValueError as error:  # a NUL, or half of a character
        raise OSError(errno.EINVAL, "no file can have this name", brief(path)) from error
    for is_kind, words in _KINDS.items():
        if is_kind(found.st_mode):
            raise OSError(errno.EINVAL, f"{words}; a file belongs there", str(path))
    return found


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file that is one, and no larger than it may be.

    Raises
    ------
    OSError
        It is missing, is no file, may not be read, or is too large.
    """
    if check_file(path).st_size > most:
        raise OSError(errno.EINVAL, f"it has more than {most / 1e6:.0f} MB", str(path))
    with open(path, "rb") as file:
        return file.read(most)


def read_text(path: str | Path) -> str:
    """The text of a file, without its byte-order mark; see :func:`decode_text`.

    Raises
    ------
    OSError
        As :func:`read_bytes`.
    UnicodeDecodeError
        It is no UTF-8.
    """
    return decode_text(read_bytes(path))


def names_or_file(text: str) -> str:
    """A list of names as it was given, or the content of the file that was named instead.

    Raises
    ------
    OSError, ValueError
        As :func:`read_text`.
    """
    path = os.path.expanduser(text)
    # A long list is no name of a file; to ask for one of that length would be an error.
    return read_text(path) if os.path.isfile(path) else text


def decode_text(content: bytes) -> str:
    """Text of a file that somebody else wrote: UTF-8, or what its byte-order mark says.

    Editors of Windows put the mark first, and its shell writes UTF-16.

    Raises
    ------
    UnicodeDecodeError
        It is something else.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig")


def _text(content: bytes | str) -> str:
    try:
        return decode_text(content) if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        byte = content[error.start : error.start + 1]
        place = f"byte {error.start} is 0x{byte.hex() if isinstance(byte, bytes) else ''}"
        raise ValueError(f"it is no text in UTF-8 ({place})") from None


# -- JSON -------------------------------------------------------------------------------------


def read_json(path: str | Path) -> Any:
    """Read a JSON file; see :func:`read_bytes` and :func:`parse_json`."""
    return parse_json(read_bytes(path))


def parse_json(content: bytes | str) -> Any:
    """Read JSON that somebody else may have written.

    Raises
    ------
    ValueError
        It is no UTF-8 or no JSON, holds NaN, an infinity or half of a character, names a key
        twice, is nested too deep, or holds an integer of thousands of digits.
    """
    text = _text(content)
    try:
        found = json.loads(
            text,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_once,
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return _shallow(found)


def _shallow(value: Any) -> Any:
    """The value, unless it is nested deeper than any code of ours goes down by calling itself."""
    layer, depth = [value], 0
    while layer:
        if depth > DEEPEST:
            raise ValueError("it is nested too deep")
        depth += 1
        layer = [
            part
            for one in layer
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
    return value


def _no_number(name: str) -> float:
    raise ValueError(f"it holds {name}, which JSON does not know")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {brief(text)}, which is beyond all that can be used")
    return value


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python's own words tell a programmer how to lift its limit
        raise ValueError(f"it holds an integer of {len(text)} digits") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it names the key {twice!r:.60} twice")
    return found


# -- TOML -------------------------------------------------------------------------------------


def read_toml(path: str | Path, finite: bool = True) -> dict[str, Any]:
    """Read a TOML file; see :func:`read_bytes` and :func:`parse_toml`."""
    return parse_toml(read_bytes(path), finite)


def parse_toml(content: bytes | str, finite: bool = True) -> dict[str, Any]:
    """Read TOML that somebody else may have written.

    Parameters
    ----------
    content : bytes or str
    finite : bool
        Whether NaN and infinities, which TOML knows, are refused here; where they are not, whoever
        takes a number says what is wrong with it.

    Raises
    ------
    ValueError
        It is no UTF-8 or no TOML, holds NaN, an infinity or a number without end, or is nested
        too deep.
    """
    text = _text(content)
    try:
        found = tomllib.loads(text, parse_float=_finite if finite else float)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(brief(error, 200)) from None
    except ValueError as error:
        if "digits" in str(error):  # Python's words about its limit for integers
            raise ValueError("it holds an integer of thousands of digits") from None
        raise
    _refuse_wide(_shallow(found))
    return found


def _refuse_wide(value: Any) -> None:
    """Refuse integers that TOML does not have; those in hexadecimal digits have no limit else."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _refuse_wide(part)
    elif isinstance(value, int) and value.bit_length() > 64:
        raise ValueError(f"it holds an integer of {value.bit_length()} bits")
