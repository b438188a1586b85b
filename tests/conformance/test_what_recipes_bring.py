"""Initial weights, samplers and transforms of a plugin's own are checked as what they are."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from architectures import brought

from kitsbench import conformance


def outcome(kind, name):
    return next(c for c in conformance.checks(kind) if c.name == name).outcome()


def halved(network):
    network.half()


def emptied(network):
    state = {name: torch.empty_like(v, device="meta") for name, v in network.state_dict().items()}
    network.load_state_dict(state, assign=True)


def keyless(network):
    return {}["encoder"]


@pytest.mark.parametrize(
    ("give", "told"),
    [
        (halved, "weights() turned network.0.0.weight from torch.float32 into torch.float16"),
        (emptied, "weights() left network.0.0.weight on the meta device, without values"),
        (
            lambda n: {k: v.to("meta") for k, v in n.state_dict().items()},
            "weights() gave network.0.0.weight on the meta device",
        ),
        (
            lambda n: {k: v.long() for k, v in n.state_dict().items()},
            "weights() gave network.0.0.weight as torch.int64, and the network has torch.float32",
        ),
        (keyless, "weights() raised KeyError: 'encoder' in Weighs.weights at architectures/"),
    ],
)
def test_wrong_initial_weights_are_told_under_their_hook(give, told):
    found = outcome(brought.weighs(give), "initial weights fit")
    assert not found.passed
    assert told in found.message
    assert "spec's heads" not in found.message


def test_initial_weights_that_fit_pass():
    def half(network):
        state = network.state_dict().items()
        return {name: v.half() if v.is_floating_point() else v for name, v in state}

    for give in (lambda n: None, half):
        assert outcome(brought.weighs(give), "initial weights fit").passed


def test_weights_that_build_leaves_without_values_are_told_under_build():
    class Empty(brought.Smallest):
        def build(self, spec):
            return super().build(spec).to("meta")

    told = outcome(Empty, "builds").message
    assert "build() left 'network.0.0.weight' on the meta device" in told
    assert "See build() at" in told


def seeds(shape, rng):
    np.random.seed(int(rng.integers(9)))  # noqa: NPY002
    return np.random.normal(size=shape)  # noqa: NPY002


TWO = "gives two results for one seed and step: draw from rng, which it is given"


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda shape, rng: brought.KEPT.normal(size=shape), TWO),
        (lambda shape, rng: np.random.default_rng().normal(size=shape), TWO),
        (lambda shape, rng: torch.randn(shape).numpy(), "draws from or seeds torch's random"),
        (lambda shape, rng: np.random.normal(size=shape), "seeds NumPy's random"),  # noqa: NPY002
        (lambda shape, rng: random.random(), "seeds Python's random generator"),
        (seeds, "draws from or seeds NumPy's random generator"),
    ],
)
def test_transforms_that_draw_elsewhere_are_found(draw, told):
    found = outcome(brought.transforms(brought.noisy(draw)), "batches repeat")
    assert not found.passed
    assert "the transform plugin:change at architectures/brought.py:" in found.message
    assert told in found.message


def test_a_sampler_that_draws_elsewhere_is_found():
    def by_chance(draw):
        return [
            (name, brought.KEPT.uniform(0, 1, 3) * draw.cases[name].shape) for name in draw.names
        ]

    def by_its_own(draw):
        return [
            (name, draw.random.uniform(0, 1, 3) * draw.cases[name].shape) for name in draw.names
        ]

    assert outcome(brought.samples(by_its_own), "batches repeat").passed
    told = outcome(brought.samples(by_chance), "batches repeat").message
    assert "the sampler plugin:places" in told
    assert "draw from draw.random, which it is given" in told


@pytest.mark.parametrize("period", [2, 3, 4])
@pytest.mark.parametrize("per_sample", [True, False])
def test_a_count_that_goes_round_is_no_chance_either(period, per_sample):
    count = itertools.count()

    def middles(draw):
        turns = itertools.islice(count, len(draw.names) if per_sample else 1)
        found = zip(draw.names, itertools.cycle(list(turns)), strict=False)
        return [(n, np.multiply(draw.cases[n].shape, (1 + t % period) / 6)) for n, t in found]

    told = outcome(brought.samples(middles), "batches repeat").message
    assert "gives two results for one seed and step" in told
    assert "and keep no state" in told


def test_transforms_that_draw_from_their_own_generator_pass():
    own = brought.transforms(brought.noisy(lambda shape, rng: rng.normal(size=shape)))
    assert outcome(own, "batches repeat").passed
