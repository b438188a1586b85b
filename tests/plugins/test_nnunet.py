"""nnU-Net: the plan, the networks that it makes, and what is learnt at each scale."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kitsbench_plugins.nnunet.plan import plan, total_stride
from torch import nn

from kitsbench import default_hooks, registry
from kitsbench.architecture import KITS19, KITS21, Progress, Task, configure

plain = registry.load("nnunet_plain").architecture
resenc = registry.load("nnunet_resenc").architecture
A, B, C = (1, 2, 2), (2, 2, 2), (2, 1, 1)


def made(architecture, patch, spacing=None, **config):
    torch.manual_seed(0)
    task = Task(KITS21, patch, spacing)
    spec = architecture.spec(configure(architecture, config), task)
    return architecture.build(spec), spec


@pytest.mark.parametrize(
    ("patch", "spacing", "strides", "flat"),
    [
        ((128, 128, 128), None, (B,) * 5, 0),
        ((80, 160, 160), (3.22, 1.62, 1.62), (B, B, B, B, A), 0),
        # The plan that nnU-Net publishes for prostates: slices 5.8 times thicker than wide.
        ((20, 320, 256), (3.6, 0.625, 0.625), (A, A, B, B, A, A), 2),
        ((16, 64, 64), (1.0, 1.0, 1.0), (B, B, A, A), 0),
        # The thick axis is left alone at the end: halved from 12 voxels on, not at 8.
        ((12, 8, 8), (3.0, 1.0, 1.0), (A, C), 1),
        ((8, 8, 8), (3.0, 1.0, 1.0), (A,), 1),
    ],
)
def test_strides_and_kernels_follow_patch_and_voxels(patch, spacing, strides, flat):
    planned = plan(patch, spacing, 9)
    assert planned.strides == strides
    assert planned.patch == patch
    assert planned.kernels == ((1, 3, 3),) * flat + ((3, 3, 3),) * (len(strides) + 1 - flat)


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(*[st.integers(1, 300)] * 3),
    st.tuples(*[st.floats(0.3, 9)] * 3),
    st.integers(2, 9),
)
def test_every_plan_keeps_four_voxels_and_stands(patch, spacing, most):
    planned = plan(patch, spacing, most)
    assert 2 <= planned.stages <= most
    total = total_stride(planned.strides)
    for edge, wanted, step in zip(planned.patch, patch, total, strict=True):
        assert edge >= wanted
        assert edge % step == 0
        assert step == 1 or edge // step >= 4
    assert planned.size_rule.admits(planned.patch)
    assert plan(planned.patch, spacing, most) == planned


def test_the_network_follows_the_voxels():
    thick, spec = made(plain, (16, 32, 32), (6.0, 1.0, 1.0), size="tiny")
    kernels = [
        stage[0].convs[0].all_modules[0].kernel_size for stage in thick.network.encoder.stages
    ]
    assert kernels == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert [head.stride for head in spec.heads] == [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    assert spec.spacing == (6.0, 1.0, 1.0)
    cubes, _ = made(plain, (16, 32, 32), size="tiny")
    assert cubes.network.encoder.strides[1] == [2, 2, 2]
    with torch.no_grad():
        outputs = thick({"image": torch.zeros(1, 1, 16, 32, 32)})
    assert {n: tuple(v.shape[2:]) for n, v in outputs.items()} == {
        h.name: h.shape for h in spec.heads
    }


def carried(source, target, kind):
    """Copy the parameters of one kind of layer in order."""
    pairs = [[m for m in n.modules() if isinstance(m, kind)] for n in (source, target)]
    for mine, theirs in zip(*pairs, strict=True):
        assert mine.weight.shape == theirs.weight.shape
        with torch.no_grad():
            mine.weight.add_(0.05 * torch.randn_like(mine.weight))
            theirs.weight.copy_(mine.weight)
            if theirs.bias is not None:
                mine.bias.add_(0.05 * torch.randn_like(mine.bias))
                theirs.bias.copy_(mine.bias)


def test_the_plain_network_is_monais():
    """Biases before an instance norm change nothing, so that MONAI's network may lack them."""
    from monai.networks.nets import DynUNet

    network, spec = made(plain, (16, 32, 32), size="tiny", deep_supervision="off")
    planned = plan((16, 32, 32), None, 9)
    norm = ("INSTANCE", {"affine": True, "eps": 1e-5})
    reference = DynUNet(
        3,
        1,
        spec.classes,
        planned.kernels,
        [1, *planned.strides],
        planned.strides,
        [16, 32, 64, 128],
        norm_name=norm,
    )
    # MONAI lists the decoder level by level, the package kind by kind.
    parts = network.network
    decoder = nn.ModuleList(
        nn.ModuleList([up, stage])
        for up, stage in zip(parts.decoder.transpconvs, parts.decoder.stages, strict=True)
    )
    ordered = nn.ModuleList([parts.encoder, decoder, parts.decoder.seg_layers])
    blocks = [reference.input_block, *reference.downsamples, reference.bottleneck]
    target = nn.ModuleList([*blocks, *reference.upsamples, reference.output_block])
    for kind in (nn.Conv3d, nn.InstanceNorm3d, nn.ConvTranspose3d):
        carried(ordered, target, kind)
    for up in parts.decoder.transpconvs:  # MONAI's have none
        nn.init.zeros_(up.bias)
    image = torch.randn(2, 1, 16, 32, 32)
    with torch.no_grad():
        found = network.eval()({"image": image})["segmentation"]
        torch.testing.assert_close(found, reference.eval()(image), rtol=1e-3, atol=1e-4)


