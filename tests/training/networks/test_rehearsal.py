"""The first step is rehearsed on a GPU: nothing of that is charged, and nothing is left of it."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from statistics import median

import architectures
import numpy as np
import pytest
import torch
from torch import nn

from kitsbench.recipe import Stage
from kitsbench.training import loop
from kitsbench.training.budget import Budget
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.meters.energy import EnergyMeter
from kitsbench.training.networks.rehearsal import rehearse

CPU = torch.device("cpu")
NAP = 0.3


@pytest.fixture
def rehearsed(monkeypatch):
    """Lets a CPU rehearse, as a GPU does."""
    monkeypatch.setattr(loop, "is_rehearsed", lambda device: True)


class Counted(architectures.Smallest):
    """Counts its steps, and naps in the first, as a GPU does that loads its libraries."""

    def __init__(self, nap=0.0):
        self.steps, self.nap = [], nap

    def loss(self, outputs, targets, progress, spec):
        if not self.steps:
            time.sleep(self.nap)
        self.steps.append((progress.stage, progress.step))
        return super().loss(outputs, targets, progress, spec)


def state(outcome):
    return list(outcome.network.state_dict().values())


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(state(a), state(b), strict=True))


def test_buffers_gradients_and_generators_are_as_they_were():
    torch.manual_seed(3)
    random.seed(3)
    generator = np.random.get_state()[1].copy()  # noqa: NPY002
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    calls = []

    def take():
        network(torch.rand(2, 1, 6, 6, 6)).square().sum().backward()
        calls.append((random.random(), np.random.rand()))  # noqa: NPY002

    rehearse(take, network, CPU, EnergyMeter(CPU))
    assert len(calls) == 1  # a second one is for what a GPU sets up
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.rand(3), expected)
    random.seed(3)
    assert calls[0][0] == random.random()
    assert (np.random.get_state()[1] == generator).all()  # noqa: NPY002


def test_they_are_put_back_where_a_rehearsal_fails_too():
    network = nn.BatchNorm3d(2)

    def take():
        network(torch.rand(2, 2, 4, 4, 4))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        rehearse(take, network, CPU, EnergyMeter(CPU))
    assert network.num_batches_tracked == 0
    assert network.running_mean.abs().max() == 0


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_rehearsed_training_is_the_same_bit_for_bit(make_job, monkeypatch, precision):
    plain = train(make_job(folder="plain", precision=precision))
    monkeypatch.setattr(loop, "is_rehearsed", lambda device: True)
    assert same(train(make_job(folder="rehearsed", precision=precision)), plain)


def test_a_slow_first_step_is_not_charged(make_job, rehearsed):
    architecture = Counted(NAP)
    ledger = train(make_job(architecture, budget=Budget(3, "steps"))).ledger
    assert len(architecture.steps) == 1 + 3
    assert ledger.warm_up_s > NAP
    assert ledger.device_seconds < ledger.wall_s - NAP
    assert ledger.steps == 3


def test_on_a_cpu_nothing_is_rehearsed(make_job):
    architecture = Counted()
    ledger = train(make_job(architecture, budget=Budget(3, "steps"))).ledger
    assert len(architecture.steps) == 3
    assert ledger.warm_up_s == 0


def test_every_stage_and_every_resumption_is_rehearsed(make_job, rehearsed):
    class Staged(Counted):
        def spec(self, config, task):
            stages = (Stage("first", 0.5, train=("*.0.0.*",)), Stage("second", 0.5))
            return replace(super().spec(config, task), stages=stages)

    class Killed(Exception):
        pass

    def die(fraction, ledger):
        if ledger.steps == 2:
            raise Killed

    architecture = Staged()
    job = make_job(architecture, budget=Budget(4, "steps"), checkpoint_every=0.0)
    with pytest.raises(Killed):
        train(job, report=die)
    train(job)
    names = [name for name, _ in architecture.steps]
    # Two steps of the first stage, of which the second is lost; it again; two of the second stage.
    assert names.count("first") == 1 + 2 + 1 + 1
    assert names.count("second") == 1 + 2


def test_memory_that_runs_out_in_a_rehearsal_leads_to_more_parts(make_job, rehearsed):
    class Large(Counted):
        def build(self, spec):
            network = super().build(spec)

            def before(module, inputs):
                if inputs[0]["image"].shape[0] > 2:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

            network.register_forward_pre_hook(before)
            return network

    ledger = train(make_job(Large(), budget=Budget(2, "steps"))).ledger
    assert ledger.accumulation == 2
    assert ledger.steps == 2


def test_what_fails_in_a_rehearsal_is_told_as_in_a_step(make_job, rehearsed):
    class Raises(architectures.Smallest):
        def loss(self, outputs, targets, progress, spec):
            raise ValueError("no such loss")

    spent = []
    with pytest.raises(TrialFailure, match=r"loss\(\) raised.*no such loss"):
        train(make_job(Raises()), cut_short=lambda error, ledger, curve: spent.append(ledger))
    assert spent[0].steps == 0
    assert spent[0].device_seconds == 0


@pytest.mark.gpu
def test_the_first_steps_on_a_gpu_take_as_long_as_the_others(make_job):
    seconds = []
    job = make_job(device=torch.device("cuda:0"), precision="bfloat16", budget=Budget(40, "steps"))
    train(job, report=lambda fraction, ledger: seconds.append(ledger.device_seconds))
    steps = np.diff(seconds)  # what a step took is known a step later
    usual = median(steps[20:])
    assert median(steps[:5]) < 3 * usual
    # Kernels of the optimiser are loaded in the first; a search or another context takes seconds.
    assert max(steps[:5]) < 0.5 + 3 * usual


@pytest.mark.gpu
def test_a_rehearsal_on_a_gpu_leaves_nothing_behind(make_job, monkeypatch):
    found = []

    def spy(take, network, device, *others):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        generator = torch.cuda.get_rng_state(device)
        seconds = rehearse(take, network, device, *others)
        found.append(torch.equal(torch.cuda.get_rng_state(device), generator))
        found.extend(torch.equal(before[n], v) for n, v in network.state_dict().items())
        return seconds

    monkeypatch.setattr(loop, "rehearse", spy)
    train(make_job(device=torch.device("cuda:0"), budget=Budget(2, "steps")))
    assert found
    assert all(found)
