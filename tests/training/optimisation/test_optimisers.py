"""Optimisers of recipes: plain on a CPU, fused on CUDA, by one state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kitsbench.recipe import Optimiser
from kitsbench.training.optimisation import optimisers
from kitsbench.training.optimisation.optimisers import load_optimiser, make_optimiser

RULES = [
    Optimiser("sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    Optimiser("adam", lr=0.01, amsgrad=True),
    Optimiser("adamw", lr=0.01, weight_decay=0.1),
]


def network(device="cpu"):
    torch.manual_seed(0)
    # No bias before the norm: its gradient is rounding alone, of which Adam makes whole steps.
    return nn.Sequential(nn.Conv3d(1, 4, 3, bias=False), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 1)).to(
        device
    )


def steps(model, optimiser, count=3, first=0):
    device = next(model.parameters()).device
    for step in range(first, first + count):
        torch.manual_seed(step)
        images = torch.rand(2, 1, 6, 6, 6).to(device)
        optimiser.zero_grad()
        model(images).square().mean().backward()
        optimiser.step()
    return [p.detach().cpu() for p in model.parameters()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_on_a_cpu_it_is_torchs_own_by_its_default(rule):
    model = network()
    optimiser = make_optimiser(rule, list(model.parameters()))
    assert not optimiser.param_groups[0]["fused"]


class Fake:
    is_cuda = True

    def is_floating_point(self):
        return True


FUSED = [
    *((rule, True) for rule in RULES),
    (Optimiser("SGD", lr=0.1, momentum=0.9), True),
    (Optimiser("torch.optim:AdamW", lr=0.01), True),
    (Optimiser("SGD", lr=0.1, momentum=0.9, arguments=(("dampening", 0.5),)), False),
]


@pytest.mark.parametrize(("rule", "fused"), FUSED)
def test_on_cuda_those_with_a_kernel_are_fused(rule, fused, monkeypatch):
    asked = {}

    def noted(kind):
        def begin(self, parameters, **options):
            asked.update(options)
            kind.__init__(self, [nn.Parameter(torch.zeros(1))], **{**options, "fused": None})

        return type(kind.__name__, (kind,), {"__init__": begin})

    kinds = [noted(kind) for kind in optimisers.FUSED]
    monkeypatch.setattr(optimisers, "FUSED", kinds)
    for kind in kinds:
        monkeypatch.setattr(torch.optim, kind.__name__, kind)
    make_optimiser(rule, [Fake()])
    assert bool(asked.get("fused")) is fused


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_state_of_a_fused_one_goes_on_by_the_kernels_that_are_there(rule):
    model = network()
    optimiser = make_optimiser(rule, list(model.parameters()))
    steps(model, optimiser)
    saved = copy.deepcopy(optimiser.state_dict())
    saved["param_groups"][0]["fused"] = True  # as it was written where there was a GPU
    twin = copy.deepcopy(model)
    other = make_optimiser(rule, list(twin.parameters()))
    load_optimiser(other, saved)
    assert not other.param_groups[0]["fused"]
    expected = steps(model, optimiser, first=3)
    assert all(map(torch.equal, steps(twin, other, first=3), expected))


@pytest.mark.gpu
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_fused_one_moves_as_a_plain_one_does_and_takes_its_state(rule, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    plain, fused = network(), network("cuda")
    one = make_optimiser(rule, list(plain.parameters()))
    other = make_optimiser(rule, list(fused.parameters()))
    assert other.param_groups[0]["fused"]
    for a, b in zip(steps(plain, one), steps(fused, other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    # A checkpoint of either goes on with the other.
    load_optimiser(other, one.state_dict())
    fused.load_state_dict(plain.state_dict())
    assert other.param_groups[0]["fused"]
    for a, b in zip(steps(plain, one, first=3), steps(fused, other, first=3), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
