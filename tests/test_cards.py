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
    assert (tmp_path / "unet3d.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "| `width` | `1.0` |" in text or "| `width` |" in text
    assert "CL-001-1" in text
    assert "synthetic scans" in text
    assert "ensemble of 2" in docs[0].section("attention_vnet_assembly", tmp_path)
