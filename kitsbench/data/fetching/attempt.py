"""One attempt to read a file, from the web or from a folder, and what its failure means."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import kitsbench
from kitsbench.data.fetching.sources import is_url
from kitsbench.errors import DataError
from kitsbench.scans.findings import Finding, Refused

BLOCK = 1 << 18
LONGEST_WAIT = 60.0
NOT_THERE = "the source does not give"
_AGENT = f"kitsbench/{kitsbench.__version__}"

Tell = Callable[[int, int | None], None]


class Unreachable(DataError):
    """A server cannot be reached at all: nothing else will be got from it either."""


class DiskFull(DataError):
    """There is no room for what is to be fetched."""


class Again(Exception):
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
        Set when all transfers shall end.
    """

    retries: int = 5
    backoff: float = 1.0
    timeout: float = 60.0
    stop: threading.Event = field(default_factory=threading.Event)
    _open: set[int] = field(default_factory=set, repr=False)

    def halt(self) -> None:
        """End all transfers now, also those that wait for a byte."""
        self.stop.set()
        for handle in list(self._open):
            # Closing would not wake a thread that reads; the end of the connection does.
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(handle)) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def watching(self, response: Any) -> Iterator[None]:
        """Let :meth:`halt` end this connection."""
        handle = response.fileno()
        self._open.add(handle)
        try:
            yield
        finally:
            self._open.discard(handle)


@dataclass
class Promise:
    """What a server said about a file.

    Attributes
    ----------
    size : int or None
        Bytes.
    sha256 : str or None
        Of the content, in hexadecimal digits.
    etag : str or None
        Changes when the file does.
    """

    size: int | None = None
    sha256: str | None = None
    etag: str | None = None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps what Hugging Face says of a file before it leads elsewhere."""

    def redirect_request(
        self,
        req: Any,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        promise: Promise = req.promise
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


def receive(
    place: str, part: Path, case: str, promise: Promise, patience: Patience, tell: Tell
) -> int:
    """Bring what is missing of a file.

    Parameters
    ----------
    place : str
        URL, or path of a file.
    part : Path
        What has arrived so far; it grows.
    case : str
        For messages.
    promise : Promise
        Gets what the source says about the file.
    patience : Patience
        Its timeout and its stop count here.
    tell : callable
        Called as ``tell(received, size)``.

    Returns
    -------
    int
        Bytes that came.

    Raises
    ------
    Again
        Another attempt may go better.
    Refused
        The source does not give the file.
    DiskFull
        There is no room for it.
    """
    read = _download if is_url(place) else _copy
    return read(place, part, case, promise, patience, tell)


def _copy(
    place: str, part: Path, case: str, promise: Promise, patience: Patience, tell: Tell
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
    place: str, part: Path, case: str, promise: Promise, patience: Patience, tell: Tell
) -> int:
    """Fetch what is missing of a file; raise Again if the connection ends too early."""
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
        with (
            opener.open(request, timeout=patience.timeout) as response,
            patience.watching(response),
        ):
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
        raise Again(text, unreachable=not isinstance(reason, TimeoutError)) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise Again(str(error) or type(error).__name__) from error


def _start_of(response: Any, offset: int, part: Path) -> int:
    """Where in the file the answer begins: a server may ignore what was asked for."""
    if response.status != 206:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) > offset:
        part.write_bytes(b"")
        raise Again("the server answered with another part of the file")
    return int(match[1])


def _http_error(
    error: urllib.error.HTTPError,
    place: str,
    part: Path,
    case: str,
    promise: Promise,
    offset: int,
) -> int:
    """Decide what an HTTP status means for the transfer."""
    if error.code == 416:
        whole = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if whole and int(whole[1]) == offset:
            promise.size = offset
            return 0
        part.write_bytes(b"")
        raise Again("the server has less of the file than is here already")
    if error.code in (408, 425, 429) or error.code >= 500:
        after = error.headers.get("Retry-After", "")
        wait = min(float(after), LONGEST_WAIT) if after.isdigit() else 0.0
        raise Again(f"HTTP {error.code} {error.reason}", wait)
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
        raise Again(f"the connection ended after {start + received} of {size} bytes")
    return received
