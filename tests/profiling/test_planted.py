"""What is slow is found where it is slow: sleeps in the parts of a plugin."""

from __future__ import annotations

import time

import pytest
from planted import planted_job

from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.inference.cutting import DeviceScan
from kitsbench.profiling.compare import compare
from kitsbench.profiling.profile import measure
from kitsbench.profiling.reading import bound
from kitsbench.profiling.scan import ScanJob, ScanSize, measure_scan

SLEEP = 0.06  # seconds, many times what any part of this network takes
SMALL = ScanSize((20, 24, 24), (9.0, 9.0, 9.0))


def slower(method):
    def work(*arguments, **options):
        time.sleep(SLEEP)
        return method(*arguments, **options)

    return work


@pytest.mark.parametrize(
    ("where", "part"), [("network", "forward"), ("loss", "loss"), ("targets", "targets")]
)
def test_a_slow_hook_is_its_part_of_a_step(where, part, tmp_path, coarse_store):
    row = measure(planted_job(tmp_path, coarse_store, {where: SLEEP}))
    parts = row["parts"]
    assert parts[part]["ms"] >= 1000 * SLEEP
    # Beside others on a busy machine the loader may be late for any network.
    shares = {name: own["share"] for name, own in parts.items() if name != "loader"}
    assert max(shares, key=shares.get) == part
    assert bound(row | {"loader_wait": 0.0}).startswith(f"not loader-bound: {part} takes")
    assert (row["inference_ms"] >= 1000 * SLEEP) == (where == "network")


def test_a_slow_augmentation_is_its_part_of_a_step(tmp_path, coarse_store, monkeypatch):
    monkeypatch.setattr(Augmenter, "apply", slower(Augmenter.apply))
    row = measure(planted_job(tmp_path, coarse_store))
    assert row["parts"]["augmentation"]["ms"] >= 1000 * SLEEP
    shares = {name: own["share"] for name, own in row["parts"].items() if name != "loader"}
    assert max(shares, key=shares.get) == "augmentation"


def test_a_slow_loader_is_waited_for_and_named(tmp_path, coarse_store):
    sleep = 8 * SLEEP  # a step on a busy machine is several times what it is on a calm one
    row = measure(planted_job(tmp_path, coarse_store, {"loader": sleep}))
    assert row["loader_ms"] >= 1000 * sleep
    assert row["loader_wait"] == row["parts"]["loader"]["share"] > 0.5
    assert bound(row) == f"loader-bound: the device waits {100 * row['loader_wait']:.0f} %"
    # The same step with data on the device knows nothing of it.
    assert row["patches_per_s_compute"] > row["patches_per_s_full"]


def test_parts_make_up_the_step(tmp_path, coarse_store):
    row = measure(planted_job(tmp_path, coarse_store, patch=(32, 32, 32), least=12))
    parts = row["parts"]
    assert sum(own["share"] for own in parts.values()) == pytest.approx(1)
    # What lies in no part: dictionaries, views, and calls of the harness.
    assert parts["other"]["share"] < 0.05
    assert {own["ms_low"] <= own["ms_high"] for own in parts.values()} == {True}
    assert set(row["samples_ms"]) == {"step", "full", "loader", "inference"}
    assert len(row["samples_ms"]["full"]) == 12


def scanned(tmp_path, store, slow=None):
    job = planted_job(tmp_path, store, slow)
    return measure_scan(ScanJob(job, "small", SMALL, "kits19"))


@pytest.mark.parametrize("part", ["network", "decision", "post-processing"])
def test_a_slow_hook_is_its_part_of_a_scan(part, tmp_path, coarse_store):
    found = scanned(tmp_path, coarse_store, {part: SLEEP})
    assert found["parts"][part] >= SLEEP
    assert max(found["parts"], key=found["parts"].get) == part


def test_a_slow_tiler_is_its_part_of_a_scan(tmp_path, coarse_store, monkeypatch):
    monkeypatch.setattr(DeviceScan, "tiles", slower(DeviceScan.tiles))
    found = scanned(tmp_path, coarse_store)
    assert max(found["parts"], key=found["parts"].get) == "tiling"
    assert found["seconds"] == pytest.approx(sum(found["parts"].values()))
    assert found["parts"]["other"] < 0.05 * found["seconds"]
    assert found["prepared"] == SMALL.shape
    assert min(found["parts"][name] for name in ("scoring", "writing", "blending")) > 0


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("where", "part"), [("network", "forward"), ("loss", "loss"), ("augmentation", "augmentation")]
)
def test_a_step_slower_by_30_per_cent_is_blamed_on_its_part(
    where, part, tmp_path, coarse_store, monkeypatch
):
    many = {"patch": (32, 32, 32), "least": 20, "warm": 3}
    before = measure(planted_job(tmp_path, coarse_store, **many))
    sleep = 0.3 * before["full_step_ms"] / 1000
    if where == "augmentation":
        apply = Augmenter.apply
        monkeypatch.setattr(Augmenter, "apply", lambda *a: (time.sleep(sleep), apply(*a))[1])
    now = measure(planted_job(tmp_path, coarse_store, {where: sleep}, **many))
    grown = {name: now["parts"][name]["ms"] - own["ms"] for name, own in before["parts"].items()}
    assert max(grown, key=grown.get) == part
    rows = [{"architecture": "planted", **row} for row in (before, now)]
    changes, _ = compare(rows[:1], rows[1:])
    assert part in {one.figure.strip() for one in changes if one.beyond and one.ratio > 1}


@pytest.mark.exhaustive
def test_a_loader_slower_by_30_per_cent_is_blamed(tmp_path, coarse_store):
    many = {"patch": (32, 32, 32), "least": 20, "warm": 3}
    before = measure(planted_job(tmp_path, coarse_store, **many))
    sleep = 0.3 * before["loader_ms"] / 1000
    now = measure(planted_job(tmp_path, coarse_store, {"loader": sleep}, **many))
    rows = [{"architecture": "planted", **row} for row in (before, now)]
    changes, _ = compare(rows[:1], rows[1:])
    marked = {one.figure for one in changes if one.beyond and one.ratio > 1}
    assert "loader alone" in marked
    assert "step, on device" not in marked


@pytest.mark.exhaustive
def test_a_scan_slower_by_30_per_cent_is_blamed_on_its_tiler(tmp_path, coarse_store, monkeypatch):
    before = scanned(tmp_path, coarse_store)
    # One of the passes takes it all.
    sleep, tiles, slept = 0.3 * before["seconds"], DeviceScan.tiles, []

    def slow(*arguments):
        if len(slept) == 1:  # the first is the one that warms up
            time.sleep(sleep)
        slept.append(1)
        return tiles(*arguments)

    monkeypatch.setattr(DeviceScan, "tiles", slow)
    now = scanned(tmp_path, coarse_store)
    grown = {name: now["parts"][name] - own for name, own in before["parts"].items()}
    assert max(grown, key=grown.get) == "tiling"
