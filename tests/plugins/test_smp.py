"""Encoders and decoders of segmentation-models-pytorch-3d, at every depth."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from kitsbench_plugins.smp import network as parts
from kitsbench_plugins.smp.plugin import ENCODERS

from kitsbench import registry
from kitsbench.architecture import KITS19, Plain, Task, configure
from kitsbench.conformance.driven import surroundings
from kitsbench.training.failures import TrialFailure
from kitsbench.training.networks.initial import load_initial

DECODERS = {
    "unet": "Unet",
    "unetplusplus": "UnetPlusPlus",
    "fpn": "FPN",
    "linknet": "Linknet",
    "manet": "MAnet",
}
LIGHT = "efficientnet-b0"


def made(decoder, patch, **config):
    torch.manual_seed(0)
    architecture = registry.load(f"smp_{decoder}").architecture
    spec = architecture.spec(configure(architecture, config), Task(KITS19, patch))
    return architecture.build(spec).network, spec


def begin(decoder, network, spec):
    """Load the initial weights of a training."""
    architecture = registry.load(f"smp_{decoder}").architecture
    return load_initial(architecture, Plain(network), {}, spec, aloud=False)


@pytest.mark.parametrize("decoder", DECODERS)
def test_at_full_depth_it_is_the_packages_own_network(decoder):
    import segmentation_models_pytorch_3d as smp

    network, spec = made(decoder, (64, 64, 64), encoder=LIGHT)
    kind = getattr(smp, DECODERS[decoder])
    reference = kind(LIGHT, encoder_weights=None, in_channels=1, classes=3).eval()
    assert spec.notes == ()
    state = {
        name.replace("segmentation_head", "head"): value
        for name, value in reference.state_dict().items()
    }
    # Weights of the classifier that the package keeps and never uses are not here.
    lost = set(network.load_state_dict(state, strict=False).unexpected_keys)
    assert all(name.startswith(("encoder._conv_head", "encoder._bn1")) for name in lost)
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(image), reference(image))


@pytest.mark.parametrize(
    ("decoder", "encoder", "depth"),
    [
        *[(d, LIGHT, depth) for d in DECODERS for depth in (2, 3, 4) if d != "fpn" or depth > 3],
        *[("linknet", encoder, depth) for encoder in ENCODERS for depth in (2, 5)],
    ],
)
def test_every_depth_runs_and_keeps_the_size(decoder, encoder, depth):
    edge = 2 * 2**depth
    with torch.device("meta"):
        network, spec = made(decoder, (edge,) * 3, encoder=encoder, depth=depth)
        assert spec.size_rule.multiple == (2**depth,) * 3
        assert network(torch.empty(1, 1, edge, edge, edge)).shape[1:] == (3, edge, edge, edge)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_shallow_encoder_keeps_only_what_it_uses(encoder):
    torch.manual_seed(0)
    whole = parts.encoder(encoder, 5, "none").eval()
    cut = parts.encoder(encoder, 3, "none").eval()
    weights = {k: v for k, v in whole.state_dict().items() if k in cut.state_dict()}
    torch.nn.Module.load_state_dict(cut, weights)  # the package's own gives no report
    count = [sum(p.numel() for p in e.parameters()) for e in (whole, cut)]
    assert count[1] < count[0] / 2
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        for mine, theirs in zip(cut(image), whole(image), strict=False):
            torch.testing.assert_close(mine, theirs)
    sum(features.square().mean() for features in cut(image)[1:]).backward()
    assert [name for name, p in cut.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("decoder", "patch", "inputs", "depth"),
    [
        ("unet", (128, 128, 128), (128, 128, 128), 5),
        ("unet", (80, 128, 128), (96, 128, 128), 5),
        ("unet", (32, 32, 32), (32, 32, 32), 4),
        ("unet", (12, 32, 40), (12, 32, 40), 2),
        ("unet", (1, 1, 1), (8, 8, 8), 2),
        ("fpn", (32, 40, 64), (32, 48, 64), 4),
        ("fpn", (16, 16, 16), (16, 16, 32), 4),
    ],
)
def test_the_depth_follows_the_patch(decoder, patch, inputs, depth):
    architecture = registry.load(f"smp_{decoder}").architecture
    spec = architecture.spec(configure(architecture), Task(patch=patch))
    assert spec.grids[0].shape == inputs
    assert spec.size_rule.multiple == (2**depth,) * 3
    assert [f"{depth} halvings instead of 5" in note for note in spec.notes] == [True] * (depth < 5)


def test_an_input_between_the_multiples_is_padded_and_the_logits_are_cut():
    network, _ = made("unet", (16, 16, 16), size="tiny", encoder=LIGHT)
    image = torch.randn(1, 1, 13, 16, 18)
    whole = torch.zeros(1, 1, 16, 16, 24)
    whole[..., :13, :16, :18] = image
    with torch.no_grad():
        found, expected = network.eval()(image), network(whole)
    assert torch.equal(found, expected[..., :13, :16, :18])


@pytest.mark.parametrize(
    ("decoder", "channels"),
    [("unet", 4), ("unetplusplus", 4), ("fpn", 32), ("linknet", 8), ("manet", 4)],
)
def test_width_narrows_the_decoder_alone(decoder, channels):
    config = {"encoder": LIGHT, "depth": 4}
    wide, _ = made(decoder, (32, 32, 32), **config)
    narrow, _ = made(decoder, (32, 32, 32), width=0.25, **config)
    assert narrow.head[0].in_channels == channels < wide.head[0].in_channels
    sizes = [sum(p.numel() for p in n.encoder.parameters()) for n in (wide, narrow)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(("decoder", "own"), [("unet", 3), ("linknet", 1)])
def test_the_heads_kernel_is_a_key(decoder, own):
    edges = {"1": 1, "3": 3, None: own}
    for value, edge in edges.items():
        config = {} if value is None else {"head_kernel": value}
        network, _ = made(decoder, (16, 16, 16), encoder=LIGHT, depth=2, **config)
        assert network.head[0].kernel_size == (edge,) * 3
        assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_momentum_is_a_key():
    network, _ = made("unet", (16, 16, 16), size="tiny", encoder=LIGHT, bn_momentum=0.2)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert {norm.momentum for norm in norms} == {0.2}


def test_imagenet_weights_are_spread_along_the_new_axis(tmp_path, monkeypatch):
    """The file lies where torch keeps what it has downloaded, so nothing is asked for."""
    from segmentation_models_pytorch_3d.encoders import encoders
    from torchvision.models import resnet18

    flat = resnet18().state_dict()
    url = encoders["resnet18"]["pretrained_settings"]["imagenet"]["url"]
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(flat, folder / url.rsplit("/", 1)[1])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network, spec = made("linknet", (16, 16, 16), size="small", encoder_weights="imagenet")
    with surroundings.without_network() as asked:
        found = begin("linknet", network, spec)
    assert asked == []
    assert spec.pretrained_on == "ImageNet"
    assert (found.n_unexpected, found.n_misshapen) == (0, 0)
    assert not any(name.startswith("network.encoder.") for name in found.missing)
    weight = network.encoder.layer1[0].conv1.weight
    torch.testing.assert_close(weight.sum(-1), flat["layer1.0.conv1.weight"])
    assert torch.equal(weight[..., 0], weight[..., 2])
    # One channel instead of three colours.
    first = network.encoder.conv1.weight.sum(-1)
    torch.testing.assert_close(first, flat["conv1.weight"].sum(1, keepdim=True))


def test_weights_that_cannot_be_downloaded_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with surroundings.without_network() as asked:
        # Neither building nor predicting downloads anything.
        network, spec = made("linknet", (16, 16, 16), size="tiny", encoder_weights="imagenet")
        assert asked == []
        with pytest.raises(TrialFailure, match="encoder_weights=none"):
            begin("linknet", network, spec)


def test_loading_imports_no_package_that_only_building_needs():
    code = (
        "import sys; from kitsbench import registry\n"
        "for name in ('smp_unet', 'nnunet_plain'): registry.load(name).architecture\n"
        "print({'segmentation_models_pytorch_3d', 'timm', 'dynamic_network_architectures'}"
        ".isdisjoint(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
