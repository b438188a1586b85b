"""One file from the web, or from a folder, to its place: resumed, checked, then renamed.

Bytes go to a hidden file beside the target (``.imaging.nii.gz.part``). It survives a broken
connection, a full disk and a killed process, and is renamed only when its check passes, so that a
file with the right name is always whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kitsbench.data.fetching.attempt import (
    LONGEST_WAIT,
    NOT_THERE,
    Again,
    DiskFull,
    Patience,
    Promise,
    Tell,
    Unreachable,
    receive,
)
from kitsbench.data.fetching.sources import is_url
from kitsbench.scans.findings import Finding, Refused

PROGRESS_BYTES = 1 << 20  # a connection that brings this much makes its failure the first again
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def part_of(target: Path) -> Path:
    """The hidden file in which a download grows."""
    return target.with_name(f".{target.name}.part")


def transfer(
    place: str,
    target: Path,
    check: Callable[[Path], Any],
    case: str,
    patience: Patience,
    tell: Tell,
) -> int:
    """Bring a file to its place.

    Parameters
    ----------
    place : str
        URL, or path of a file.
    target : Path
        Where it shall be; must not exist.
    check : callable
        Called with the complete file under its temporary name; raises Refused if it is no good.
    case : str
        For messages.
    patience : Patience
        How hard to try.
    tell : callable
        Called as ``tell(received, size)``.

    Returns
    -------
    int
        Bytes that were received.

    Raises
    ------
    Refused
        The source has no such file, does not give it, or what it gives fails its check.
    Unreachable
        There is no way to the server.
    DiskFull
        The disk is full.
    """
    part = part_of(target)
    new_folder = not target.parent.exists()
    try:
        _make(target.parent)
        with _locked(part, case):
            received = _insist(place, part, check, case, patience, tell)
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, target)
        return received
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(_no_room(target)) from error
        raise Refused(
            Finding(
                case,
                str(target),
                f"could not be written: {error.strerror or error}",
                "The user who runs kitsbench needs permission to write there.",
                "Choose another folder or change its permissions.",
            )
        ) from error
    finally:
        _sweep(part, new_folder)


def _make(folder: Path) -> None:
    """Make a folder, also where another thread sweeps its empty parent away meanwhile."""
    for _ in range(10):  # each sweeps once
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _sweep(part: Path, new_folder: bool) -> None:
    """Leave no empty file or folder behind where nothing came."""
    with contextlib.suppress(OSError):
        if part.is_file() and part.stat().st_size == 0:
            part.unlink()
        if new_folder:
            part.parent.rmdir()  # fails, as it should, if there is anything in it


def _no_room(target: Path) -> str:
    return (
        f"the disk is full: {target} could not be fetched. Free some space and run it again; "
        "what has arrived is kept and continued."
    )


@contextlib.contextmanager
def _locked(part: Path, case: str) -> Iterator[None]:
    """Keep two processes from writing one file."""
    try:
        import fcntl
    except ImportError:  # Windows: opening for writing twice fails by itself there
        yield
        return
    with open(part, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                Finding(
                    case,
                    str(part),
                    "another process is fetching this file",
                    "One process writes a file.",
                    "Wait for it, or fetch other cases.",
                )
            ) from error
        yield


def _insist(
    place: str,
    part: Path,
    check: Callable[[Path], Any],
    case: str,
    patience: Patience,
    tell: Tell,
) -> int:
    """Try until the file is whole and good, or patience ends."""
    promise = Promise()
    failures = damaged = received = 0
    most = part.stat().st_size
    while True:
        resumed = part.stat().st_size > 0
        try:
            received += receive(place, part, case, promise, patience, tell)
            _keep_promise(part, promise)
            check(part)
            return received
        except Refused as error:
            # Bytes of two versions of a file, or damage on the way: once more from the start.
            part.write_bytes(b"")
            promise = Promise()
            damaged += not resumed
            if error.finding.what.startswith(NOT_THERE) or damaged > 1 or not is_url(place):
                part.unlink(missing_ok=True)
                raise _named(error, place) from error
        except Again as error:
            size = part.stat().st_size
            if size >= most + PROGRESS_BYTES:
                failures = 0
            most = max(most, size)
            failures += 1
            if failures > patience.retries:
                if error.unreachable:
                    raise Unreachable(
                        f"{error.unreachable} cannot be reached ({error}). Check the network or "
                        "the proxy (https_proxy), or name a mirror or a folder as the source; "
                        "run it again to go on."
                    ) from error
                raise _failed(place, case, part, str(error)) from error
            wait = max(error.wait, min(patience.backoff * 2 ** (failures - 1), LONGEST_WAIT))
            if patience.stop.wait(wait):
                raise Unreachable("stopped.") from error


def _named(error: Refused, place: str) -> Refused:
    """The same finding, with the place it came from."""
    found = error.finding
    if place in found.what:
        return error
    return Refused(
        Finding(
            found.case,
            found.file,
            f"{found.what}, as fetched from {place}",
            found.rule,
            "Run it again; if it stays so, the source holds a damaged file.",
        )
    )


def _failed(place: str, case: str, part: Path, why: str) -> Refused:
    kept = part.stat().st_size
    return Refused(
        Finding(
            case,
            str(part),
            f"{place} failed again and again: {why}",
            "A source gives its files whole.",
            f"Run it again later; {kept} bytes are kept and continued.",
        )
    )


def _keep_promise(part: Path, promise: Promise) -> None:
    """Compare a complete file with the size and the hash that the server named."""
    size = part.stat().st_size
    if promise.size is not None and size != promise.size:
        _refuse(part, f"{size} bytes arrived, {promise.size} were announced")
    if promise.sha256 is not None:
        with open(part, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != promise.sha256:
            _refuse(part, "the bytes differ from the SHA-256 that the server names")


def _refuse(part: Path, what: str) -> None:
    raise Refused(Finding("", str(part), what, "A file arrives as it was sent.", "Run it again."))
