"""What a time budget is bound to, and what is written down about the machine."""

from __future__ import annotations

import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch
from fake_cuda import FakeCuda

from kitsbench.devices.nvml import power_cap
from kitsbench.experiments.machines import environment
from kitsbench.experiments.machines.environment import (
    describe_environment,
    device_class,
    device_name,
    libraries,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


class Library:
    """NVIDIA's management library, of a card that may draw some watts."""

    def __init__(self, watts):
        self.watts = watts

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, name):
        assert name == "GPU-12-34"
        return name

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        if self.watts is None:
            raise RuntimeError("not supported")
        return 1000 * self.watts

    def nvmlSystemGetDriverVersion(self):
        return "570.1"


@pytest.fixture
def card(monkeypatch):
    """A fake GPU; called with the watts that it may draw, or None where it does not tell."""
    FakeCuda(monkeypatch, name="A card")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-34")
    )
    monkeypatch.setattr(torch, "__version__", "2.11.1+cu130")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)

    def draw(watts):
        monkeypatch.setitem(sys.modules, "pynvml", Library(watts))

    draw(None)
    return draw


def test_a_gpu_is_bound_by_what_makes_it_faster(card):
    assert device_class(GPU, 3) == "cuda: A card, torch 2.11, cuDNN 9"
    card(400)
    assert device_class(GPU, 3) == "cuda: A card, torch 2.11, cuDNN 9, 400 W"
    assert device_class(GPU, 5) == device_class(GPU, 3)


def test_without_the_package_nobody_tells_the_power(card, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it fails
    assert power_cap(GPU) is None
    assert power_cap(CPU) is None


def test_a_cpu_is_bound_by_its_name_and_threads():
    assert device_class(CPU, 3) == f"cpu: {device_name(CPU)}, 3 threads"


def test_libraries_power_and_the_processor_of_a_gpu_are_written_down(card):
    card(400)
    found = describe_environment(GPU, 2)
    assert found["device_name"] == "A card"
    assert found["cpu_name"] == device_name(CPU)
    assert found["cudnn"] == "9.10.2"
    assert found["driver"] == "570.1"
    assert found["power_cap_w"] == 400
    assert found["settings"]["matmul_precision"] == torch.get_float32_matmul_precision()


def test_a_cpu_has_none_of_that():
    found = describe_environment(CPU, 2)
    assert [found[key] for key in ("cuda", "cudnn", "driver", "power_cap_w")] == [None] * 4
    assert found["cpu_name"] == found["device_name"]


def test_to_name_the_libraries_nothing_runs_on_a_gpu(card, monkeypatch):
    monkeypatch.setattr(environment, "settings", lambda device: pytest.fail("runs kernels"))
    assert libraries(GPU) == (version("torch"), "9.10.2")
    assert libraries(CPU) == (version("torch"), None)
