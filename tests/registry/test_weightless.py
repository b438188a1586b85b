"""Networks are built without values where their constructors allow it, and counted in any case."""

from __future__ import annotations

import pytest
import torch
from architectures import Smallest
from torch import nn

from kitsbench import registry
from kitsbench.architecture import Plain, Task, configure
from kitsbench.errors import ContractError
from kitsbench.registry.weightless import NeedsValues, build_weightless
from kitsbench.training.networks.meta import count_cost, count_step


def spec_of(architecture):
    return architecture.spec(configure(architecture), Task(patch=(8, 8, 8)))


class ReadsRates(Smallest):
    """The idiom of stochastic depth."""

    def build(self, spec):
        rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
        return Plain(nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Dropout(rates[1]), last(spec)))


class ReadsWeights(Smallest):
    """A constructor that looks at the values of a weight."""

    def build(self, spec):
        first = nn.Conv3d(1, 4, 3, padding=1)
        gain = 1 / first.weight.std().item()
        with torch.no_grad():
            first.weight.mul_(gain)
        return Plain(nn.Sequential(first, last(spec)))


class KeepsATable(Smallest):
    """A tensor that is neither parameter nor buffer."""

    def build(self, spec):
        return Plain(_Scaled(spec))


class _Scaled(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), last(spec))
        self.table = torch.tensor([1.0, 2.0, 3.0], device="cpu")

    def forward(self, images):
        return self.layers(images) * self.table.reshape(1, -1, 1, 1, 1)


class ReadsImages(Smallest):
    """A forward pass that needs values has no count."""

    def build(self, spec):
        return Plain(_Gated(spec))


class _Gated(_Scaled):
    def forward(self, images):
        return self.layers(images) if images.mean().item() > 0 else self.layers(-images)


class NormalisesOneVoxel(Smallest):
    """Batch normalisation that a single sample gives one value a channel."""

    def build(self, spec):
        down = nn.Sequential(nn.Conv3d(1, 4, 8, stride=8), nn.BatchNorm3d(4))
        return Plain(nn.Sequential(down, nn.Upsample(scale_factor=8), last(spec)))


def test_what_cannot_be_trained_with_one_sample_is_counted_for_one():
    architecture = NormalisesOneVoxel()
    cost = count_cost(architecture, spec_of(architecture))
    first, logits = 2 * 8**3 * 4, 2 * 8**3 * 4 * 3
    assert cost.flops_forward == first + logits
    # Backwards the first convolution has no gradient of the image.
    assert cost.flops_step == 2 * first + 3 * logits


def last(spec):
    return nn.Conv3d(4, spec.classes, 1)


PARAMETERS = (27 + 1) * 4 + (4 + 1) * 3
FORWARD = 2 * 8**3 * (27 * 4 + 4 * 3)


@pytest.mark.parametrize("kind", [ReadsRates, ReadsWeights, KeepsATable, ReadsImages])
def test_whatever_a_constructor_does_its_network_is_counted(kind):
    architecture = kind()
    spec = spec_of(architecture)
    before = torch.get_rng_state()
    network = build_weightless(architecture, spec)
    assert {p.device.type for p in network.parameters()} == {"meta"}
    assert torch.equal(torch.get_rng_state(), before)
    assert registry.count_parameters(architecture, task=Task(patch=(8, 8, 8))) == PARAMETERS
    cost = count_cost(architecture, spec)
    assert cost.parameters == PARAMETERS
    # As a count by hand; the first layer needs no gradient of its input.
    known = None if kind is ReadsImages else FORWARD
    assert cost.flops_forward == known
    step = count_step(architecture, spec, spec.stages[0], 2)
    assert step == (None if known is None else 2 * (3 * FORWARD - 2 * 8**3 * 27 * 4))


def test_what_needs_values_may_be_asked_for():
    with pytest.raises(NeedsValues, match="meta"):
        build_weightless(ReadsWeights(), spec_of(ReadsWeights()), values=False)
    build_weightless(ReadsRates(), spec_of(ReadsRates()), values=False)


def test_what_a_constructor_raises_comes_out_as_it_is():
    class Refuses(Smallest):
        def build(self, spec):
            raise ContractError("no such depth")

    class Fails(Smallest):
        def build(self, spec):
            raise ZeroDivisionError("build is broken")

    with pytest.raises(ContractError, match="no such depth"):
        build_weightless(Refuses(), spec_of(Refuses()))
    with pytest.raises(ZeroDivisionError, match="build is broken"):
        build_weightless(Fails(), spec_of(Fails()))
