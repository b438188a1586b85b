"""SCAU U-Net and Residual U-Net against MONAI's generator, on the same weights."""

from __future__ import annotations

import pytest
import torch

from kitsbench import registry
from kitsbench.architecture import KITS19, KITS21, Progress, Task, configure

residual = registry.load("residual_unet").architecture
scau = registry.load("scau_unet").architecture


def network_of(architecture, patch, labels=KITS21, **config):
    torch.manual_seed(0)
    spec = architecture.spec(configure(architecture, config), Task(labels, patch))
    return architecture.build(spec).network.eval(), spec


def carry(source, target):
    """Copy parameters in order; both list them from the first layer to the last."""
    pairs = list(zip(source.parameters(), target.parameters(), strict=True))
    with torch.no_grad():
        for mine, theirs in pairs:
            assert mine.shape == theirs.shape
            # No two layers may agree by their initial values.
            theirs.copy_(mine.add_(0.01 * torch.randn_like(mine)))


@pytest.mark.parametrize("labels", [KITS19, KITS21])
@pytest.mark.parametrize("width", [1.0, 0.25])
def test_the_residual_unet_is_monais(labels, width):
    from monai.networks.nets import UNet

    network, spec = network_of(residual, (32, 48, 32), labels, width=width)
    channels = [int(width * c) for c in (16, 32, 64, 128, 256)]
    reference = UNet(3, 1, spec.classes, channels, (2, 2, 2, 2), num_res_units=2).eval()
    carry(network, reference)
    image = torch.randn(2, 1, 32, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(image), reference(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("preset", "depth", "width", "counts"),
    [
        ("paper", 0, 0.5, (32, 64, 128, 128)),
        ("paper", 4, 0.25, (32, 64, 128, 128, 128)),  # beyond the preset as wide as its last
        ("repo", 0, 0.125, (64, 128, 256, 512, 512)),
    ],
)
def test_the_control_of_scau_is_monais_unet_with_a_wide_top(preset, depth, width, counts):
    from monai.networks.nets import UNet

    config = {"attention": "off", "logit_prelu": "off", "preset": preset}
    config |= {"width": width, "depth": depth}
    network, spec = network_of(scau, (32, 32, 32), **config)
    channels = [int(width * count) for count in counts]
    strides = (2,) * (len(channels) - 1)
    reference = UNet(3, 1, 2 * channels[0], channels, strides, num_res_units=0).eval()
    head = torch.nn.Conv3d(2 * channels[0], spec.classes, 1, bias=False)
    carry(network, torch.nn.Sequential(reference, head))
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        expected = head(reference(image))
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)


def test_attention_that_is_one_everywhere_leaves_the_control():
    network, _ = network_of(scau, (16, 16, 16), width=0.25)
    control, _ = network_of(scau, (16, 16, 16), width=0.25, attention="off")
    control.load_state_dict(network.state_dict(), strict=False)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(network(image), control(image))
        for name in ("first_attention", "last_attention", "bottom_attention"):
            getattr(network, name).forward = lambda features: features.new_ones(1)
        torch.testing.assert_close(network(image), control(image))


def test_attention_maps_lie_between_zero_and_one_with_the_right_shapes():
    network, _ = network_of(scau, (16, 32, 32), width=0.5)
    maps = {}
    for name in ("first_attention", "last_attention", "bottom_attention"):
        getattr(network, name).register_forward_hook(
            lambda module, inputs, output, name=name: maps.update({name: output})
        )
    with torch.no_grad():
        network(torch.randn(2, 1, 16, 32, 32))
    assert maps["first_attention"].shape == (2, 1, 8, 16, 16)
    assert maps["last_attention"].shape == (2, 1, 16, 32, 32)
    assert maps["bottom_attention"].shape == (2, 64, 1, 1, 1)
    for values in maps.values():
        assert values.min() > 0
        assert values.max() < 1


def test_the_first_spatial_attention_of_a_constant_image_is_constant_inside():
    network, _ = network_of(scau, (32, 32, 32), width=0.25)
    with torch.no_grad():
        weight = network.first_attention(torch.full((1, 1, 32, 32, 32), 0.7))
    inside = weight[..., 2:-2, 2:-2, 2:-2]
    assert torch.allclose(inside, inside.flatten()[0].expand_as(inside))
    assert not torch.allclose(weight, inside.flatten()[0].expand_as(weight))


def test_the_logit_prelu_bends_negative_logits():
    network, _ = network_of(scau, (16, 16, 16), width=0.25)
    plain, _ = network_of(scau, (16, 16, 16), width=0.25, logit_prelu="off")
    plain.load_state_dict(network.state_dict(), strict=False)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        bare, bent = plain(image), network(image)
    torch.testing.assert_close(bent, torch.where(bare < 0, 0.25 * bare, bare))


@pytest.mark.parametrize(
    ("architecture", "patch", "inputs", "halvings"),
    [
        (scau, (64, 128, 128), (64, 128, 128), (3, 3, 3)),
        (scau, (16, 16, 16), (16, 16, 16), (3, 3, 3)),
        (scau, (8, 20, 32), (8, 24, 32), (2, 3, 3)),
        (residual, (64, 160, 160), (64, 160, 160), (4, 4, 4)),
        (residual, (32, 48, 40), (32, 48, 48), (4, 4, 4)),
        (residual, (16, 32, 32), (16, 32, 32), (3, 4, 4)),
    ],
)
def test_strides_follow_the_patch(architecture, patch, inputs, halvings):
    network, spec = network_of(architecture, patch, size="tiny")
    assert spec.grids[0].shape == inputs
    assert network.multiple == [2**count for count in halvings]
    assert bool(spec.notes) == (min(halvings) < max(halvings))
    with torch.no_grad():
        assert tuple(network(torch.zeros(1, 1, *inputs)).shape[2:]) == inputs


def test_the_bottom_has_as_many_channels_as_the_last_encoder():
    network, _ = network_of(scau, (16, 16, 16), depth=2, width=0.5)
    assert [encoder[0].out_channels for encoder in network.encoders] == [16, 32]
    assert network.bottom[0].out_channels == 32


@pytest.mark.parametrize("architecture", [scau, residual])
@pytest.mark.parametrize("background", ["on", "off"])
def test_the_loss_is_monais(architecture, background):
    from monai.losses import DiceCELoss

    config = configure(architecture, {"size": "tiny", "dice_background": background})
    spec = architecture.spec(config, Task(KITS21, (16, 16, 16)))
    logits, labels = torch.randn(2, 4, 8, 8, 8), torch.randint(0, 4, (2, 8, 8, 8))
    total, parts = architecture.loss(
        {"segmentation": logits}, {"segmentation": labels}, Progress(), spec
    )
    reference = DiceCELoss(include_background=background == "on", to_onehot_y=True, softmax=True)
    assert total.item() == pytest.approx(reference(logits, labels.unsqueeze(1)).item(), abs=1e-5)
    assert set(parts) == {"dice", "cross_entropy"}


def test_the_papers_recipe_follows_its_keys():
    spec = scau.spec(configure(scau, {"paper_lr": "0.001", "preset": "repo"}), Task())
    assert spec.paper.optimiser.lr == 1e-3
    assert spec.paper.patch == (64, 160, 160)
    assert spec.paper.intensity.resolve({})[:2] == (-80.0, 305.0)
    # As its code cuts scans and draws crops: by the voxels above the window's lower end.
    assert spec.paper.preparation.crop_above == -80
    assert spec.paper.sampling.background_above == -80
    assert spec.paper.sampling.inside
