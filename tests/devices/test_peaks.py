"""The peak of a GPU's memory is that of what fitted."""

from __future__ import annotations

import pytest
import torch

from kitsbench.devices.peaks import forget_since, peak_memory, reset_peaks
from kitsbench.inference.memory import first_that_fits

GPU = torch.device("cuda:0")


@pytest.fixture
def card(monkeypatch):
    """A card of 80 bytes, by torch's own rules: its peak begins anew from what is held."""
    state = {"held": 5, "peak": 5}

    def take(size):
        state["peak"] = max(state["peak"], min(state["held"] + size, 80))
        if state["held"] + size > 80:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return size

    for name, value in {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "current_device": lambda: 0,
        "empty_cache": lambda: None,
        "max_memory_allocated": lambda device: state["peak"],
        "reset_peak_memory_stats": lambda device: state.update(peak=state["held"]),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    reset_peaks(GPU)
    return take


def test_tries_that_failed_do_not_count(card):
    ran_out = torch.OutOfMemoryError
    assert first_that_fits([100, 90, 20], card, lambda e: isinstance(e, ran_out), GPU) == 20
    assert peak_memory(GPU) == 25
    # What fitted before still does.
    card(60)
    assert first_that_fits([100, 30], card, lambda e: isinstance(e, ran_out), GPU) == 30
    assert peak_memory(GPU) == 65
    reset_peaks(GPU)
    assert peak_memory(GPU) == 5


def test_a_gpu_without_a_number_is_the_current_one(card):
    forget_since(GPU, 70)
    assert peak_memory(torch.device("cuda")) == 70
    reset_peaks(torch.device("cuda"))
    assert peak_memory(GPU) == 5


def test_of_a_processor_nothing_is_forgotten():
    cpu = torch.device("cpu")
    before = peak_memory(cpu)
    forget_since(cpu, 0)
    assert peak_memory(cpu) >= before > 0
