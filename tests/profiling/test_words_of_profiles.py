"""Profiles in words."""

from __future__ import annotations

from rows import row, times

from kitsbench.profiling.reading import bound, company, impossible, remarks


def test_the_bound_is_named():
    assert bound(row()) == (
        "not loader-bound: backward takes 40 %, the device waits 1 %, the loader alone is 5.5 "
        "times as fast"
    )
    assert bound(row(loader_wait=0.31)) == "loader-bound: the device waits 31 %"
    assert bound(row(loader_wait=None)) is None


def test_a_step_with_data_that_is_faster_than_without_is_impossible():
    assert impossible(row()) is None
    assert impossible(row(**times("full_step_ms", 98.5))) is None  # quartiles overlap: noise
    # Apart, but by no more than one process is from another.
    assert impossible(row(**times("full_step_ms", 96.0, 0.001))) is None
    told = impossible(row(**times("full_step_ms", 80.0)))
    assert told.startswith("impossible: a step with data took 80.0 ms and one without 100.0 ms.")
    assert impossible(row(full_step_ms=None, full_step_ms_high=None)) is None


def test_company_is_told_where_it_was_too_much():
    assert company(row()) is None
    shares = {"before": 0.5, "during": 0.42, "after": None, "gpu_before": 0.3, "gpu_during": None}
    busy = row(busy=True, measured=2, company=shares)
    assert company(busy) == (
        "the machine was busy: other processes took 50 % before, 42 % during, and of the GPU 30 % "
        "before (the calmer of two measurements)"
    )
    assert remarks(busy)[-1] == company(busy)
