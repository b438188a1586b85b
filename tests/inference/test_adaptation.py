"""Adaptation to a scan: from the trained weights each time, without the truth, measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from architectures.brought import Entropy
from architectures.own_steps import OwnRecipe

from kitsbench.architecture import Task, configure
from kitsbench.conformance.driven.volumes import WINDOW, Volumes
from kitsbench.errors import ContractError
from kitsbench.inference.adaptation import Adapter
from kitsbench.inference.sliding import Predictor
from kitsbench.recipe import Inference

CPU = torch.device("cpu")
TASK = Task(patch=(8, 8, 8))


@pytest.fixture
def scene():
    """A network in evaluation mode, its spec, and two scans with their truth."""
    torch.manual_seed(0)
    plugin = Entropy()
    spec = plugin.spec(configure(plugin), TASK)
    store = Volumes(spec, spec.grids[0], lambda name, scan: None)
    return plugin.build(spec).eval(), spec, [{"image": store.case(case)} for case in store.cases]


def predictor(scene, plugin=None, key=(0,)):
    network, spec, _ = scene
    adapter = Adapter(plugin or Entropy(), spec, key)
    return Predictor(network, spec, WINDOW, Inference(), CPU, adapter=adapter)


def given(scene, plugin, scan=0):
    """Probabilities of a scan by another plugin's hook."""
    return predictor(scene, plugin).probabilities(scene[2][scan])["segmentation"]


def test_each_scan_begins_with_the_trained_weights(scene):
    network, spec, scans = scene
    before = {name: value.clone() for name, value in network.state_dict().items()}
    own = predictor(scene)
    first, _, again = (own.probabilities(scan)["segmentation"] for scan in (*scans, scans[0]))
    plain = Predictor(network, spec, WINDOW, Inference(), CPU).probabilities(scans[0])
    assert torch.equal(first, again)
    assert not torch.equal(first, plain["segmentation"])
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert len(own.adapter.seconds) == 3
    assert min(own.adapter.seconds) > 0


def test_a_network_that_keeps_its_last_map_is_adapted(scene):
    network = scene[0]
    with torch.enable_grad():
        kept = network({"image": torch.rand(1, 1, 8, 8, 8)})["segmentation"].sigmoid()
    before = given(scene, Entropy())
    network.shown, network.listed = kept, {"maps": [kept]}
    assert kept.grad_fn is not None
    assert torch.equal(given(scene, Entropy()), before)
    assert network.shown is kept


def test_entropy_falls(scene):
    def entropy(probabilities):
        return float(-(probabilities * probabilities.clamp_min(1e-9).log()).sum(0).mean())

    network, spec, scans = scene
    plain = Predictor(network, spec, WINDOW, Inference(), CPU).probabilities(scans[0])
    assert entropy(given(scene, Entropy())) < entropy(plain["segmentation"])


def test_what_it_draws_follows_the_seed_and_the_scan(scene):
    drawn = []

    class Draws(OwnRecipe):
        def adapt(self, adaptation, spec):
            drawn.append((int(adaptation.random.integers(2**40)), float(torch.rand(()))))

    state = torch.get_rng_state()
    for key, scan in (((0,), 0), ((0,), 1), ((1,), 0), ((0,), 0)):
        predictor(scene, Draws(), key).probabilities(scene[2][scan])
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_it_sees_the_scan_and_not_the_truth(scene):
    _, _, scans = scene
    seen = {}

    class Looks(OwnRecipe):
        def adapt(self, adaptation, spec):
            seen["tiles"] = list(adaptation.tiles)
            seen["cases"] = list(adaptation.tiles._scan.volumes.values())

    given(scene, Looks())
    case = scans[0]["image"]
    assert case.label is not None
    assert case.label.any()
    for other in seen["cases"]:
        assert other.label is None
        assert other.foreground == {}
    assert len(seen["tiles"]) > 1
    assert {tuple(tile) for tile in seen["tiles"]} == {("image",)}
    assert {tile["image"].shape for tile in seen["tiles"]} == {(1, 1, 8, 8, 8)}


def test_it_is_adapted_where_gradients_are_switched_off(scene):
    with torch.inference_mode():
        inside = given(scene, Entropy())
    assert torch.equal(inside, given(scene, Entropy()))


def test_the_network_ends_in_evaluation_mode_and_without_gradients(scene):
    class Trains(OwnRecipe):
        def adapt(self, adaptation, spec):
            adaptation.network.train()
            adaptation.forward(adaptation.tiles[0])["segmentation"].sum().backward()

    network, _, scans = scene
    own = predictor(scene, Trains()).adapted(scans[0])
    assert not own.training
    assert all(p.grad is None and not p.requires_grad for p in own.parameters())
    assert not torch.equal(own.network[0][1].running_mean, network.network[0][1].running_mean)


def test_what_it_raises_names_the_hook(scene):
    class Raises(OwnRecipe):
        def adapt(self, adaptation, spec):
            raise ValueError("no tile is like it")

    class Exits(OwnRecipe):
        def adapt(self, adaptation, spec):
            raise SystemExit(2)

    for plugin, told in ((Raises(), "ValueError: no tile is like it"), (Exits(), "SystemExit: 2")):
        with pytest.raises(ContractError, match=rf"adapt\(\) raised {told}"):
            given(scene, plugin)


def test_memory_that_runs_out_is_told_as_such(scene):
    class Full(OwnRecipe):
        def adapt(self, adaptation, spec):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        given(scene, Full())


def test_without_an_adapter_the_network_is_the_trained_one(scene):
    network, _, scans = scene
    own = predictor(scene)
    assert own.adapted(scans[0]) is not network
    assert replace(own, adapter=None).adapted(scans[0]) is network
