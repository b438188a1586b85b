"""The log of a trial has a limit, however much its plugin prints."""

from __future__ import annotations

import contextlib
from pathlib import Path

LIMIT = 2**20  # bytes after which a log is cut
HEAD, TAIL = LIMIT // 4, LIMIT // 4  # what stays of its beginning and of its end


def keep_short(file: Path) -> None:
    """Cut the middle out of a log that has grown beyond its limit.

    Whoever writes to it meanwhile goes on at its end, since logs are opened for appending.

    Parameters
    ----------
    file : Path
        It need not be there.
    """
    with contextlib.suppress(OSError):
        size = file.stat().st_size
        if size <= LIMIT:
            return
        with open(file, "r+b") as log:
            log.seek(size - TAIL)
            tail = log.read(TAIL)
            log.truncate(HEAD)
        with open(file, "ab") as log:
            log.write(b"\n[... %d bytes were left out here ...]\n" % (size - HEAD - TAIL) + tail)
