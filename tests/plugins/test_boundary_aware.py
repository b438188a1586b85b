"""The boundary-aware network against MONAI's SegResNet, its gates, edges, regions and loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from kitsbench_plugins.boundary_aware.network import Gate, ResidualBlock, edge_voxels
from scipy import ndimage

from kitsbench import registry
from kitsbench.architecture import KITS19, KITS21, Progress, Task, configure

architecture = registry.load("boundary_aware").architecture


def spec_of(patch=(16, 16, 16), labels=KITS19, **config):
    return architecture.spec(configure(architecture, config), Task(labels, patch))


def network_of(patch=(16, 16, 16), labels=KITS19, **config):
    torch.manual_seed(0)
    spec = spec_of(patch, labels, **{"size": "tiny", **config})
    network = architecture.build(spec).eval()
    with torch.no_grad():  # no two layers may agree by their initial values
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network, spec


def parameters_of(block):
    """Of a residual block, in the order in which MONAI lists its own: norms, then convolutions."""
    first, second = block.layers[0], block.layers[3]
    return [
        *first.parameters(),
        *second.parameters(),
        block.layers[2].weight,
        block.layers[5].weight,
    ]


def copy(source, target):
    with torch.no_grad():
        for mine, theirs in zip(source, target, strict=True):
            theirs.copy_(mine)


def test_a_block_is_monais():
    from monai.networks.blocks.segresnet_block import ResBlock

    torch.manual_seed(0)
    mine = ResidualBlock(16)
    reference = ResBlock(3, 16, norm=("GROUP", {"num_groups": 8}))
    for parameter in mine.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    copy(parameters_of(mine), reference.parameters())
    features = torch.randn(2, 16, 6, 7, 8)
    torch.testing.assert_close(mine(features), reference(features))


@pytest.mark.parametrize("levels", [3, 4])
def test_without_the_stream_it_is_monais_segresnet(levels):
    from monai.networks.nets import SegResNet

    network, spec = network_of((32, 32, 48), levels=levels, boundary="off")
    blocks = (1,) * (levels - 1)
    reference = SegResNet(
        3, 8, 1, 2, norm=("GROUP", {"num_groups": 8}), blocks_down=(*blocks, 4), blocks_up=blocks
    ).eval()
    copy([network.first.weight], reference.convInit.parameters())
    for level, (encoder, theirs) in enumerate(
        zip(network.encoders, reference.down_layers, strict=True)
    ):
        mine = [network.downs[level - 1].weight] if level else []
        copy(mine + [p for block in encoder for p in parameters_of(block)], theirs.parameters())
    for mine, theirs in zip(network.reduce, reference.up_samples, strict=True):
        copy(mine.parameters(), theirs.parameters())
    for mine, theirs in zip(network.decoders, reference.up_layers, strict=True):
        copy(parameters_of(mine), theirs.parameters())
    ends = [*network.last.parameters(), *network.head.parameters()]
    copy(ends, reference.conv_final.parameters())
    image = torch.randn(1, 1, *spec.grids[0].shape)
    with torch.no_grad():
        found = network({"image": image})
        assert set(found) == {"segmentation"}
        torch.testing.assert_close(found["segmentation"], reference(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("maps", [1, 8])
@pytest.mark.parametrize("concat", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_a_gate_is_its_formula(kernel, maps, concat, residual):
    torch.manual_seed(0)
    gate = Gate(8, maps, kernel, concat=concat, residual=residual)
    boundary, encoded = torch.randn(2, 2, 8, 5, 5, 5)
    options = {"padding": kernel // 2}
    mine = F.conv3d(boundary, gate.boundary.weight, gate.boundary.bias, **options)
    theirs = F.conv3d(encoded, gate.encoder.weight, gate.encoder.bias, **options)
    met = torch.cat([mine, theirs], 1) if concat else mine + theirs
    weight = F.conv3d(F.relu(met), gate.attention.weight, gate.attention.bias).sigmoid()
    assert weight.shape == (2, maps, 5, 5, 5)
    expected = boundary * weight + (boundary if residual else 0)
    torch.testing.assert_close(gate(boundary, encoded), expected)


def test_the_stream_passes_every_resolution_as_the_paper_says():
    network, _ = network_of(levels=3)
    stream = network.stream
    encoded = [torch.randn(1, 8 * 2**k, *[16 // 2**k] * 3) for k in range(3)]

    def twice(features):
        return F.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)

    with torch.no_grad():
        features = torch.cat([twice(encoded[2]), encoded[1]], 1)
        features = stream.start[1](F.conv3d(features, stream.start[0].weight))
        features = stream.gates[0](features, encoded[1])
        features = stream.blocks[0](twice(F.conv3d(features, stream.reduce[0].weight)))
        features = stream.gates[1](features, encoded[0])
        torch.testing.assert_close(stream(encoded), features)


@pytest.mark.parametrize(
    ("patch", "levels", "gates"),
    [((8, 8, 8), 4, 2), ((16, 16, 16), 5, 2), ((32, 32, 32), 5, 3), ((64, 80, 64), 5, 4)],
)
def test_there_is_a_gate_at_every_resolution_of_the_stream(patch, levels, gates):
    spec = spec_of(patch, levels=levels)
    with torch.device("meta"):
        network = architecture.build(spec)
    assert len(network.stream.gates) == len(network.encoders) - 1 == gates
    assert [len(encoder) for encoder in network.encoders] == [1] * gates + [4]
    assert bool(spec.notes) == (gates < levels - 1)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_the_edge_of_a_cube_is_a_shell_of_two_voxels(n):
    region = torch.zeros(1, 1, 14, 14, 14)
    region[..., 3 : 3 + n, 3 : 3 + n, 3 : 3 + n] = 1
    assert edge_voxels(region).sum() == (n + 2) ** 3 - (n - 2) ** 3


def test_a_single_voxel_has_an_edge_around_it_only():
    region = torch.zeros(1, 1, 5, 5, 5)
    region[..., 2, 2, 2] = 1
    edges = edge_voxels(region)
    assert edges.sum() == 26
    assert edges[0, 0, 2, 2, 2] == 0


@given(st.tuples(*[st.integers(1, 7)] * 3), st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_edges_are_where_scipys_sobel_is_not_zero(shape, seed, share):
    region = (np.random.default_rng(seed).random((2, 2, *shape)) < share).astype(np.float64)
    found = edge_voxels(torch.from_numpy(region).float()).numpy()
    for sample in np.ndindex(2, 2):
        parts = [ndimage.sobel(region[sample], axis, mode="nearest") for axis in range(3)]
        np.testing.assert_array_equal(found[sample], np.sqrt(sum(p**2 for p in parts)) > 0)


def test_inner_edges_lie_inside():
    labels = torch.zeros(1, 16, 16, 16, dtype=torch.int64)
    labels[:, 4:10, 4:10, 4:10] = 1
    spec = spec_of(edge_target="inner")
    targets = architecture.targets({"image": labels}, spec)
    assert targets["boundary"][0, 0].sum() == 6**3 - 4**3
    assert (targets["boundary"] <= targets["segmentation"]).all()


@pytest.mark.parametrize(("fuse", "changes"), [("features", False), ("prob", True)])
def test_the_boundary_head_changes_the_regions_only_by_its_probabilities(fuse, changes):
    network, spec = network_of(fuse=fuse)
    image = {"image": torch.randn(1, 1, *spec.grids[0].shape)}
    with torch.no_grad():
        before = network(image)
        network.edges.bias += 3
        after = network(image)
    torch.testing.assert_close(after["boundary"], before["boundary"] + 3)
    assert torch.equal(after["segmentation"], before["segmentation"]) != changes


@pytest.mark.parametrize(
    ("config", "heads", "edges"),
    [
        ({}, ["segmentation", "boundary"], True),
        ({"edge_loss": "off"}, ["segmentation"], False),
        ({"edge_loss": "off", "fuse": "prob"}, ["segmentation"], True),
        ({"boundary": "off"}, ["segmentation"], False),
    ],
)
def test_what_is_switched_off_is_not_there(config, heads, edges):
    network, spec = network_of(**config)
    assert [head.name for head in spec.heads] == heads
    assert (network.edges is not None) == edges
    assert list(network({"image": torch.zeros(1, 1, *spec.grids[0].shape)})) == heads


@pytest.mark.parametrize(
    ("labels", "regions"),
    [(KITS19, ((1, 2), (2,))), (KITS21, ((1, 2, 3), (2, 3), (2,))), (KITS19[:1], ((1,),))],
)
def test_every_label_can_be_decoded(labels, regions):
    for nested in ("on", "off"):
        spec = spec_of(labels=labels, nest_regions=nested)
        assert spec.primary.channels == regions
        field = torch.randint(0, len(labels) + 1, (1, 16, 16, 16))
        target = architecture.targets({"image": field}, spec)["segmentation"][0]
        assert torch.equal(architecture.decode({"segmentation": target}, spec), field[0].byte())


def test_regions_may_be_nested():
    values = torch.tensor([[0.9, 0.4, 0.9, 0.2], [0.8, 0.8, 0.3, 0.1]]).reshape(2, 1, 1, 4)
    for nested, expected in (("off", [2, 2, 1, 0]), ("on", [2, 0, 1, 0])):
        spec = spec_of(nest_regions=nested)
        decided = architecture.decode({"segmentation": values}, spec)
        assert decided.flatten().tolist() == expected


def loss_of(spec, outputs, targets):
    total, parts = architecture.loss(outputs, targets, Progress(), spec)
    return total, parts


def test_the_loss_is_the_mean_over_the_regions():
    from monai.losses import DiceLoss

    torch.manual_seed(0)
    outputs = {name: torch.randn(2, 2, 16, 16, 16) for name in ("segmentation", "boundary")}
    labels = torch.zeros(2, 16, 16, 16, dtype=torch.int64)
    labels[:, 4:12, 4:12, 4:12], labels[:, 6:10, 6:10, 6:10] = 1, 2
    spec = spec_of()
    targets = architecture.targets({"image": labels}, spec)
    dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-5)
    expected = sum(dice(outputs[name], targets[name]) for name in outputs)
    for region in range(2):
        edge = targets["boundary"][:, region]
        found = outputs["boundary"][:, region].sigmoid()
        beta = 1 - edge.mean()
        voxels = beta * edge * found.log() + (1 - beta) * (1 - edge) * (1 - found).log()
        expected = expected - voxels.mean() / 2
    total, parts = loss_of(spec, outputs, targets)
    assert float(total) == pytest.approx(float(expected), abs=1e-5)
    assert set(parts) == {"segmentation.dice", "boundary.dice", "boundary.cross_entropy"}
    summed = loss_of(spec_of(edge_bce="sum"), outputs, targets)[1]["boundary.cross_entropy"]
    assert float(summed) == pytest.approx(16**3 * float(parts["boundary.cross_entropy"]), rel=1e-5)


@pytest.mark.parametrize(("smooth", "teaches"), [(0.0, False), (1.0, True)])
def test_an_absent_region_has_no_gradient_unless_smoothed(smooth, teaches):
    spec = spec_of(dice_num_smooth=smooth, boundary="off")
    logits = torch.zeros(1, 2, 16, 16, 16, requires_grad=True)
    targets = {"segmentation": torch.zeros(1, 2, 16, 16, 16)}
    total, _ = loss_of(spec, {"segmentation": logits}, targets)
    total.backward()
    assert bool(logits.grad.abs().sum() > 0) == teaches


@pytest.mark.parametrize(("width", "channels"), [(1.0, 16), (0.5, 8), (0.1, 8), (1.5, 24)])
def test_channels_are_multiples_of_the_eight_groups(width, channels):
    with torch.device("meta"):
        network = architecture.build(spec_of((32, 32, 32), width=width))
    assert network.first.out_channels == channels


@pytest.mark.parametrize("shape", [(17, 16, 21), (32, 18, 16)])
def test_an_input_between_the_multiples_is_padded_and_the_logits_are_cut(shape):
    network, _ = network_of()
    image = torch.randn(1, 1, *shape)
    padded = F.pad(image, [s for n in reversed(shape) for s in (0, -n % 4)])
    with torch.no_grad():
        found, whole = network({"image": image}), network({"image": padded})
    for name, values in found.items():
        assert tuple(values.shape[2:]) == shape
        assert torch.equal(values, whole[name][..., : shape[0], : shape[1], : shape[2]])


def test_the_papers_recipe():
    recipe = spec_of((176, 176, 176)).paper
    low, high, shift, scale = recipe.intensity.resolve({})
    assert [(hu - shift) * scale for hu in (low, 0, high)] == pytest.approx([-1, 0, 1])
    assert dict(recipe.sampling.weights) == {"tumor": 0.8, "foreground": 0.1, "background": 0.1}
    assert recipe.sampling.inside
    assert recipe.sampling.background_above == -500
    assert spec_of((16, 16, 16), background="any").paper.sampling.background_above is None
    assert recipe.schedule.at(0.5) == pytest.approx(0.5**0.9)
