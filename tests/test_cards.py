"""Cards of architectures: the picture and the table are of the network that is built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kitsbench import registry
from kitsbench.architecture import configure

DOCS = Path(__file__).resolve().parents[1] / "docs"
pytest.importorskip("kitsbench_plugins")


@pytest.fixture(scope="module")
def docs():
    sys.path.insert(0, str(DOCS))
    try:
        import cards
        import network_diagram

        yield cards, network_diagram
    finally:
        sys.path.remove(str(DOCS))


def layers_of(diagram, name):
    plugin = registry.load(name).architecture
    spec = plugin.spec(configure(plugin, {}), registry.paper_task(plugin))
    return plugin, diagram.follow(plugin, spec)


@pytest.mark.parametrize("name", ["unet3d", "attention_vnet", "scau_unet", "cascade_classifier"])
def test_every_parameter_stands_in_the_table(docs, name):
    plugin, layers = layers_of(docs[1], name)
    found = docs[1].blocks(layers)
    listed = sum(block.parameters for block in found)
    assert listed == pytest.approx(registry.count_parameters(plugin), rel=0.002)
    assert f"{found[0].parameters:,}" in docs[1].table(found)


@pytest.mark.parametrize("name", ["unet3d", "scau_unet"])
def test_memory_is_what_torch_tracks(docs, name):
    """Torch's own tracker of modules, an independent count, over the same step."""
    import network_memory
    import torch
    from torch.distributed._tools.mem_tracker import MemTracker

    from kitsbench.registry.weightless import build_weightless
    from kitsbench.spec import Task
    from kitsbench.training.networks.meta import fake_values

    plugin = registry.load(name).architecture
    spec = plugin.spec(configure(plugin, {"size": "tiny"}), Task(patch=(32, 32, 32)))
    found = network_memory.memory_of(plugin, spec)
    network = build_weightless(plugin, spec)
    weights = sum(p.numel() * 4 for p in network.parameters())
    with fake_values():
        network.to_empty(device="cpu")
        network.train()
        tracker = MemTracker()
        tracker.track_external(network)
        with tracker:
            given = {n: torch.zeros(own) for n, own in spec.input_shapes(1).items()}
            outputs = network(given)
            del given
            total = torch.stack([one.float().sum() for one in outputs.values()]).sum()
            del outputs
            total.backward()
        (peak,) = tracker.get_tracker_snapshot("peak").values()
    assert found.batch == 1
    assert found.training - 2 * weights == pytest.approx(peak["Total"], rel=0.01)
    assert weights < found.inference < found.training


def test_memory_of_a_network_counted_by_hand(docs):
    """Two convolutions of 16 voxels an edge: input, and both sides of the activation, at once."""
    import network_memory
    from torch import nn

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv3d(1, 8, 3, padding=1), nn.Conv3d(8, 2, 1)

        def forward(self, given):
            return {"labels": self.last(self.first(given["image"]).relu())}

    map_, weights = 4 * 16**3, 4 * (8 * 27 + 8 + 2 * 8 + 2)
    found = network_memory.follow(Two(), {"image": (1, 1, 16, 16, 16)}, 1)
    assert found.inference == weights + (1 + 8 + 8) * map_
    # Backwards there are the input, the activation, its gradient, and that of what it is made of.
    assert found.training == pytest.approx(3 * weights + (1 + 8 + 8 + 8) * map_, rel=0.01)


def test_a_u_net_goes_down_and_up_and_joins_each_level_once(docs):
    _, layers = layers_of(docs[1], "unet3d")
    found = docs[1].blocks(layers)
    edges = [block.shape[1] for block in found]
    bottom = edges.index(min(edges))
    assert edges[: bottom + 1] == sorted(edges[: bottom + 1], reverse=True)
    assert edges[bottom:] == sorted(edges[bottom:])
    joined = [block for block in found if block.layers[0].joined]
    assert len(joined) == 3
    for block in joined:
        (source,) = block.layers[0].joined
        assert layers[source].shape[1:] == block.shape[1:]
    assert found[-1].shape[0] == 3  # the classes


def test_a_card_has_figures_settings_claims_and_boards(docs, tmp_path):
    text = docs[0].section("unet3d", tmp_path)
    assert "19,073,795" in text
    assert "| memory of a training step on a patch | 3.52 GiB |" in text
    assert "Measured on NVIDIA H200, 2026-11-26: 6.18 GiB in training, batch 2" in text
    assert (tmp_path / "unet3d.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "| `width` | `1.0` |" in text or "| `width` |" in text
    assert "CL-001-1" in text
    assert "synthetic scans" in text
    assert "ensemble of 2" in docs[0].section("attention_vnet_assembly", tmp_path)
