"""The running average of weights is the same by any way of reading the network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from kitsbench.training.optimisation.accumulation import Buffers
from kitsbench.training.optimisation.average import WeightAverage


class Telling(nn.Module):
    """Its state holds a word that is neither parameter nor buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4))
        self.scale = torch.ones(1)

    def get_extra_state(self):
        return self.scale

    def set_extra_state(self, state):
        self.scale = state


def plain():
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Linear(4, 4))
    network.register_buffer("unsaved", torch.zeros(2), persistent=False)
    network.append(network[0])  # under two names
    return network


def train_a_little(network, step):
    with torch.no_grad():
        for number, value in enumerate(network.state_dict().values()):
            if value.is_floating_point():
                value.add_(torch.rand(value.shape) * (number + 1))
            else:
                value.add_(1)
    if step == 2:  # other tensors in the same places
        network.to(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("make", [plain, lambda: nn.Sequential(Telling(), nn.Linear(2, 2))])
def test_it_is_bit_for_bit_that_of_one_tensor_after_the_other(make):
    torch.manual_seed(0)
    network = make()
    average = WeightAverage(network, 0.7)
    expected = copy.deepcopy(average.state)
    for step in range(5):
        train_a_little(network, step)
        average.update(network, step)
        decay = min(0.7, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                expected[name].lerp_(value, 1 - decay)
            else:
                expected[name].copy_(value)
    assert average.state.keys() == network.state_dict().keys()
    assert all(torch.equal(average.state[name], value) for name, value in expected.items())
    network.load_state_dict(average.state)


def test_it_follows_tensors_that_a_module_exchanges():
    network = nn.BatchNorm3d(2)
    average = WeightAverage(network, 0.0)
    network.running_mean = torch.full((2,), 5.0)
    network.weight = nn.Parameter(torch.full((2,), 7.0))
    average.update(network, 0)
    assert average.state["running_mean"].tolist() == [5, 5]
    assert average.state["weight"].tolist() == [7, 7]


class Launches(TorchDispatchMode):
    """Names of the operations that write, and of those that make the host wait."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = str(function.overloadpacket).removeprefix("aten.")
        if name.endswith("_") or name == "_local_scalar_dense":
            self.seen.append(name)
        return function(*arguments, **(options or {}))


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_on_a_device_it_takes_one_launch_for_each_type_and_no_wait():
    """On fake tensors of a GPU: what a GPU would be asked to do, and no more."""
    with FakeTensorMode(), torch.device("cuda"):
        layers = [nn.Sequential(nn.Conv3d(4, 4, 3), nn.BatchNorm3d(4)) for _ in range(8)]
        network = nn.Sequential(*layers)
        average, buffers = WeightAverage(network, 0.9), Buffers(network)
        buffers.keep()  # asks for its memory
        for act in (lambda: average.update(network, 3), buffers.keep, buffers.put_back):
            with Launches() as launches:
                act()
            assert len(launches.seen) == 2  # floating point, and the counters
            assert set(launches.seen) <= {"_foreach_copy_", "_foreach_lerp_"}
