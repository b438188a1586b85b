"""How the tests run the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).resolve().parent
# Volumes of about 32 voxels a side and patches of 16: a trial takes a second or two.
SMALL = ("--spacing", "9", "--patch", "16", "--split", "2", "--device", "cpu")


class Finished(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The document on stdout."""
        return json.loads(self.out)


def environment() -> dict[str, str]:
    """Environment in which plugins may import the tests' architectures."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def without_bytecode() -> dict[str, str]:
    """:func:`environment` for a process whose files may not grow.

    Python would keep a compiled module that was cut short, and nobody could import it any more.
    """
    return {**environment(), "PYTHONDONTWRITEBYTECODE": "1"}


def call_kitsbench(*arguments) -> Finished:
    """Run the command line in this process, which saves the seconds that its start would take."""
    from kitsbench.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as exited,
    ):
        main([*map(str, arguments)])
    return Finished(exited.value.code, out.getvalue(), err.getvalue())


def run_kitsbench(*arguments, timeout: float = 500, **options) -> Finished:
    """Run the command line in a process of its own."""
    with start_kitsbench(*arguments, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return Finished(process.returncode, out, err)


def start_kitsbench(*arguments, prefix: tuple[str, ...] = (), **options) -> subprocess.Popen:
    """Start the command line in a process of its own.

    Parameters
    ----------
    *arguments
        Words of the command line.
    prefix : tuple of str
        A program, with its options, that runs it.
    **options
        Of ``subprocess.Popen``, whose defaults here are pipes of text and :func:`environment`.
    """
    command = [*prefix, sys.executable, "-m", "kitsbench.cli", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, "env": environment(), **options})


def heed_interrupts() -> None:
    """Let a new process stop at Ctrl-C; one that a shell has put in the background would not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
