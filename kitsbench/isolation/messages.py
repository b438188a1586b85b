"""Messages between a process and those that it starts, where the other end may be up to anything.

A frame is the one of :mod:`multiprocessing.connection`: its length in four bytes, then its content.
Reading never waits, whatever arrives; and no answer brings code along.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import select
import struct
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

LARGEST = 64 * 2**20  # bytes of a message; no answer comes near
AT_ONCE = 2**20  # bytes that are taken at a time, so that a flood keeps nobody from other work
BUILTINS = frozenset({"set", "frozenset", "complex", "bytearray"})


class Inbox:
    """The receiving end of a pipe.

    Parameters
    ----------
    connection : Connection
        Of a pipe that goes one way.

    Attributes
    ----------
    ended : bool
        Whether nothing more can come: every writer is gone, or what came was no message.
    """

    def __init__(self, connection: Connection):
        self.connection, self.ended = connection, False
        self._buffer = bytearray()
        if os.name == "posix":
            os.set_blocking(connection.fileno(), False)

    def fileno(self) -> int:
        """For waiting."""
        return self.connection.fileno()

    def raw(self) -> bytes:
        """What has arrived, as bytes without frames."""
        taken = bytearray()
        while not self.ended and len(taken) < AT_ONCE:
            try:
                part = os.read(self.connection.fileno(), 2**16)
            except BlockingIOError:
                break
            except OSError:
                part = b""
            self.ended = not part
            taken += part
        return bytes(taken)

    def take(self) -> Iterator[bytes]:
        """The messages that have arrived whole."""
        if os.name != "posix":
            yield from self._take_elsewhere()
            return
        self._buffer += self.raw()
        while len(self._buffer) >= 4:
            (size,) = struct.unpack_from("!i", self._buffer)
            if not 0 <= size <= LARGEST:
                self.ended = True  # no frame: foreign code has written into the pipe
                self._buffer.clear()
                return
            if len(self._buffer) < 4 + size:
                return
            yield bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]

    def _take_elsewhere(self) -> Iterator[bytes]:
        try:
            while self.connection.poll():
                yield self.connection.recv_bytes(LARGEST)
        except (EOFError, OSError):
            self.ended = True

    def close(self) -> None:
        """Hear no more."""
        self.ended = True
        self.connection.close()


class Outbox:
    """The sending end of a pipe, in a process in which foreign code may close what it likes.

    Parameters
    ----------
    connection : Connection
    """

    def __init__(self, connection: Connection):
        self.connection = connection
        self._same = _what_is(connection.fileno())

    def is_open(self) -> bool:
        """Whether the number still means the pipe, and not a file that was opened after it."""
        try:
            return _what_is(self.connection.fileno()) == self._same
        except OSError:
            return False

    def send(self, content: bytes) -> None:
        """Send a message, and wait until there is room for it; nobody may be left to hear it."""
        if self.is_open():
            with contextlib.suppress(OSError):
                self.connection.send_bytes(content)

    def drop(self, content: bytes) -> None:
        """Send a small message if there is room for it; a full pipe makes nobody wait."""
        if os.name != "posix" or (self.is_open() and _is_writable(self.connection.fileno())):
            self.send(content)


def _what_is(number: int) -> tuple[int, int]:
    if os.name != "posix":
        return number, 0
    found = os.fstat(number)
    return found.st_dev, found.st_ino


def _is_writable(number: int) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return bool(poll.poll(0))


def to_json(**content: Any) -> bytes:
    """A small message of plain data."""
    return json.dumps(content).encode()


def from_json(message: bytes) -> dict[str, Any]:
    """A small message of plain data; empty where it is none."""
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class _PlainUnpickler(pickle.Unpickler):
    """Makes plain data and kitsbench's own classes; a plugin's classes would be imported."""

    def __init__(self, file: io.BytesIO, fits: Callable[[type], bool]):
        super().__init__(file)
        self.fits = fits

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in BUILTINS:
            return super().find_class(module, name)
        # No dots: they reach into what a module of kitsbench has imported, subprocess.Popen say.
        if module.split(".")[0] == "kitsbench" and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module and self.fits(found):
                return found
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no plain data")


def unpickle_plain(content: bytes, fits: Callable[[type], bool] = lambda kind: True) -> Any:
    """Read an answer without importing anything that is not kitsbench's.

    Parameters
    ----------
    content : bytes
    fits : callable
        Which of kitsbench's classes it may hold.

    Raises
    ------
    ValueError
        It holds another class, or is damaged.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content), fits).load()
    except Exception as error:  # a damaged pickle raises what it likes
        raise ValueError(str(error)) from error
