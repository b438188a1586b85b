"""A real HTTP server on the loopback that gives files, and misbehaves when told to."""

from __future__ import annotations

import http.server
import re
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import unquote


class UnreliableServer(http.server.ThreadingHTTPServer):
    """Serves the files below a folder.

    ``faults`` maps the end of a path to a list of what goes wrong, one for each request, after
    which that path is served well. A list that ends in ``...`` repeats its fault for ever.

    ``drop:N`` ends the connection after N bytes, ``chunked-drop:N`` too, without having said how
    many there are; ``short:N`` announces and sends N bytes only, ``long`` and ``huge`` announce
    more than there are; ``corrupt`` changes a byte in the middle; ``no-range`` ignores Range and
    ``wrong-range`` answers with another; ``redirect`` leads on with size and SHA-256 as Hugging
    Face does, ``bad-hash`` with a wrong one; ``stall`` falls silent, ``meet`` waits until three
    requests are there; ``lead:ADDRESS`` redirects there, ``endless`` sends for ever; a number is an
    HTTP status.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faults: dict[str, list[str]] = {}
        self.requests: list[tuple[str, str | None]] = []  # path, Range
        self.sent: Counter[str] = Counter()
        self.meeting = threading.Barrier(3)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a client that leaves is part of the tests

    def next_fault(self, path: str) -> str:
        with self._lock:
            for end, faults in self.faults.items():
                if not path.startswith("/cdn") and path.endswith(end) and faults:
                    return faults[0] if faults[1:] == ["..."] else faults.pop(0)
        return ""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: UnreliableServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.close_connection = True
        path = unquote(self.path)
        asked = self.headers.get("Range")
        self.server.requests.append((path, asked))
        fault, _, number = self.server.next_fault(path).partition(":")
        file = self.server.folder / path.removeprefix("/cdn").lstrip("/")
        if fault.isdigit() or not file.is_file():
            self.send_response(int(fault or 404))
            self.send_header("Content-Length", "0")
            if fault == "429":
                self.send_header("Retry-After", "0")
            self.end_headers()
            return
        if fault == "lead":
            self.send_response(302)
            self.send_header("Location", number)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "endless":
            self.send_response(200)
            self.end_headers()
            while True:  # until the client leaves
                self.wfile.write(bytes(1 << 16))
        if fault == "meet":
            self.server.meeting.wait(timeout=20)
        if fault in ("redirect", "bad-hash"):
            self._redirect(path, file.read_bytes(), fault)
            return
        data = file.read_bytes()
        if fault == "corrupt":
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if start >= len(data) and asked:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "no-range":
            start = 0
        body = data[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + 7 if fault == "wrong-range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        if fault == "chunked-drop":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(body) + body[: int(number)])
            return
        announced = {"short": int(number or 0), "long": len(body) + 1000, "huge": 10**17}
        self.send_header("Content-Length", str(announced.get(fault, len(body))))
        self.end_headers()
        if fault in ("drop", "short"):
            body = body[: int(number)]
        if fault == "stall":
            self.wfile.write(body[:10])
            self.wfile.flush()
            self.rfile.read(1)  # until the client leaves
            return
        self.wfile.write(body)
        self.server.sent[path] += len(body)

    def _redirect(self, path: str, data: bytes, fault: str):
        import hashlib

        mark = hashlib.sha256(data if fault == "redirect" else b"other").hexdigest()
        self.send_response(302)
        self.send_header("Location", f"{self.server.url}/cdn{path}")
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Linked-Etag", f'"{mark}"')
        self.send_header("Content-Length", "0")
        self.end_headers()
