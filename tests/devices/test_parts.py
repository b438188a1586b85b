"""Named parts of repetitions: they add up, whatever lies in what."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from fake_cuda import FakeCuda

from kitsbench.devices.parts import OTHER, timed, watched

CPU = torch.device("cpu")


def test_parts_add_up_and_the_inner_one_counts():
    with watched(CPU) as clock:
        began = time.perf_counter()
        clock.lap()
        for _ in range(2):
            time.sleep(0.002)
            with timed("outer"):
                time.sleep(0.002)
                with timed("inner"):
                    time.sleep(0.02)
                with timed("inner"):
                    time.sleep(0.02)
            clock.lap()
        passed = time.perf_counter() - began
    laps = clock.laps()
    assert [set(lap) for lap in laps] == [{OTHER, "outer", "inner"}] * 2
    for lap in laps:
        assert lap["inner"] >= 0.04
        assert min(lap[OTHER], lap["outer"]) >= 0.002
    assert sum(sum(lap.values()) for lap in laps) <= passed


def test_a_part_ends_where_what_it_holds_fails():
    with watched(CPU) as clock:
        clock.lap()
        with pytest.raises(ValueError, match="no"), timed("failing"):
            raise ValueError("no")
        with timed("next"):
            pass
        clock.lap()
    assert list(clock.laps()[0]) == [OTHER, "failing", "next"]


def test_nobody_watches_but_who_asks():
    with timed("before"):
        pass
    with watched(CPU) as clock:
        clock.lap()
        other = threading.Thread(target=lambda: timed("elsewhere").__enter__())
        other.start()
        other.join()
        clock.lap()
    with timed("after"):
        pass
    assert list(clock.laps()[0]) == [OTHER]


def test_on_a_gpu_marks_are_events_of_its_stream(monkeypatch):
    fake = FakeCuda(monkeypatch)
    with watched(torch.device("cuda:1")) as clock:
        clock.lap()
        with timed("forward"):
            pass
        clock.lap()
        found = clock.laps()
    # The fake says that a second passes between any two events.
    assert found == [{OTHER: 2.0, "forward": 1.0}]
    assert fake.recorded == [1, 1, 1, 1]
