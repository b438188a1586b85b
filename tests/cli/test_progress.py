"""Bars of a run: each tells something that no other does."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from kitsbench.cli.progress import TrialBars


@dataclass
class Event:
    """As an executor sends them."""

    task: object
    kind: str
    stage: str = ""
    fraction: float = 0.0
    message: str = ""


def task(name):
    return SimpleNamespace(id=name, trial={"label": name, "fold": 0, "seed": 0})


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
