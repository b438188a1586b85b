"""Places under a roof: bytes that can be counted by hand, and readings in words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from kitsbench.profiling.roofline import count_bytes, measure_peaks, place, read

PEAKS = {"flops_per_s": 1e12, "bytes_per_s": 1e11}


def test_bytes_are_what_operations_read_and_write():
    one, other = torch.zeros(10, 10), torch.zeros(10, 10)
    assert count_bytes(lambda: one + other) == 3 * 400
    assert count_bytes(one.t) == 0  # a view moves nothing
    layer = nn.Linear(10, 4, bias=False)
    # Forward reads input and weights and writes; backward reads the gradient and the input.
    found = count_bytes(lambda: layer(one).sum().backward())
    assert found > 4 * (100 + 40 + 40) + 4 * (40 + 100 + 40)


def test_work_lies_under_the_lower_of_two_bounds():
    dense = place(1e11, 1e9, 0.2, PEAKS)
    assert dense["bound"] == "arithmetic"
    assert dense["intensity"] == 100
    assert dense["ridge"] == 10
    assert dense["roof_share"] == dense["flops_share"] == pytest.approx(0.5)
    thin = place(1e9, 1e9, 0.02, PEAKS)
    assert thin["bound"] == "memory"
    assert thin["roof_share"] == thin["bytes_share"] == pytest.approx(0.5)
    assert place(None, 1e9, 0.2, PEAKS) is None


def test_the_reading_names_the_bound():
    told = read(place(1e9, 1e9, 0.02, PEAKS))
    assert told == (
        "50 GFLOP/s and 50 GB/s, 5 % and 50 % of the device's measured peaks; at 1 FLOPs a byte "
        "its roof is the bandwidth of the memory, of which it reaches 50 %"
    )
    assert read(place(1e11, 1e9, 2.0, PEAKS)).endswith(
        "the arithmetic, of which it reaches 5 %: small operations and their launches take time"
    )
    assert "caches hold part" in read(place(1e9, 1e9, 0.005, PEAKS))


def test_the_peaks_are_measured():
    quick = SimpleNamespace(seconds=0.0, warm=0, least=1)
    found = measure_peaks(torch.device("cpu"), "float32", quick)
    assert found["flops_per_s"] == max(
        found["matmul_flops_per_s"], found["convolution_flops_per_s"]
    )
    assert min(found.values()) > 1e7
