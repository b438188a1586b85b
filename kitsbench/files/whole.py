"""Files that are either whole or absent, and hashes of plain data."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kitsbench.files.alone import alone
from kitsbench.text import csv_cell


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
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Write a small file that is replaced all the time: a reader sees the old text or the new.

    Unlike :func:`write_atomic` it does not wait for the disk, so a power cut may leave it empty,
    and one process alone may write it.

    Raises
    ------
    OSError
        The disk is full, or the folder is missing or not writable.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    os.replace(temporary, path)


STAGED = ".kitsbench-new-"
_FORGOTTEN = 3600.0  # seconds after which nobody writes what is staged any more


def write_folder(
    folder: Path, write: Callable[[Path], object], last: str, whole: Sequence[str] = ()
) -> list[Path]:
    """Write the files of a folder so that ``last`` is there only beside all the others.

    They are written under a hidden name and moved when all are whole. Where the folder is new it
    appears in one step; in one that is there ``last`` goes first and comes last, and files of
    other names stay.

    Parameters
    ----------
    folder : Path
        Missing parents are made.
    write : callable
        Called with an empty folder to write into.
    last : str
        Name of the file that readers begin with.
    whole : sequence of str
        Names of folders inside of which nothing older stays, and patterns of files of which none
        does, such as ``tab-*.tex``. Where ``last`` is missing, what is there is somebody's own:
        it gets another name.

    Returns
    -------
    list of Path
        What somebody's own files and folders are called now.

    Raises
    ------
    OSError
        The disk is full or the folder is not writable; what was there before is then untouched.
    """
    folder = Path(folder)
    place = folder if os.path.lexists(folder) else folder.parent
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob(f"{STAGED}*"):  # by whoever was killed
        with contextlib.suppress(OSError):  # another has removed it
            if time.time() - left.stat().st_mtime > _FORGOTTEN:
                shutil.rmtree(left)
    staged = Path(tempfile.mkdtemp(dir=place, prefix=STAGED))
    try:
        write(staged)
        with alone(folder.parent):
            if not os.path.lexists(folder):
                os.chmod(staged, 0o777 & ~_umask())  # a temporary folder is its maker's alone
                os.rename(staged, folder)
                return []
        with alone(folder):  # or two that write at once would take each other's files away
            return _replace(folder, staged, last, whole)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _replace(folder: Path, staged: Path, last: str, whole: Sequence[str]) -> list[Path]:
    """Move what was written into a folder that is there."""
    moved: list[Path] = []
    ours = os.path.lexists(folder / last)
    for old in [path for name in whole for path in folder.glob(name)]:
        if not ours and not (old.is_dir() and not any(old.iterdir())):
            moved.append(free_name(old))
            old.rename(moved[-1])
    (folder / last).unlink(missing_ok=True)
    for old in [path for name in whole for path in folder.glob(name)]:
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        elif old not in moved:
            old.unlink()
    for entry in sorted(staged.iterdir(), key=lambda entry: entry.name == last):
        os.replace(entry, folder / entry.name)
    return moved


def free_name(place: Path) -> Path:
    """A name beside a file or folder under which it may be moved out of the way."""
    number = 1
    while os.path.lexists(aside := place.with_name(f"{place.name}-before-{number}")):
        number += 1
    return aside


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
SHARED_MEMORY = Path("/dev/shm")
UNFIT = (errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.ENODEV, errno.ESPIPE)
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ELOOP, *UNFIT)


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
    while where is not None and where.name.startswith("."):
        where = where.parent  # a temporary file or folder, whose name says nothing
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
    if error.errno in UNFIT:
        return f"{place} cannot be read or written ({error.strerror}). Choose another path."
    return (
        f"{place} cannot be read or written ({error.strerror}): part of the path is "
        "missing, is a file, or is a link to nothing. Choose another path."
    )


_HALF = re.compile("[\ud800-\udfff]")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; half of a character (a surrogate) is written out."""
    write_atomic(path, lambda file: file.write_bytes(text.encode("utf-8", "backslashreplace")))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, readable by a person and with a final newline.

    Raises
    ------
    ValueError
        The value holds NaN or an infinity, which JSON does not know.
    """
    # JSON would let half of a character stand, but most who read JSON refuse it.
    whole = write_out_halves(value)
    write_text(path, json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_out_halves(value: Any) -> Any:
    r"""Plain data in whose texts half of a character (a surrogate) is written out, ``\udcff``.

    What holds none is returned as it is.
    """
    if isinstance(value, str):
        return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", value)
    if isinstance(value, dict):
        return {write_out_halves(key): write_out_halves(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(write_out_halves, value))
    return value


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV, atomically; a value that is missing or None is an empty cell."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            table.writeheader()
            table.writerows({key: csv_cell(row.get(key)) for key in columns} for row in rows)

    write_atomic(path, write)


def canonical_json(value: Any) -> str:
    """One text for equal data: keys sorted, no spaces, so that it can be hashed.

    Half of a character is written out, as in a file, so that the hash is the same when it is read.
    """
    whole = write_out_halves(value)
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)


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
