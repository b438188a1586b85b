"""A device's speed is measured once for each machine, and tells fast from slow."""

from __future__ import annotations

import pytest
import torch

import kitsbench.training.meters.device_speed as module
from kitsbench.training.meters.device_speed import VARIABLE, device_speed, measure

CPU = torch.device("cpu")


def test_a_machine_is_measured_once_and_what_was_found_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.05")
    found = device_speed(CPU, "cpu: a processor, 1 threads", 1, tmp_path)
    assert found.device_class == "cpu: a processor, 1 threads"
    assert 0 < found.low <= found.speed_gflops <= found.high
    assert found.steps >= 3
    monkeypatch.setattr(module, "measure", lambda *_: pytest.fail("measured again"))
    assert device_speed(CPU, "cpu: a processor, 1 threads", 1, tmp_path) == found


def test_other_classes_are_measured_for_themselves(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.05")
    device_speed(CPU, "cpu: a processor, 1 threads", 1, tmp_path)
    device_speed(CPU, "cpu: another processor, 1 threads", 1, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_measuring_leaves_random_numbers_and_threads_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.05")
    torch.set_num_threads(2)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    device_speed(CPU, "cpu", 1, tmp_path)
    assert torch.equal(torch.rand(4), expected)
    assert torch.get_num_threads() == 2


def test_the_speed_is_the_operations_over_the_seconds():
    found = measure(CPU, 0.3)
    assert found["seconds"] >= 0.3
    # Three convolutions of 3^3 taps on 2 x 32^3 voxels; backward twice as much, less the input's.
    voxels = 2 * 32**3
    pairs = 1 * 16 + 16 * 16 + 16 * 4
    step = 2 * 27 * voxels * (3 * pairs - 16) / 1e9
    assert found["speed_gflops"] == pytest.approx(step * found["steps"] / found["seconds"], rel=0.5)