def test_the_residual_network_has_the_packages_blocks():
    network, _ = made(resenc, (32, 32, 32), width=0.125)
    assert [len(stage.blocks) for stage in network.network.encoder.stages] == [1, 3, 4, 6]
    capped, _ = made(resenc, (32, 32, 32), width=0.125, block_cap=3)
    assert [len(stage.blocks) for stage in capped.network.encoder.stages] == [1, 3, 3, 3]
    block = network.network.encoder.stages[1].blocks[0]
    features = torch.randn(1, 4, 8, 8, 8)
    with torch.no_grad():
        # The second norm starts at zero: a block gives its shortcut, the mean of 8 voxels mixed.
        mixed = block.skip[1].all_modules(nn.functional.avg_pool3d(features, 2))
        torch.testing.assert_close(block(features), nn.functional.leaky_relu(mixed, 0.01))


@pytest.mark.parametrize("architecture", [plain, resenc])
def test_what_must_stay_at_every_width(architecture):
    network, spec = made(architecture, (32, 32, 32), width=0.25)
    parts = network.network
    assert parts.encoder.output_channels == [8, 16, 32, 64]
    per_stage = {len(stage.convs) for stage in parts.decoder.stages}
    assert per_stage == ({2} if architecture is plain else {1})
    if architecture is plain:
        assert {len(stage[0].convs) for stage in parts.encoder.stages} == {2}
    assert all(up.kernel_size == up.stride == (2, 2, 2) for up in parts.decoder.transpconvs)
    assert [head.stride for head in spec.heads] == [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
    assert "4 instead of 6" in spec.notes[0]
    # Parameters have one name each, so that a checkpoint holds them once.
    assert len(network.state_dict()) == len(list(network.parameters()))


def test_heads_are_weighted_by_halves():
    _, spec = made(plain, (128, 128, 128), width=0.125)
    weights = default_hooks.head_weights(spec, spec.stages[0])
    expected = [8 / 15, 4 / 15, 2 / 15, 1 / 15, 0]
    assert list(weights.values()) == pytest.approx(expected)
    assert [head.role for head in spec.heads] == ["primary"] + ["auxiliary"] * 4


def test_without_deep_supervision_one_head_is_left():
    network, spec = made(plain, (32, 32, 32), size="tiny", deep_supervision="off")
    deep, _ = made(plain, (32, 32, 32), size="tiny")
    assert [head.name for head in spec.heads] == ["segmentation"]
    coarse = sum(
        p.numel() for layer in deep.network.decoder.seg_layers[:-1] for p in layer.parameters()
    )
    count = [sum(p.numel() for p in n.parameters()) for n in (deep, network)]
    assert count[0] - count[1] == coarse > 0


@pytest.mark.parametrize("architecture", [plain, resenc])
def test_depth_is_at_most_what_is_asked_for(architecture):
    spec = architecture.spec(configure(architecture, {"depth": 3}), Task(patch=(64, 64, 64)))
    assert spec.size_rule.multiple == (4, 4, 4)
    assert spec.notes == ()


def test_an_input_between_the_multiples_is_padded_and_the_logits_are_cut():
    network, _ = made(plain, (16, 16, 16), size="tiny")
    image = torch.randn(1, 1, 13, 16, 18)
    whole = torch.zeros(1, 1, 16, 16, 20)
    whole[..., :13, :16, :18] = image
    with torch.no_grad():
        found, expected = network.eval()({"image": image}), network({"image": whole})
    assert torch.equal(found["segmentation"], expected["segmentation"][..., :13, :16, :18])


@pytest.mark.parametrize(
    ("name", "package", "command"),
    [
        ("nnunet_plain", "dynamic_network_architectures", "dynamic-network-architectures>=0.4"),
        ("smp_unet", "segmentation_models_pytorch_3d", "segmentation-models-pytorch-3d"),
    ],
)
def test_a_missing_package_is_told_with_the_command_that_gets_it(
    name, package, command, monkeypatch
):
    family = name.split("_")[0]
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks what cannot be imported
    monkeypatch.delitem(sys.modules, f"kitsbench_plugins.{family}.plugin", raising=False)
    entry = registry.load(name)
    assert entry.status == "missing dependency"
    assert "pip install" in entry.error
    assert command in entry.error


@pytest.mark.parametrize("labels", [KITS19, KITS21])
@pytest.mark.parametrize("batch", ["off", "on"])
def test_regions_are_learnt_by_a_sigmoid_each(labels, batch):
    from monai.losses import DiceLoss

    torch.manual_seed(0)
    config = configure(plain, {"size": "tiny", "regions": "on", "batch_dice": batch})
    spec = plain.spec(config, Task(labels, (16, 16, 16)))
    network = plain.build(spec)
    assert {head.kind for head in spec.heads} == {"regions"}
    channels = {KITS19: ((1, 2), (2,)), KITS21: ((1, 2, 3), (2, 3), (2,))}[labels]
    assert spec.primary.channels == channels
    truth = torch.randint(0, spec.classes, (2, 16, 16, 16))
    outputs = network({"image": torch.randn(2, 1, 16, 16, 16)})
    targets = plain.targets({"image": truth}, spec)
    total, _ = plain.loss(outputs, targets, Progress(), spec)
    dice = DiceLoss(sigmoid=True, batch=batch == "on", smooth_nr=1e-5, smooth_dr=1e-5)
    expected = torch.zeros(())
    for name, weight in default_hooks.head_weights(spec, spec.stages[0]).items():
        logits, target = outputs[name], targets[name]
        entropy = nn.functional.binary_cross_entropy_with_logits(logits, target)
        expected = expected + weight * (dice(logits, target) + entropy)
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-6)
    # Later regions overwrite earlier ones.
    sure = torch.stack([torch.isin(truth[0], torch.tensor(c)) for c in channels]).float()
    assert torch.equal(plain.decode({"segmentation": sure}, spec).long(), truth[0])


