"""What a run says of the hours that it will take, and when it asks."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from kitsbench.cli.views.run_cost import cost_of, cost_row, disk_of, go_on
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


def test_a_short_budget_is_told_with_what_surrounds_it():
    left = _forecast(16 / 3600, open_trials=8, jobs=2, longest=20.0, around=300.0, after=24.0)
    known = replace(left, basis="rough")
    line, good = cost_of(known)
    assert line == (
        "To do: 8 trials, about 16 s of training, about 3 min here, 2 at a time, with starting, "
        "evaluation, prediction, scoring and the report."
    )
    # Training under a time budget is known; where it is guessed, too, all of it is.
    assert good == (
        "The time around training is a rough guess, since nothing like it has finished here yet."
    )
    all_of_it = cost_of(replace(known, rough=True))[1]
    assert all_of_it.startswith("That is a rough guess, since nothing like it has finished here")
    (line,) = cost_of(left)
    assert line.endswith("; starting, evaluation, prediction, scoring and the report come on top.")
    assert cost_of(replace(known, jobs=None))[0].startswith(
        "To do: 8 trials, about 16 s of training, about 5.3 min of devices in all, with starting"
    )
    found = known.to_dict()
    assert found["wall_seconds"] == pytest.approx((16 + 300) / 2 + 24)
    assert (found["surrounding_seconds"], found["surrounding_basis"]) == (300.0, "rough")
    assert left.to_dict()["surrounding_seconds"] is None


def test_a_price_is_that_of_the_hours_that_devices_are_held():
    left = _forecast(3, around=3600.0, basis="other trials", world_size=2)
    assert cost_of(left, 1.5)[-1] == "Cost: 12.00 for 8.00 device hours at 1.5 an hour."
    assert cost_row(left, 1.5) == {"price_per_hour": 1.5, "cost": 12.0}
    assert cost_row(left, None) == {}
    part = _forecast(3, unknown=("unet3d",))
    assert "Cost: at least 3.00" in cost_of(part, 1.0)[-1]
    assert cost_row(part, 1.0)["cost"] is None


def test_disk_is_said_where_it_is_known():
    assert disk_of(_forecast(3, disk=3 * 2**30)) == [
        "Disk: about 3.0 GiB more for weights, label maps and scores."
    ]
    assert disk_of(_forecast(3)) == disk_of(_forecast(3, open_trials=0, disk=5)) == []
