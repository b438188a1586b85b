"""Run a program at a pseudo-terminal of a given width, and read what its user sees."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import sys
import threading

import pytest

CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def at_terminal(command, columns, env, lines=30, stdout=False):
    """Run a command whose stderr, and stdout if asked for, is a terminal.

    Returns
    -------
    int
        Exit code.
    str
        Everything that was written there, controls included.
    """
    pytest.importorskip("pty")
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    env = {key: value for key, value in env.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs if stdout else subprocess.PIPE,
        stderr=theirs,
        env={**env, "TERM": "xterm"},
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    if process.stdout is not None:
        with process.stdout as stream:
            stream.read()
    return process.wait(timeout=60), seen.decode(errors="replace")


def lines_of(seen):
    """The lines that a user has seen, without colours and movements."""
    return [line.rstrip() for line in re.split(r"[\r\n]+", CONTROLS.sub("", seen))]


@contextlib.contextmanager
def terminal_here(monkeypatch, columns, *names, lines=30):
    """Let streams of this process (``stderr``, ``stdout``) lead to a terminal while a block runs.

    Yields
    ------
    list of bytes
        What was written there; whole when the block has ended.
    """
    pytest.importorskip("pty")
    from kitsbench.cli.output import stderr_console

    ours, theirs = os.openpty()
    seen: list[bytes] = []

    def read():
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                seen.append(part)

    reader = threading.Thread(target=read)  # a terminal that nobody reads makes programs wait
    reader.start()
    with monkeypatch.context() as patch, os.fdopen(theirs, "w", buffering=1) as screen:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("LINES", str(lines))
        patch.setenv("TERM", "xterm")
        for name in names:
            patch.setattr(sys, name, screen)
        stderr_console.cache_clear()
        try:
            yield seen
        finally:
            stderr_console.cache_clear()
    reader.join()
    os.close(ours)
