"""Bars: each tells something that no other does, and where there is no terminal none tells."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

import pytest
from command_line import environment

from kitsbench.cli.progress import CountBar, TransferBars, counting, working


def test_without_a_terminal_nothing_is_shown(capsys):
    with counting("cases") as bar:
        bar(1, 2)
    with working("Thinking ...") as doing:
        doing("Still thinking ...")
    with CountBar() as count, TransferBars() as transfers:
        count("scans", 1, 2)
        transfers("", 1, 2)
        transfers("imaging", 10, None)
        transfers("imaging", -1, None)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_without_a_terminal_what_takes_seconds_is_said_calmly(capsys, monkeypatch):
    monkeypatch.setattr("kitsbench.cli.progress.SAY_AFTER", 0.0)
    with CountBar() as count:
        for done in range(4):
            count("cases prepared", done, 3)
    assert capsys.readouterr().err == "cases prepared: 0 of 3 done; this may take a while.\n"
    said = threading.Event()
    monkeypatch.setattr("kitsbench.cli.progress.tell", lambda text: (print(text), said.set()))
    with working("Thinking [/bold] ..."):
        assert said.wait(30)
    assert capsys.readouterr().out == "Thinking [/bold] ...\n"


def test_on_a_terminal_a_bar_is_shown_on_stderr_alone():
    pty = pytest.importorskip("pty")
    code = (
        "from kitsbench.cli.progress import counting, working\n"
        "with working('Thinking ...'): pass\n"
        "with counting('cases [/bold]') as bar: bar(2, 3)\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**environment(), "TERM": "xterm", "COLUMNS": "80"},
        check=True,
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    assert done.stdout == b""
    assert b"cases [/bold]" in seen
    assert b"2/3" in seen
    assert b"Thinking ..." in seen
