"""The table of a run: readable at any width, and calm where there is no terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import environment
from pseudo_terminal import CONTROLS, at_terminal, lines_of
from rich.console import Console

from kitsbench.cli import trial_bars
from kitsbench.cli.trial_bars import TrialBars
from kitsbench.cli.trial_table import Row, number, overview, trial_table
from kitsbench.experiments.records import DeviceUse, TrialProgress

LONG = "attention_vnet:resolution=low,width=0.25"


def progress(**known):
    usual = {
        "trial": "0" * 16,
        "sitting": "a",
        "count": 1,
        "stage": "train",
        "fraction": 0.5,
        "step": 120,
        "losses": {"loss": 0.7123, "dice": 0.4},
        "lr": 0.004,
        "patches_per_s": 31.0,
        "scores": {"tumor:dice": 0.1234},
        "scored": 0,
        "elapsed_s": 60.0,
        "left_s": 100.0,
        "device": DeviceUse(name="cuda:0", load=0.97, memory_bytes=11 * 2**30),
    }
    return TrialProgress.model_validate(usual | known)


def task(name, told=None, place=None):
    context = SimpleNamespace(tuning=place)
    trial = SimpleNamespace(name=name, fold=0, seed=0, context=context)
    folder = SimpleNamespace(read_progress=lambda: told, scores=Path("none"))
    return SimpleNamespace(id=name, trial=trial, members=(), elsewhere=False, folder=folder)


def event(one, kind, stage="", fraction=0.0, message=""):
    return SimpleNamespace(task=one, kind=kind, stage=stage, fraction=fraction, message=message)


def drawn(shown, width):
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(shown)
    return captured.get().splitlines()


ROWS = [
    Row(LONG, 0, "0", "training", 0.43, 36000 - 60.0, 0.1234, 0.7123,
        DeviceUse(name="cuda:0", load=0.97, memory_bytes=11 * 2**30)),
    Row("unet3d", 4, "2", "scoring", 0.5, 20.0, 0.61, 123456.7, None),
    Row("[/bold]\x1b[2J", 0, "tuning 13", "failed"),
]  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_keeps_to_its_columns_and_names_every_trial(width):
    lines = drawn(trial_table(ROWS, width), width)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert "attention" in lines[1][:18]
    assert "training" in lines[1]
    assert "43%" in lines[1]
    assert "[/bold]" in lines[3] or width < 60
    assert "tuning 13" in lines[3]
    assert "\x1b" not in "".join(lines)


def test_a_wider_terminal_shows_more():
    said = {width: " ".join(drawn(trial_table(ROWS, width), width)) for width in (60, 80, 120)}
    assert "9 h 59 min" in said[60]
    assert "0.123" in said[80]
    assert "0.712" in said[80]
    for known in (LONG, "0.712", "1.23e+05", "97% 11.0 GiB"):
        assert known in said[120]


def test_what_nobody_tells_has_no_column():
    head, _ = drawn(trial_table([Row("unet3d", 0, "0", "starting")], 120), 120)
    assert head.split() == ["trial", "fold", "seed", "state", "done"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_line_of_all_trials_wraps_between_words(width):
    told = "12 finished, 3 failed, 4 running, 161 waiting; score: tumor:dice of the cases so far"
    lines = drawn(overview(0.5, 3700.0, 36000.0, told), width)
    assert max(map(len, lines)) <= width
    assert "1:01:40" in lines[0]
    assert "~10 h left" in lines[0]
    assert " ".join(" ".join(lines[1:]).split()) == told


def test_numbers_are_short():
    assert [number(v) for v in (None, 0.5, -1.0, 99.5, 123456.0)] == [
        "", "0.500", "-1.000", "99.500", "1.23e+05",
    ]  # fmt: skip


PROGRAM = f"""
from types import SimpleNamespace as N
from kitsbench.cli.trial_bars import TrialBars
def task(name):
    told = N(left_s=100.0, losses={{'loss': 0.7123}}, scores={{'tumor:dice': 0.1234}}, device=None)
    trial = N(name=name, fold=0, seed=0, context=N(tuning=None))
    folder = N(read_progress=lambda: told)
    return N(id=name, trial=trial, members=(), elsewhere=False, folder=folder)
def event(one, kind, stage='', fraction=0.0, message=''):
    return N(task=one, kind=kind, stage=stage, fraction=fraction, message=message)
