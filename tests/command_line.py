"""How the tests run the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
# Volumes of about 32 voxels a side and patches of 16: a trial takes a second or two.
SMALL = ("--spacing", "9", "--patch", "16", "--split", "2", "--device", "cpu")


@dataclass
class Finished:
    """What a command printed, and how it ended."""

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


def run_kitsbench(*arguments, timeout: float = 500) -> Finished:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "kitsbench.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def heed_interrupts() -> None:
    """Let a new process stop at Ctrl-C; one that a shell has put in the background would not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
