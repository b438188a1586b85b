"""Initial weights, samplers and transforms of a plugin's own are checked as what they are."""

from __future__ import annotations

import itertools
import random
import sys

import numpy as np
import pytest
import torch
from architectures import Pretrained, brought
from safetensors.torch import load_file, save_file

from kitsbench import conformance
from kitsbench.architecture import Task


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


def named_weights(folder):
    """Weights of the smallest network in files of several kinds, and how each is read."""
    torch.manual_seed(3)
    found = brought.Smallest().build(brought.Smallest().spec({}, Task(patch=(16, 16, 16))))
    state = dict(found.state_dict())
    torch.save(state, folder / "net.pt")
    save_file(state, folder / "net.safetensors")
    np.savez(folder / "net.npz", **{name: value.numpy() for name, value in state.items()})
    return {
        folder / "net.pt": torch.load,
        folder / "net.safetensors": load_file,
        folder / "net.npz": lambda f: {k: torch.from_numpy(v) for k, v in np.load(f).items()},
    }


def test_files_of_weights_that_no_key_names_are_told(tmp_path):
    name = "initial weights fit"
    for file, read in named_weights(tmp_path).items():
        found = outcome(brought.weighs(lambda n, file=file, read=read: read(file)), name)
        assert found.passed
        assert found.message.startswith(f"weights() reads {file}, which no key of the kind file")
        assert "Make a key by Key.file(), and read the path that `files` has for it." in (
            found.message
        )


def test_files_that_a_key_names_and_those_of_code_are_not_told(tmp_path, monkeypatch):
    for file in named_weights(tmp_path):
        if file.suffix != ".npz":
            checks = conformance.checks(Pretrained, {"weights": str(file)})
            found = next(c for c in checks if c.name == "initial weights fit").outcome()
            assert (found.passed, found.message) == (True, "")
    (tmp_path / "table_of_this_test.json").write_text("{}")
    (tmp_path / "reader_of_this_test.py").write_text(
        "from pathlib import Path\n"
        "TABLE = Path(__file__).with_name('table_of_this_test.json').read_text()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def loads(network):
        import reader_of_this_test

        scratch = tmp_path / "scratch.txt"
        scratch.write_text(reader_of_this_test.TABLE)
        assert scratch.read_text() == "{}"
        assert sys.modules["torch"].__file__.endswith(".py")
        open(sys.modules["torch"].__file__).close()
        network.network[1].bias.data.fill_(1.0)

    found = outcome(brought.weighs(loads), "initial weights fit")
    assert (found.passed, found.message) == (True, "")


def test_a_network_that_is_built_from_a_file_is_told(tmp_path):
    (tmp_path / "width.json").write_text("8")

    class Reads(brought.Smallest):
        def build(self, spec):
            assert (tmp_path / "width.json").read_text() == "8"
            return super().build(spec)

    found = outcome(Reads, "builds")
    assert found.passed
    assert found.message.startswith(f"build() reads {tmp_path / 'width.json'}, whose content is")