with TrialBars(20) as bars:
    one, two = task({LONG!r}), task('unet3d')
    for which in (one, two):
        bars(event(which, 'started'))
    bars(event(one, 'progress', 'train', 0.5))
    bars(event(two, 'progress', 'score', 0.25))
    bars._live.refresh()
    bars(event(two, 'failed', message='[/red] out-of-memory'))
    bars._live.refresh()
"""  # without torch, whose import takes seconds


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_run_shows_its_table_at_a_terminal(width):
    code, seen = at_terminal([sys.executable, "-c", PROGRAM], width, environment())
    assert code == 0, seen
    lines = lines_of(seen)
    said = "\n".join(lines)
    rows = [line for line in lines if line.startswith("attention_vnet")]
    assert rows
    assert all(len(line) <= width for line in rows)
    assert "training" in rows[0]
    assert "50%" in rows[0]
    assert re.search(r"unet3d +0 +0 scoring +25%", said)
    assert "unet3d fold 0 seed 0 failed: [/red] out-of-memory" in said
    assert "1 failed, 1 running, 18 waiting" in said
    if width >= 80:
        assert "0.123" in rows[0]
        assert "0.712" in rows[0]


def test_where_there_is_no_terminal_a_line_tells_of_each_begin_and_end(capsys, monkeypatch):
    monkeypatch.setattr(TrialBars, "_score", lambda self, task: 0.25)
    one, two = task("one"), task("two")
    with TrialBars(3) as bars:
        for which in (one, two):
            bars(event(which, "started"))
        for fraction in (0.1, 0.2, 0.3):
            bars(event(one, "progress", "train", fraction))
        bars(event(one, "finished"))
        bars(event(two, "retried", message="its node is gone"))
        bars(event(two, "started"))
        bars(event(two, "failed", message="out-of-memory: 12 GiB"))
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "one fold 0 seed 0: started",
        "two fold 0 seed 0: started",
        "one fold 0 seed 0: finished in 0.0 s; tumor:dice 0.250",
        "two fold 0 seed 0 lost its worker and starts again: its node is gone",
        "two fold 0 seed 0: started",
        "two fold 0 seed 0 failed: out-of-memory: 12 GiB",
    ]
    assert not CONTROLS.search(said)


def test_scores_that_wait_for_a_look_are_not_shown(capsys, monkeypatch):
    monkeypatch.setattr(TrialBars, "_score", lambda self, task: 0.25)
    one = task("one", progress())
    with TrialBars(1, hidden=True) as bars:
        bars(event(one, "started"))
        bars(event(one, "progress", "train", 0.5))
        shown = " ".join(drawn(bars.shown(), 120))
        bars(event(one, "finished"))
    assert "0.123" not in shown  # along the budget
    assert "0.712" in shown  # the loss
    assert "finished in 0.0 s\n" in capsys.readouterr().err


def test_and_now_and_then_a_line_how_far_the_run_is(capsys, monkeypatch):
    monkeypatch.setattr(trial_bars, "SAY_EVERY", 0.0)
    one = task("one", progress())
    with TrialBars(2) as bars:
        bars._left.now = iter(range(0, 10**6, 30)).__next__
        bars(event(one, "started"))
        bars(event(one, "progress", "train", 0.5))
    assert re.fullmatch(
        r"one fold 0 seed 0: started\n"
        r"0 of 2 trials are done; about [0-9]+ (s|min) left; "
        r"one fold 0 seed 0 is training, 50%, loss 0.712\.\n",
        capsys.readouterr().err,
    )


def test_what_waits_and_what_has_ended_adds_up_to_the_run():
    with TrialBars(4) as bars:
        for name in "abc":
            bars(event(task(name), "started"))
        bars(event(task("a"), "finished"))
        bars(event(task("b"), "failed"))
        shown = drawn(bars.shown(), 80)
    assert shown[-1] == "1 finished, 1 failed, 1 running, 1 waiting"
    assert [line.split()[0] for line in shown[1:4]] == ["c", "a", "b"]


def test_a_name_or_a_message_in_square_brackets_is_text(capsys):
    with TrialBars(1) as bars:
        bars(event(task("[/bold]"), "started"))
        bars(event(task("[/bold]"), "failed", message="[/red] [link=x]"))
    assert capsys.readouterr().err == (
        "[/bold] fold 0 seed 0: started\n[/bold] fold 0 seed 0 failed: [/red] [link=x]\n"
    )
