"""What a GPU's driver tells beside energy, where it tells it."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
import torch

from kitsbench.devices.nvml import gpu_load, gpu_load_of_others, gpu_state

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")


class Library:
    """The calls of NVML that are made, by their documented units."""

    def __init__(self, users=()):
        self.users = users

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, name):
        return name

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return {1: 1980, 2: 3201}[kind]  # graphics, multiprocessors, memory: 0, 1, 2

    def nvmlDeviceGetMaxClockInfo(self, handle, kind):
        raise RuntimeError("not supported")

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 41

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return 700_000

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return 0x4  # the software's power cap

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=37, memory=3)

    def nvmlDeviceGetProcessUtilization(self, handle, since):
        if not self.users:
            raise RuntimeError("not found")
        return [SimpleNamespace(pid=pid, smUtil=share) for pid, share in self.users]


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda d: SimpleNamespace(uuid="1"))

    def with_users(*users):
        monkeypatch.setitem(sys.modules, "pynvml", Library(users))

    with_users()
    return with_users


def test_a_card_tells_clocks_heat_and_what_slows_it(card):
    assert gpu_state(GPU) == {
        "clock_mhz": 1980,
        "memory_clock_mhz": 3201,
        "temperature_c": 41,
        "power_cap_w": 700,
        "throttled": 1,
    }
    assert gpu_load(GPU) == 0.37


def test_others_are_told_from_this_process(card):
    assert gpu_load_of_others(GPU, 0) is None
    card((os.getpid(), 90), (os.getpid() + 1, 20), (os.getpid() + 2, 60))
    assert gpu_load_of_others(GPU, 0) == 0.6
    card((os.getpid(), 90))
    assert gpu_load_of_others(GPU, 0) == 0.0
    card((os.getpid() + 1, 60))  # numbers of another name space: nobody is known
    assert gpu_load_of_others(GPU, 0) is None


def test_nobody_is_asked_about_a_processor_or_without_the_package(card, monkeypatch):
    assert gpu_state(CPU) == {}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_state(GPU) == {}
    assert gpu_load(GPU) is gpu_load_of_others(GPU, 0) is None
