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
from urllib.parse import urlsplit

import kitsbench
from kitsbench.data.fetching.sources import is_url
from kitsbench.errors import DataError
from kitsbench.files.foreign import brief
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

    def __init__(self, what: str, wait: float = 0.0, unreachable: str = ""):
        super().__init__(what)
        self.wait = wait
        self.unreachable = unreachable  # the host to which there is no way


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
    most : int
        Bytes that a file may have; the largest image of KiTS has a tenth of them.
    stop : threading.Event
        Set when all transfers shall end.
    """

    retries: int = 5
    backoff: float = 1.0
    timeout: float = 60.0
    most: int = 1 << 32
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
    at : str
        The address that was asked last: redirects lead from one host to another.
    """

    size: int | None = None
    sha256: str | None = None
    etag: str | None = None
    at: str = ""


def host_of(place: str) -> str:
    """The host of an address, with its port, and without a name and a password before it."""
    try:
        parts = urlsplit(place)
        return f"{parts.hostname or place}{f':{parts.port}' if parts.port else ''}"
    except ValueError:  # brackets or a port that are none
        return place


def _count(text: str | None) -> int | None:
    """A number of bytes or seconds out of a header; None for anything else."""
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else None


class _LeadsAway(Exception):
    """A server leads to an address that is not followed."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps what Hugging Face says of a file before it leads elsewhere."""

    def http_error_302(
        self, req: Any, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        """Look at the scheme before the library does, whose words are those of another error."""
        location = headers.get("Location") or headers.get("URI") or ""
        scheme = location.partition(":")[0].lower() if "://" in location else ""
        if scheme not in ("", "http", "https"):
            fp.close()
            raise _LeadsAway(f"it leads on to {brief(location, 200)}, which is no web address")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

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
        size = _count(headers.get("X-Linked-Size"))
        promise.size = promise.size if size is None else size
        old, new = (address.partition(":")[0].lower() for address in (req.full_url, newurl))
        if new not in (old, "https"):
            fp.close()
            raise _LeadsAway(f"it leads on to {brief(newurl, 200)}, from {old} to {new}")
        promise.at = newurl
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
    try:
        request = urllib.request.Request(place, headers={"User-Agent": _AGENT})
    except ValueError as error:
        raise _refused(case, place, f"it is no address of the web ({brief(error, 200)})") from error
    request.promise = promise  # type: ignore[attr-defined]
    promise.at = place
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
            length = _count(response.headers.get("Content-Length"))
            if length is not None and promise.size is None:
                promise.size = start + length
            etag = response.headers.get("ETag", "")
            promise.etag = etag if etag.startswith('"') else None
            return _write(response, part, start, promise.size, patience, tell)
    except urllib.error.HTTPError as error:
        with error:
            return _http_error(error, place, part, case, promise, offset)
    except urllib.error.URLError as error:
        reason = error.reason
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        way = "" if isinstance(reason, TimeoutError) else host_of(promise.at)
        raise Again(brief(text, 300), unreachable=way) from error
    except _LeadsAway as error:
        raise _refused(case, place, str(error)) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise Again(brief(error, 300) or type(error).__name__) from error
    except ValueError as error:  # no host, letters that no address has
        raise _refused(case, place, f"it is no address of the web ({brief(error, 200)})") from error


def _refused(case: str, place: str, why: str) -> Refused:
    return Refused(
        Finding(
            case,
            place,
            f"{NOT_THERE} {place}: {why}",
            "A source gives every file of the cases that are asked for, over its own scheme.",
            "Choose another source.",
        )
    )


def _start_of(response: Any, offset: int, part: Path) -> int:
    """Where in the file the answer begins: a server may ignore what was asked for."""
    if response.status != 206:
        return 0
    match = re.match(r"bytes ([0-9]{1,18})-", response.headers.get("Content-Range", ""))
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
        whole = re.fullmatch(r"bytes \*/([0-9]{1,18})", error.headers.get("Content-Range", ""))
        if whole and int(whole[1]) == offset:
            promise.size = offset
            return 0
        part.write_bytes(b"")
        raise Again("the server has less of the file than is here already")
    if error.code in (408, 425, 429) or error.code >= 500:
        wait = min(float(_count(error.headers.get("Retry-After")) or 0), LONGEST_WAIT)
        raise Again(f"HTTP {error.code} {brief(error.reason, 200)}", wait)
    raise Refused(
        Finding(
            case,
            place,
            f"{NOT_THERE} {place}: HTTP {error.code} {brief(error.reason, 200)}",
            "A source gives every file of the cases that are asked for.",
            "Choose other cases or another source; a proxy may also be in the way.",
        )
    )


def _too_large(part: Path, what: str, most: int) -> Refused:
    return Refused(
        Finding(
            "",
            str(part),
            f"{NOT_THERE} a file of a dataset: {what}",
            f"A file has at most {most / 1e9:.3g} GB.",
            "Choose another source; a server that goes on for ever is none.",
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
    if size is not None and size > patience.most:
        raise _too_large(part, f"{size} bytes were announced", patience.most)
    received = 0
    with open(part, "r+b") as file:
        file.truncate(start)
        file.seek(start)
        tell(start, size)
        while block := stream.read(BLOCK):
            if patience.stop.is_set():
                raise Unreachable("stopped.")
            if start + received + len(block) > patience.most:
                raise _too_large(part, "it does not end", patience.most)
            file.write(block)
            received += len(block)
            tell(start + received, size)
    if size is not None and start + received < size:
        raise Again(f"the connection ended after {start + received} of {size} bytes")
    return received
