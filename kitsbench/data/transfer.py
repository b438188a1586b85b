"""One file from the web, or from a folder, to its place: resumed, checked, then renamed.

Bytes go to a hidden file beside the target (``.imaging.nii.gz.part``). It survives a broken
connection, a full disk and a killed process, and is renamed only when its check passes, so that a
file with the right name is always whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import kitsbench
from kitsbench.data.findings import Finding, Refused
from kitsbench.data.sources import is_url
from kitsbench.errors import DataError

BLOCK = 1 << 18
PROGRESS_BYTES = (
    1 << 20
)  # what a connection must bring before its failure counts as the first again
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LONGEST_WAIT = 60.0

Tell = Callable[[int, int | None], None]


class Unreachable(DataError):
    """A server cannot be reached at all: nothing else will be got from it either."""


class DiskFull(DataError):
    """There is no room for what is to be fetched."""


class _Again(Exception):
    """An attempt failed in a way that another may not."""

    def __init__(self, what: str, wait: float = 0.0, unreachable: bool = False):
        super().__init__(what)
        self.wait = wait
        self.unreachable = unreachable


@dataclass(frozen=True)
class Patience:
    """How hard to try.

    Attributes
    ----------
    retries : int
        Attempts after the first that may fail in a row without bringing a MiB.
    backoff : float
        Seconds before the first retry; doubled for each that follows, 60 at most.
    timeout : float
        Seconds without a byte after which a connection counts as broken.
    stop : threading.Event
        Set to end all transfers.
    """

    retries: int = 5
    backoff: float = 1.0
    timeout: float = 60.0
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass
class _Promise:
    """What a server said about a file."""

    size: int | None = None
    sha256: str | None = None
    etag: str | None = None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps what Hugging Face says of a file before it leads elsewhere."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        promise: _Promise = req.promise
        mark = headers.get("X-Linked-Etag", "").strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", mark):
            promise.sha256 = mark
        if headers.get("X-Linked-Size", "").isdigit():
            promise.size = int(headers["X-Linked-Size"])
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.HTTPError(
                newurl, 403, "redirected to an unencrypted address", headers, fp
            )
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None:
            following.promise = promise  # type: ignore[attr-defined]
        return following


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
        target.parent.mkdir(parents=True, exist_ok=True)
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
    promise = _Promise()
    failures = damaged = received = 0
    most = part.stat().st_size
    while True:
        resumed = part.stat().st_size > 0
        try:
            received += (_download if is_url(place) else _copy)(
                place, part, case, promise, patience, tell
            )
            _keep_promise(part, promise)
            check(part)
            return received
        except Refused as error:
            # Bytes of two versions of a file, or damage on the way: once more from the start.
            part.write_bytes(b"")
            promise = _Promise()
            damaged += not resumed
            if error.finding.what.startswith(NOT_THERE) or damaged > 1 or not is_url(place):
                part.unlink(missing_ok=True)
                raise _named(error, place) from error
        except _Again as error:
            size = part.stat().st_size
            if size >= most + PROGRESS_BYTES:
                failures = 0
            most = max(most, size)
            failures += 1
            if failures > patience.retries:
                if error.unreachable:
                    raise Unreachable(
                        f"{_host(place)} cannot be reached ({error}). Check the network or the "
                        "proxy (https_proxy), or name a mirror or a folder as the source; "
                        "run it again to go on."
                    ) from error
                raise _failed(place, case, part, str(error)) from error
            wait = max(error.wait, min(patience.backoff * 2 ** (failures - 1), LONGEST_WAIT))
            if patience.stop.wait(wait):
                raise Unreachable("stopped.") from error


NOT_THERE = "the source does not give"


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


def _host(place: str) -> str:
    return urlsplit(place).netloc or place


def _copy(
    place: str, part: Path, case: str, promise: _Promise, patience: Patience, tell: Tell
) -> int:
    source = Path(place)
    if not source.is_file():
        raise Refused(
            Finding(
                case,
                place,
                f"{NOT_THERE} {place}: no such file",
                "A source holds every file of the cases that are asked for.",
                "Choose other cases or another source.",
            )
        )
    promise.size = source.stat().st_size
    try:
        file = open(source, "rb")  # noqa: SIM115
    except OSError as error:
        raise Refused(
            Finding(
                case,
                place,
                f"{NOT_THERE} {place}: {error.strerror}",
                "The user who runs kitsbench needs permission to read it.",
                "Change the permissions of the file.",
            )
        ) from error
    with file:
        return _write(file, part, 0, promise.size, patience, tell)


def _download(
    place: str, part: Path, case: str, promise: _Promise, patience: Patience, tell: Tell
) -> int:
    """Fetch what is missing of a file; raise _Again if the connection ends too early."""
    offset = part.stat().st_size
    if promise.size is not None and offset == promise.size:
        return 0
    request = urllib.request.Request(place, headers={"User-Agent": _AGENT})
    request.promise = promise  # type: ignore[attr-defined]
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if promise.etag:
            request.add_header("If-Range", promise.etag)
    opener = urllib.request.build_opener(_Redirects)  # now, so that proxies are those of now
    try:
        with opener.open(request, timeout=patience.timeout) as response:
            start = _start_of(response, offset, part)
            length = response.headers.get("Content-Length")
            if length is not None and length.isdigit() and promise.size is None:
                promise.size = start + int(length)
            etag = response.headers.get("ETag", "")
            promise.etag = etag if etag.startswith('"') else None
            return _write(response, part, start, promise.size, patience, tell)
    except urllib.error.HTTPError as error:
        with error:
            return _http_error(error, place, part, case, promise, offset)
    except urllib.error.URLError as error:
        reason = error.reason
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise _Again(text, unreachable=not isinstance(reason, TimeoutError)) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Again(str(error) or type(error).__name__) from error


_AGENT = f"kitsbench/{kitsbench.__version__}"


def _start_of(response: Any, offset: int, part: Path) -> int:
    """Where in the file the answer begins: a server may ignore what was asked for."""
    if response.status != 206:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) > offset:
        part.write_bytes(b"")
        raise _Again("the server answered with another part of the file")
    return int(match[1])


def _http_error(
    error: urllib.error.HTTPError,
    place: str,
    part: Path,
    case: str,
    promise: _Promise,
    offset: int,
) -> int:
    """Decide what an HTTP status means for the transfer."""
    if error.code == 416:
        whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if whole and int(whole[1]) == offset:
            promise.size = offset
            return 0
        part.write_bytes(b"")
        raise _Again("the server has less of the file than is here already")
    if error.code in (408, 425, 429) or error.code >= 500:
        after = error.headers.get("Retry-After", "")
        wait = min(float(after), LONGEST_WAIT) if after.isdigit() else 0.0
        raise _Again(f"HTTP {error.code} {error.reason}", wait)
    raise Refused(
        Finding(
            case,
            place,
            f"{NOT_THERE} {place}: HTTP {error.code} {error.reason}",
            "A source gives every file of the cases that are asked for.",
            "Choose other cases or another source; a proxy may also be in the way.",
        )
    )


def _write(
    stream: IO[bytes],
    part: Path,
    start: int,
    size: int | None,
    patience: Patience,
    tell: Tell,
) -> int:
    """Append a stream to the file from ``start`` on."""
    free = shutil.disk_usage(part.parent).free
    if size is not None and size - start > free:
        raise DiskFull(
            f"{part.parent} has {free / 1e9:.3g} GB free, the rest of this file takes "
            f"{(size - start) / 1e9:.3g} GB. Free some space and run it again."
        )
    received = 0
    with open(part, "r+b") as file:
        file.truncate(start)
        file.seek(start)
        tell(start, size)
        while block := stream.read(BLOCK):
            if patience.stop.is_set():
                raise Unreachable("stopped.")
            file.write(block)
            received += len(block)
            tell(start + received, size)
    if size is not None and start + received < size:
        raise _Again(f"the connection ended after {start + received} of {size} bytes")
    return received


def _keep_promise(part: Path, promise: _Promise) -> None:
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
