"""Bars: each tells something that no other does, and where there is no terminal none tells."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from command_line import environment
from reporting.workdirs import Plan, trial_record

from kitsbench.cli.progress import CountBar, TransferBars, TrialBars, counting, working


@dataclass
class Event:
    """As an executor sends them."""

    task: object
    kind: str
    stage: str = ""
    fraction: float = 0.0
    message: str = ""


def task(name):
    return SimpleNamespace(id=name, trial=trial_record(Plan({name: 0.0}), name, 0, 0))


def test_the_bar_of_all_trials_adds_up_those_that_run():
    with TrialBars(3) as bars:
        for name in "ab":
            bars(Event(task(name), "started"))
            bars(Event(task(name), "progress", "train", 0.5))
        (everything,) = [row for row in bars._bars.tasks if row.description == "all 3 trials"]
        assert everything.visible
        assert everything.completed == pytest.approx(0.9)
        bars(Event(task("a"), "finished"))
        assert everything.completed == pytest.approx(1.45)
        bars(Event(task("b"), "progress", "score", 0.5))
        assert everything.completed == pytest.approx(1.95)


def test_a_single_trial_has_one_bar():
    with TrialBars(1) as bars:
        bars(Event(task("a"), "started"))
        assert [row.description for row in bars._bars.tasks if row.visible] == [
            "  a fold 0 seed 0: starting"
        ]


def test_a_name_or_a_message_in_square_brackets_is_text(capsys):
    with TrialBars(1) as bars:
        bars(Event(task("[/bold]"), "started"))
        bars(Event(task("[/bold]"), "failed", message="[/red] [link=x]"))
    assert capsys.readouterr().err == "[/bold] fold 0 seed 0 failed: [/red] [link=x]\n"


def test_without_a_terminal_nothing_is_shown(capsys):
    with counting("cases") as bar:
        bar(1, 2)
    with working("Thinking ...") as doing:
        doing("Still thinking ...")
    with CountBar() as count, TransferBars() as transfers, TrialBars(2):
        count("scans", 1, 2)
        transfers("", 1, 2)
        transfers("imaging", 10, None)
        transfers("imaging", -1, None)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


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