@pytest.mark.parametrize("architecture", [plain, resenc])
def test_a_batch_can_be_one_volume_for_the_dice_loss(architecture):
    from monai.losses import DiceCELoss

    found = {}
    truth, image = torch.randint(0, 4, (2, 16, 16, 16)), torch.randn(2, 1, 16, 16, 16)
    truth[1].clamp_(max=1)  # so that each sample has other shares
    for batch in ("off", "on"):
        settings = {"size": "tiny", "batch_dice": batch, "deep_supervision": "off"}
        network, spec = made(architecture, (16, 16, 16), **settings)
        outputs = network({"image": image})
        targets = architecture.targets({"image": truth}, spec)
        total, parts = architecture.loss(outputs, targets, Progress(), spec)
        reference = DiceCELoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=batch == "on",
            smooth_nr=1e-5,
            smooth_dr=1e-5,
        )
        expected = reference(outputs["segmentation"], truth[:, None])
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
        found[batch] = float(parts["dice"])
    assert found["on"] != found["off"]


def test_the_papers_recipe_is_made_for_the_patch_that_is_asked_for():
    spec = plain.spec(configure(plain), Task())
    assert spec.paper.spacing == "nnunet"
    assert spec.paper.optimiser.momentum == 0.99
    assert (spec.paper.patch, spec.paper.batch) == ((128, 128, 128), 2)
    flat = plain.spec(configure(plain), Task(KITS21, (32, 160, 160))).paper
    (turn,) = (t for t in flat.augmentation if t.name == "rotation")
    assert turn["degrees"] == (180.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("preset", "patch", "strides"),
    [
        ("M", (128, 128, 128), (B,) * 5),
        ("L", (160, 224, 192), (B,) * 5),
        # Seven stages: what is left of 192 voxels is halved no more.
        ("XL", (192, 256, 256), (*(B,) * 5, A)),
    ],
)
def test_presets_are_patches_that_are_planned_for_more_memory(preset, patch, strides):
    """By nnUNetPlannerResEncM, L and XL of nnU-Net v2.8.1 on the 489 scans of KiTS23."""
    spec = resenc.spec(configure(resenc, {"preset": preset}), Task())
    assert spec.grids[0].shape == spec.paper.patch == patch
    assert spec.paper.batch == 2
    assert plan(patch, (1.0, 0.7812, 0.7812), 9).strides == plan(patch, None, 9).strides == strides
    asked = resenc.spec(configure(resenc, {"preset": preset}), Task(KITS21, (32, 32, 32)))
    assert asked.grids[0].shape == asked.paper.patch == (32, 32, 32)
