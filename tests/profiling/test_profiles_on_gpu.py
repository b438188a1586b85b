"""What only a GPU has: times by its events, its own peak of memory, its conditions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from planted import planted_job

from kitsbench.profiling.memory import Load, try_load
from kitsbench.profiling.profile import measure

SLEEP, MIB = 0.06, 2**20


@pytest.fixture(
    params=["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)],
)
def job(request, tmp_path, coarse_store):
    """The plugin that sleeps in its loss; on a CPU too, so that the test itself is run there."""
    made = planted_job(tmp_path, coarse_store, {"loss": SLEEP})
    return replace(made, device=request.param, peaks={"flops_per_s": 1e12, "bytes_per_s": 1e11})


def test_a_part_that_leaves_the_device_idle_pays_for_it(job):
    row = measure(job)
    on_gpu = job.device != "cpu"
    parts = row["parts"]
    assert sum(own["share"] for own in parts.values()) == pytest.approx(1)
    assert parts["loss"]["ms"] >= 0.9 * 1000 * SLEEP
    assert parts["loss"]["share"] > 0.5
    assert ({"cuda", "cudnn"} <= set(row["conditions"])) is on_gpu
    if on_gpu:
        # Two layers of eight channels, and not what Python and its libraries hold.
        assert 0 < row["peak_memory_bytes"] < 100 * MIB
        assert row["energy_joules"] is None or row["energy_joules"] > 0
    else:
        assert row["peak_memory_bytes"] > 100 * MIB
        assert row["energy_joules"] is None
    assert row["roofline"]["bytes_per_s"] > 0


@pytest.mark.gpu
def test_a_cap_on_a_gpu_counts_what_its_allocator_holds(tmp_path, coarse_store):
    job = planted_job(tmp_path, coarse_store, device="cuda:0", patch=(64, 64, 64))
    before = torch.cuda.memory_reserved(0)
    try:
        assert try_load(Load(job, (64, 64, 64), 2, limit=before + 1024 * MIB))["fits"]
        found = try_load(Load(job, (64, 64, 64), 2, limit=before + 16 * MIB))
        assert not found["fits"]
        assert "memory" in found["why"]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
