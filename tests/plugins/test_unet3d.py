"""3D U-Net: sizes, pools that follow the patch, and padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kitsbench_plugins.unet3d.network import UNet3DNetwork

from kitsbench import registry
from kitsbench.architecture import Task, configure

architecture = registry.load("unet3d").architecture


def spec_of(patch, **config):
    return architecture.spec(configure(architecture, config), Task(patch=patch))


@pytest.mark.parametrize(
    ("edge", "output", "depth"),
    [(108, 20, 4), (100, 12, 4), (92, 4, 4), (52, 12, 3), (48, 8, 3), (44, 4, 3), (20, 4, 2)],
)
def test_valid_convolutions_cut_what_the_arithmetic_says(edge, output, depth):
    spec = spec_of((edge,) * 3, padding="valid", width=0.125)
    assert spec.grids[0].shape == (edge,) * 3
    assert spec.primary.shape == (output,) * 3
    assert ("instead of 3x3x3" in " ".join(spec.notes)) == (depth < 4)


def test_the_original_patch_gives_the_original_output():
    spec = spec_of((116, 132, 132), padding="valid")
    assert spec.primary.shape == (28, 44, 44)


@pytest.mark.parametrize(
    ("patch", "padding", "inputs"),
    [
        ((96, 96, 96), "same", (96, 96, 96)),
        ((30, 33, 47), "same", (32, 32, 48)),
        ((12, 64, 64), "same", (12, 64, 64)),
        ((16, 16, 16), "same", (16, 16, 16)),
        ((1, 1, 1), "same", (8, 8, 8)),
        ((96, 96, 96), "valid", (100, 100, 100)),
    ],
)
def test_any_patch_finds_an_admissible_one(patch, padding, inputs):
    assert spec_of(patch, padding=padding).grids[0].shape == inputs


@pytest.mark.parametrize("padding", ["same", "valid"])
@settings(max_examples=200, deadline=None)
@given(patch=st.tuples(*[st.integers(1, 300)] * 3), depth=st.integers(2, 6))
def test_an_answer_to_any_patch_is_admissible_and_stands(patch, padding, depth):
    spec = spec_of(patch, padding=padding, depth=depth)
    assert spec.size_rule.admits(spec.grids[0].shape)
    assert spec_of(spec.grids[0].shape, padding=padding, depth=depth).grids == spec.grids
    assert min(spec.primary.shape) >= 1


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(*[st.integers(1, 140)] * 3),
    st.sampled_from(["same", "valid"]),
    st.integers(2, 5),
)
def test_the_bottom_keeps_four_voxels_and_the_output_fits_the_head(patch, padding, depth):
    spec = spec_of(patch, padding=padding, depth=depth, width=0.125)
    shape = spec.grids[0].shape
    with torch.device("meta"):
        network = architecture.build(spec).network
        features = torch.empty(1, 1, *shape)
        seen = {}
        network.encoders[-1].register_forward_hook(lambda m, i, o: seen.update(bottom=o.shape[2:]))
        output = network(features)
    assert tuple(output.shape[2:]) == spec.primary.shape
    assert min(seen["bottom"]) >= 4


def test_thick_slices_are_pooled_last_and_the_note_says_so():
    spec = spec_of((12, 64, 64))
    network = architecture.build(spec).network
    strides = [pool.kernel_size for pool in network.pools]
    assert strides == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]
    assert spec.notes == (
        "The pools follow the patch: 1x3x3 halvings (z, y, x) instead of 3x3x3, because 12x64x64 "
        "voxels leave no bottom edge of 4 with more.",
    )


@pytest.mark.parametrize("shape", [(17, 16, 21), (13, 30, 16)])
def test_an_input_between_the_multiples_is_padded_and_the_logits_are_cut(shape):
    torch.manual_seed(0)
    network = UNet3DNetwork(4, [(2, 2, 2)] * 2, 3).eval()
    image = torch.randn(1, 1, *shape)
    whole = torch.zeros(1, 1, *(-(-edge // 4) * 4 for edge in shape))
    whole[..., : shape[0], : shape[1], : shape[2]] = image
    with torch.no_grad():
        expected = network(whole)[..., : shape[0], : shape[1], : shape[2]]
        assert torch.equal(network(image), expected)


def test_valid_outputs_do_not_depend_on_the_size_of_the_input():
    """No padding: a larger input gives the same voxels, and more of them."""
    torch.manual_seed(0)
    network = UNet3DNetwork(4, [(2, 2, 2)] * 2, 3, valid=True).eval()
    image = torch.randn(1, 1, 48, 48, 48)
    with torch.no_grad():
        large, small = network(image), network(image[..., :44, 4:, 4:])
    assert large.shape[2:] == (8, 8, 8)
    torch.testing.assert_close(small, large[..., :4, 4:, 4:], rtol=1e-4, atol=1e-5)


def test_momentum_is_a_key():
    spec = spec_of((16, 16, 16), size="tiny", bn_momentum=0.2)
    norms = [m for m in architecture.build(spec).modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.2}
