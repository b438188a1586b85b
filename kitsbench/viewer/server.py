"""The viewer of whole scans: a small server for this machine's own browser, and nobody else.

It listens on the loopback address. Every address begins with a random token, the host that a
request names must be the server's own (so no page of another host reaches it under a name that
leads here), and only what :class:`Site` lists is handed out: no path of a request is ever that of
a file.
"""

from __future__ import annotations

import gzip
import hmac
import os
import re
import secrets
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from kitsbench.errors import KitsbenchError, UsageError
from kitsbench.viewer.cases import ViewedCase
from kitsbench.viewer.documents import case_whole, script
from kitsbench.viewer.folder import LIBRARY, LICENCES
from kitsbench.viewer.library import ViewerLibrary
from kitsbench.viewer.page import Shown, render

LOOPBACK = "127.0.0.1"
_VOLUME = re.compile(r"case-([0-9]{1,6})/(image|truth|prediction|map)-([0-9]{1,6})")
_CASE = re.compile(r"case-([0-9]{1,6})\.js")
_HTML, _SCRIPT = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
_TEXT, _BYTES = "text/plain; charset=utf-8", "application/octet-stream"


class NotThere(Exception):
    """The site has no such address."""


class Site:
    """What may be asked for: the page, NiiVue, and the cases that were named.

    Parameters
    ----------
    shown : Shown
    cases : sequence of ViewedCase
    library : ViewerLibrary
    """

    def __init__(self, shown: Shown, cases: Sequence[ViewedCase], library: ViewerLibrary):
        self._cases = list(cases)
        self._reading = threading.Lock()  # one whole scan at a time is enough for the memory
        scripts = [f"case-{number}.js" for number in range(len(self._cases))]
        self._fixed = {
            "": (_HTML, render(shown, self._cases, scripts, library.versions, LICENCES).encode()),
            LIBRARY: (_SCRIPT, script("library", library.script).encode()),
            LICENCES: (_TEXT, library.licences.encode()),
        }

    def answer(self, address: str) -> tuple[str, bytes, bool]:
        """What stands at an address behind the token.

        Returns
        -------
        kind : str
            Its content type.
        content : bytes
        packed : bool
            Whether the content is compressed by gzip.

        Raises
        ------
        NotThere
            The site does not have it.
        KitsbenchError
            A file of the case cannot be used.
        """
        if address in self._fixed:
            return *self._fixed[address], False
        if found := _CASE.fullmatch(address):
            number = int(found[1])
            whole = case_whole(self._case(number), lambda kind, own: f"case-{number}/{kind}-{own}")
            return _SCRIPT, script("take", address, whole).encode(), False
        if found := _VOLUME.fullmatch(address):
            case = self._case(int(found[1]))
            with self._reading:
                array = _volume(case, found[2], int(found[3]))
                return _BYTES, gzip.compress(_bytes(array), 1), True
        raise NotThere

    def _case(self, number: int) -> ViewedCase:
        if number >= len(self._cases):
            raise NotThere
        return self._cases[number]


def _volume(case: ViewedCase, kind: str, number: int) -> np.ndarray:
    """A volume (z, y, x) of a case."""
    if kind == "prediction" and number < len(case.predictions):
        return case.read_prediction(list(case.predictions)[number])
    if kind == "map" and number < len(case.maps):
        return case.read_map(list(case.maps)[number])
    if kind == "image" and number == 0:
        return case.read_image()
    if kind == "truth" and number == 0 and (truth := case.read_truth()) is not None:
        return truth
    raise NotThere


def _bytes(array: np.ndarray) -> bytes:
    """Voxels with x fastest, in the byte order of browsers."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


class LocalServer:
    """A server of one site on the loopback address.

    Parameters
    ----------
    site : Site
    port : int
        0 for any that is free.

    Attributes
    ----------
    address : str
        Of the page.
    opening : str
        Leads there, once. Whoever else works on the machine can read the words by which a browser
        is started, and finds nothing there any more.

    Raises
    ------
    UsageError
        The port is taken or not allowed.
    """

    def __init__(self, site: Site, port: int = 0):
        token = secrets.token_urlsafe(24)
        once = secrets.token_urlsafe(24)
        known = {"site": site, "token": token, "once": [once]}
        handler = type("_Handler", (_Handler,), known)
        try:
            self._server = _Server((LOOPBACK, port), handler)
        except OSError as error:
            raise UsageError(
                f"The port {port} cannot be used ({error.strerror or error}). Choose another with "
                "--port, or none for any that is free."
            ) from error
        root = f"http://{LOOPBACK}:{self._server.server_port}"
        self.address, self.opening = f"{root}/{token}/", f"{root}/{once}"

    def serve(self) -> None:
        """Answer until the process is interrupted or :meth:`stop` is called."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End :meth:`serve` from another thread, and free the port."""
        self._server.shutdown()
        self.close()

    def close(self) -> None:
        """Free the port."""
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # So that the same port can be had again at once. Windows alone would let a second server
    # listen on it meanwhile.
    allow_reuse_address = os.name == "posix"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no trouble; nothing is printed."""


class _Handler(BaseHTTPRequestHandler):
    site: Site
    token: str
    once: list[str]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "kitsbench", ""
    timeout = 60

    def do_GET(self) -> None:
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        self._respond(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal shows the address alone."""

    def _respond(self, with_body: bool) -> None:
        host = self.headers.get_all("Host") or []
        _, port = self.connection.getsockname()[:2]
        own = {f"{name}:{port}" for name in (LOOPBACK, "localhost")}
        if len(host) != 1 or host[0].strip().lower() not in own:
            self._send(HTTPStatus.FORBIDDEN, _TEXT, b"This server answers its own address only.\n")
            return
        path = self.path.partition("?")[0]
        given, slash, address = path.removeprefix("/").partition("/")
        # Compared in constant time, as bytes: how soon a wrong one is refused tells nothing.
        known = hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())
        if not slash and self._opens(given):
            self._send(HTTPStatus.SEE_OTHER, _TEXT, b"", with_body=False)
            return
        if not (known and slash):
            self._send(HTTPStatus.NOT_FOUND, _TEXT, b"There is nothing here.\n")
            return
        try:
            kind, content, packed = self.site.answer(address)
        except NotThere:
            self._send(HTTPStatus.NOT_FOUND, _TEXT, b"There is nothing here.\n")
        except (KitsbenchError, OSError, ValueError, MemoryError) as error:
            said = str(error) or type(error).__name__
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, said.encode("utf-8", "replace"))
        else:
            self._send(HTTPStatus.OK, kind, content, packed, with_body)

    def _opens(self, given: str) -> bool:
        """Whether somebody asks by the word that opens the page, for the first time."""
        words = (given.encode("utf-8", "replace"), self.once[0].encode() if self.once else b"")
        try:
            return hmac.compare_digest(*words) and bool(self.once.pop())
        except IndexError:  # two at once
            return False

    def _send(
        self,
        status: HTTPStatus,
        kind: str,
        content: bytes,
        packed: bool = False,
        with_body: bool = True,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        if status == HTTPStatus.SEE_OTHER:
            self.send_header("Location", f"/{self.token}/")
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if with_body:
            self.wfile.write(content)
