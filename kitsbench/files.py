"""Files that are either whole or absent, and hashes of plain data."""

from __future__ import annotations

import codecs
import csv
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Parameters
    ----------
    path : Path
        Where the file shall be; missing parents are made.
    write : callable
        Called with the path of a temporary file in the same folder.

    Raises
    ------
    OSError
        The disk is full or the folder is not writable; ``path`` is then untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because some writers (numpy, nibabel) choose the format by it.
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=".", suffix=".tmp" + "".join(path.suffixes)
    )
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
SHARED_MEMORY = Path("/dev/shm")
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ELOOP)


def disk_trouble(error: BaseException) -> str | None:
    """Sentences for a user about a disk that is full or a file that is not theirs.

    Returns
    -------
    str or None
        None where the error is another one.
    """
    if not isinstance(error, OSError) or error.errno not in (*FULL, *FORBIDDEN):
        return None
    where = Path(str(error.filename)) if error.filename else None
    if where is not None and where.name.startswith("."):
        where = where.parent  # a temporary file, whose name says nothing
    if error.errno in FULL and where is not None and where.is_relative_to(SHARED_MEMORY):
        return (
            f"The shared memory of the machine ({SHARED_MEMORY}) was full ({error.strerror}). Make "
            "it larger (docker run --shm-size=2g) and run the same command again: what was "
            "finished is kept."
        )
    if error.errno in FULL:
        place = f" while writing {where}" if where else ""
        return (
            f"The disk or its quota was full{place} ({error.strerror}). Free some space and run "
            "the same command again: what was finished is kept."
        )
    return (
        f"No permission for {where or 'a file'} ({error.strerror}). Choose a folder that you may "
        "write to, or change its permissions; nothing that was finished is lost."
    )


def path_trouble(error: OSError) -> str | None:
    """Sentence for a user about a path that leads nowhere; None where the error is another one."""
    place = error.filename2 or error.filename  # the second is where a file was to be moved to
    if error.errno not in NO_FOLDER or not place:
        return None
    if error.errno == errno.EISDIR:
        return (
            f"{place} cannot be read or written ({error.strerror}): a file belongs there. "
            "Remove the folder, or choose another path."
        )
    return (
        f"{place} cannot be read or written ({error.strerror}): part of the path is "
        "missing, is a file, or is a link to nothing. Choose another path."
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, readable by a person and with a final newline.

    Raises
    ------
    ValueError
        The value holds NaN or an infinity, which JSON does not know.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, atomically; a value that is missing or None is an empty cell."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            table.writeheader()
            table.writerows(rows)

    write_atomic(path, write)


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


def read_text(path: Path) -> str:
    """Read text that somebody else may have written; see :func:`decode_text`."""
    return decode_text(Path(path).read_bytes())


def read_json(path: Path) -> Any:
    """Read a JSON file; see :func:`parse_json`."""
    return parse_json(Path(path).read_bytes())


def parse_json(content: bytes | str) -> Any:
    """Read JSON that somebody else may have written.

    Raises
    ------
    ValueError
        It is no UTF-8 or no JSON, holds NaN or an infinity, names a key twice, is nested too deep,
        or holds an integer of thousands of digits.
    """
    text = decode_text(content) if isinstance(content, bytes) else content
    try:
        return json.loads(
            text, parse_constant=_no_number, parse_int=_integer, object_pairs_hook=_once
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _no_number(name: str) -> float:
    raise ValueError(f"it holds {name}, which JSON does not know")


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


def canonical_json(value: Any) -> str:
    """One text for equal data: keys sorted, no spaces, so that it can be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def as_json(value: Any) -> Any:
    """Plain data as a reader of its JSON has them: lists for tuples."""
    return json.loads(json.dumps(value, allow_nan=False))


def digest(value: Any, length: int = 16) -> str:
    """Hexadecimal SHA-256 of plain data (dicts, lists, numbers, text), cut to ``length``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
