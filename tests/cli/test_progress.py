"""Bars: each tells something that no other does, and where there is no terminal none tells."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from command_line import environment
from reporting.workdirs import Plan, trial_record
from rich.console import Console

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
    record = trial_record(Plan({name: 0.0}), name, 0, 0)
    return SimpleNamespace(id=name, trial=record, members=(), elsewhere=False)


def test_the_bar_of_all_trials_adds_up_those_that_run():
    with TrialBars(3) as bars:
        for name in "ab":
            bars(Event(task(name), "started"))
            bars(Event(task(name), "progress", "train", 0.5))
        (everything,) = [row for row in bars._bars.tasks if row.description == "all 3 trials"]
        assert everything.visible
        assert everything.completed == pytest.approx(0.8)
        bars(Event(task("a"), "finished"))
        assert everything.completed == pytest.approx(1.4)
        bars(Event(task("b"), "progress", "score", 0.5))
        assert everything.completed == pytest.approx(1.9)


def test_a_single_trial_has_one_bar():
    with TrialBars(1) as bars:
        bars(Event(task("a"), "started"))
        assert [row.description for row in bars._bars.tasks if row.visible] == [
            "  a fold 0 seed 0: starting"
        ]


def test_a_line_of_eighty_columns_holds_name_share_and_time_left():
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    with TrialBars(3) as bars:
        bars._left.now = iter(range(0, 10**6, 30)).__next__
        name = "attention_vnet:resolution=low,width=0.25"
        bars(Event(task(name), "started"))
        bars(Event(task(name), "progress", "train", 0.5))
        console.print(bars._bars.make_tasks_table(bars._bars.tasks))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80
    assert "all 3 trials" in lines[0]
    assert lines[0].rstrip().endswith("left")
    assert "attention_vnet:resolution=low" in lines[1]


def test_without_a_terminal_a_line_tells_now_and_then_how_far_a_run_is(capsys, monkeypatch):
    monkeypatch.setattr("kitsbench.cli.progress.SAY_EVERY", 0.0)
    with TrialBars(2) as bars:
        bars._left.now = iter(range(0, 10**6, 30)).__next__
        bars(Event(task("a"), "started"))
        bars(Event(task("a"), "progress", "train", 0.5))
    assert re.fullmatch(
        r"0 of 2 trials are done; about [0-9]+ (s|min) left\.\n", capsys.readouterr().err
    )


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
