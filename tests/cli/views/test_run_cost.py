"""What a run says of the hours that it will take, and when it asks."""

from __future__ import annotations

import os
import sys

import pytest

from kitsbench.cli.views.run_cost import cost_of, go_on
from kitsbench.experiments.plan.estimate import Forecast


def _forecast(hours, **changed):
    default = {"open_trials": 255, "open_searches": 0, "longest": 7200.0, "unknown": ()}
    default |= {"world_size": 1, "jobs": 1}
    return Forecast(seconds=3600.0 * hours, **{**default, **changed})


def test_hours_of_devices_and_on_the_clock():
    (line,) = cost_of(_forecast(510))
    assert line.startswith("To do: 255 trials, 510 device hours of training, about 21 days here")
    (line,) = cost_of(_forecast(510, jobs=4, world_size=2))
    assert "1,020 device hours of training, about 5.3 days here, 4 at a time" in line
    # No more run side by side than there are, and a cluster says nothing of its nodes.
    assert _forecast(2, open_trials=1, jobs=8).wall_hours == 2
    (line,) = cost_of(_forecast(510, jobs=None))
    assert "here" not in line
    assert cost_of(_forecast(0, open_trials=0)) == []


def test_what_nobody_knows_is_said():
    (line,) = cost_of(_forecast(0, unknown=("unet3d", "msan_v1")))
    assert line.startswith("To do: 255 trials. How long such a budget takes is known once")
    known, unknown = cost_of(_forecast(3, unknown=("unet3d", "msan_v1")))
    assert "about 3 h of training" in known
    assert "Not in any estimate: unet3d and msan_v1" in unknown
    found = _forecast(3, unknown=("unet3d",)).to_dict()
    assert found["device_seconds"] is found["wall_seconds"] is None
    assert found["known_device_seconds"] == 3 * 3600


@pytest.fixture
def terminal(monkeypatch):
    """Stand at a terminal; gives a function that types."""
    if not hasattr(os, "openpty"):
        pytest.skip("this system has no pseudo-terminals")
    user, program = os.openpty()
    keys, screen = os.fdopen(os.dup(program), "r"), os.fdopen(program, "w", buffering=1)

    def sit_down(text):
        # In the test itself: before it runs, pytest puts streams of its own in place.
        monkeypatch.setattr(sys, "stdin", keys)
        monkeypatch.setattr(sys, "stderr", screen)
        os.write(user, text.encode())

    yield sit_down
    monkeypatch.undo()
    keys.close()
    screen.close()
    os.close(user)


@pytest.mark.parametrize(
    ("hours", "yes", "typed", "starts"),
    [
        (510, False, "y\n", True),
        (510, False, "\n", False),
        (510, True, "", True),
        (23, False, "", True),
    ],
)
def test_beyond_a_day_a_user_at_a_terminal_is_asked(terminal, hours, yes, typed, starts):
    terminal(typed)
    assert go_on(_forecast(hours), yes) is starts


def test_nobody_is_asked_where_nobody_can_answer(capsys):
    assert go_on(_forecast(510), yes=False)
    assert "510 device hours" in capsys.readouterr().err
