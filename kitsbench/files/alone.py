"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time change what lies in a folder, where the system can do that."""
    handle = None
    try:
        import fcntl

        # The folder is locked, not a file in it: files are removed and made anew, and a lock on one
        # that is removed keeps nobody out. It goes with the process, however that ends.
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except (ImportError, OSError):  # Windows; file systems without locks
        pass
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
