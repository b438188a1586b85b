"""How long a run will still take, against runs whose length is known."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest

from kitsbench.cli.time_left import TimeLeft, in_words


def _event(number, kind, stage="", fraction=0.0):
    task = SimpleNamespace(id=str(number), members=(), elsewhere=False)
    return SimpleNamespace(task=task, kind=kind, stage=stage, fraction=fraction)


def _watch(lengths, slots, training, after=0.0):
    """Simulate a run a second at a time: (seconds truly left, estimate) after each."""
    clock, seen, running, waiting = 0.0, [], {}, list(enumerate(lengths))
    left = TimeLeft(len(lengths), now=lambda: clock, after=after)
    while waiting or running:
        while waiting and len(running) < slots:
            number, length = waiting.pop(0)
            running[number] = (clock, length)
            left.hear(_event(number, "started"))
        clock += 1
        for number, (began, length) in list(running.items()):
            share = (clock - began) / length
            if share >= 1:
                del running[number]
                left.hear(_event(number, "finished"))
            elif share < training:
                left.hear(_event(number, "progress", "train", share / training))
            else:
                part = (share - training) / (1 - training)
                left.hear(_event(number, "progress", "score", part))
        seen.append((clock, left.seconds()))
    return [(clock - at, estimate) for at, estimate in seen]


@pytest.mark.parametrize("training", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_trials_of_equal_length_are_foretold_once_one_has_ended(slots, training):
    told = _watch([100.0] * 8, slots, training)
    assert told[0][1] is None  # nothing is known yet
    for true, estimate in told[101:]:
        assert estimate == pytest.approx(true, abs=4 + 0.05 * true)
    # Before, training alone shows the pace; how long scoring takes is a guess.
    for true, estimate in told[20 : int(100 * training)]:
        assert estimate == pytest.approx(true, rel=0.55)


def test_unequal_trials_are_foretold_roughly_and_the_end_exactly():
    told = _watch([60.0, 140.0, 90.0, 110.0, 100.0, 100.0, 60.0, 140.0], 2, 0.8)
    for true, estimate in told[150:]:
        assert estimate == pytest.approx(true, abs=5 + 0.5 * true)
    assert told[-2][1] <= 5


def test_profiles_and_report_come_on_top():
    trials = [100.0] * 4
    known = zip(_watch(trials, 2, 0.8), _watch(trials, 2, 0.8, after=30.0), strict=True)
    found = {round(late - soon, 6) for (_, soon), (_, late) in known if soon}
    assert found == {30.0}


def test_between_two_estimates_time_goes_by():
    told = [estimate for _, estimate in _watch([100.0] * 4, 2, 0.8) if estimate is not None]
    steps = [after - before for before, after in pairwise(told)]
    assert sum(step < 0 for step in steps) > 0.9 * len(steps)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "10 s"), (47, "50 s"), (100, "2 min"), (5000, "83 min"), (6000, "1 h 40 min")],
)
def test_a_duration_is_said_roughly(seconds, text):
    assert in_words(seconds) == text
    assert in_words(400 * 3600) == "400 h"
    for beyond in (1e300, float("inf"), float("nan")):
        assert in_words(beyond) == "> 99999 h"
