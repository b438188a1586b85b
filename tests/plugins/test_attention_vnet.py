"""Attention VNet: against MONAI's generator, gates and heads against their formulas, planning."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kitsbench import registry
from kitsbench.architecture import KITS19, Progress, Task, configure
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import resolve
from kitsbench.experiments.plan.entrants import choose_entrants
from kitsbench.recipe import Coarsened, Preparation

vnet = registry.load("attention_vnet").architecture
assembly = registry.load("attention_vnet_assembly").architecture
TINY = {"width": 8 / 30}


def spec_of(patch=None, voxels=None, **config):
    return vnet.spec(configure(vnet, config), Task(KITS19, patch, voxels))


def network_of(patch, **config):
    torch.manual_seed(0)
    return vnet.build(spec_of(patch, **{**TINY, **config})).network.eval()


def layers(modules):
    """Convolutions and norms with parameters, in the order in which they are listed."""
    return [m for m in modules if isinstance(m, nn.Conv3d | nn.ConvTranspose3d | nn.InstanceNorm3d)]


def carry(source, target):
    for mine, theirs in zip(source, target, strict=True):
        assert type(mine) is type(theirs)
        with torch.no_grad():
            theirs.weight.copy_(mine.weight.add_(0.01 * torch.randn_like(mine.weight)))
            if theirs.bias is not None:
                theirs.bias.copy_(mine.bias)


def test_without_gates_and_deeper_heads_it_is_monais_unet():
    from monai.networks.nets import DynUNet

    patch = (16, 32, 32)
    network = network_of(patch, gates="off", supervision="none")
    strides = [(1, 1, 1), *network.strides]
    assert strides == [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2)]
    channels = [8, 16, 32, 64]
    reference = DynUNet(
        3,
        1,
        3,
        [3] * 4,
        strides,
        strides[1:],
        filters=channels,
        norm_name=("INSTANCE", {"affine": 1}),
    ).eval()
    # Its convolutions have no bias, which instance norm takes away; ours are zero at first.
    theirs = [*reference.input_block.modules()]
    for block in (*reference.downsamples, reference.bottleneck):
        theirs += block.modules()
    carry(layers(m for e in network.encoders for m in e.modules()), by_unit(layers(theirs)))
    for up, decoder, block in zip(
        reversed(network.ups), reversed(network.decoders), reference.upsamples, strict=True
    ):
        carry([up, *layers(decoder.modules())], regroup(layers(block.modules())))
    output = layers(reference.output_block.modules())[0]
    with torch.no_grad():
        output.weight.copy_(network.heads[0].weight)
        output.bias.zero_()
        image = torch.randn(2, 1, *patch)
        torch.testing.assert_close(network(image), reference(image), rtol=1e-3, atol=1e-4)


def by_unit(found):
    """MONAI lists a block's two convolutions, then its two norms."""
    return [
        m
        for i in range(0, len(found), 4)
        for m in (found[i], found[i + 2], found[i + 1], found[i + 3])
    ]


def regroup(found):
    return [found[0], *by_unit(found[1:])]


def gate_by_formula(gate, skip, signal, stride):
    """Section 2.3, from the gate's weights."""
    t = F.conv3d(skip, gate.theta.weight, stride=stride)
    q = F.conv3d(signal, gate.phi.weight, gate.phi.bias)
    psi = F.conv3d(F.relu(t + q), gate.psi.weight, gate.psi.bias)
    alpha = F.interpolate(torch.sigmoid(psi), skip.shape[2:], mode="trilinear")
    first, second = gate.output[0], gate.output[2]
    y = F.instance_norm(F.conv3d(alpha * skip, first.weight, first.bias))
    return alpha, F.relu(F.instance_norm(F.conv3d(y, second.weight, second.bias)))


@pytest.mark.parametrize("level", [0, 1])
def test_a_gate_is_its_formula(level):
    network = network_of((16, 32, 32), gate_init="he")
    gate, stride = network.gates[level], network.strides[level]
    skip = torch.randn(2, 8 * 2**level, 8, 16, 16)
    signal = torch.randn(
        2, 16 * 2**level, *(e // s for e, s in zip((8, 16, 16), stride, strict=True))
    )
    with torch.no_grad():
        alpha, expected = gate_by_formula(gate, skip, signal, stride)
        torch.testing.assert_close(gate.weight(skip, signal), alpha)
        torch.testing.assert_close(gate(skip, signal), expected)
    assert alpha.shape == (2, 1, 8, 16, 16)
    assert 0 < alpha.min() < alpha.max() < 1


@pytest.mark.parametrize(("rule", "constant"), [("open", True), ("he", False)])
def test_gates_begin_open(rule, constant):
    network = network_of((16, 16, 16), gate_init=rule)
    seen = []
    for gate in network.gates:
        gate.register_forward_hook(lambda m, args, out: seen.append(m.weight(*args)))
    with torch.no_grad():
        network(torch.randn(1, 1, 16, 16, 16))
    assert len(seen) == 2
    for alpha in seen:
        same = torch.allclose(alpha, torch.sigmoid(torch.tensor(3.0)).expand_as(alpha))
        assert same == constant


def test_gates_are_on_the_two_finest_skips_and_see_the_decoder_below():
    network = network_of((32, 32, 32))
    seen = []
    for gate in network.gates:
        gate.register_forward_hook(lambda m, args, out: seen.append([a.shape[1:] for a in args]))
    with torch.no_grad():
        network(torch.randn(1, 1, 32, 32, 32))
    assert seen == [
        [(16, 16, 16, 16), (32, 8, 8, 8)],
        [(8, 32, 32, 32), (16, 16, 16, 16)],
    ]


def test_heads_add_up_from_coarse_to_fine():
    network = network_of((32, 32, 32))
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        found = network(image)
        decoded = network.decode(image)
        total = network.heads[2](decoded[2])
        for level in (1, 0):
            total = F.interpolate(total, scale_factor=2.0, mode="trilinear", align_corners=False)
            total += network.heads[level](decoded[level])
    assert len(network.heads) == 3
    torch.testing.assert_close(found, total)


def test_deeper_heads_of_zero_leave_the_network_with_one_head():
    network = network_of((16, 24, 16))
    alone = network_of((16, 24, 16), supervision="none")
    alone.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        for head in network.heads[1:]:
            head.weight.zero_()
        image = torch.randn(1, 1, 16, 24, 16)
        torch.testing.assert_close(network(image), alone(image))


def test_auxiliary_heads_have_strides_and_are_gone_in_evaluation():
    spec = spec_of((16, 32, 32), supervision="aux", **TINY)
    assert [(h.name, h.stride, h.role) for h in spec.heads] == [
        ("segmentation", (1, 1, 1), "primary"),
        ("level1", (1, 2, 2), "auxiliary"),
        ("level2", (2, 4, 4), "auxiliary"),
    ]
    network = vnet.build(spec)
    image = {"image": torch.randn(1, 1, 16, 32, 32)}
    with torch.no_grad():
        shapes = {name: tuple(value.shape[2:]) for name, value in network.train()(image).items()}
        assert shapes == {head.name: head.shape for head in spec.heads}
        assert set(network.eval()(image)) == {"segmentation"}


@pytest.mark.parametrize(("patch", "inputs", "pools"), [
    ((48, 160, 160), (48, 160, 160), (3, 5, 5)),
    ((80, 128, 128), (80, 128, 128), (4, 5, 5)),
    ((32, 32, 32), (32, 32, 32), (3, 3, 3)),
    ((16, 30, 250), (16, 32, 256), (2, 3, 5)),
    ((4, 8, 8), (4, 8, 8), (0, 1, 1)),
])  # fmt: skip
def test_pools_follow_the_patch_and_thick_axes_wait(patch, inputs, pools):
    spec = spec_of(patch, **TINY)
    network = vnet.build(spec).network.eval()
    assert spec.grids[0].shape == inputs
    assert network.multiple == [2**count for count in pools]
    waiting = max(pools) - pools[0]
    assert [stride[0] for stride in network.strides] == [1] * waiting + [2] * pools[0]
    paper = pools == (3, 5, 5)
    assert bool(spec.notes) != paper
    with torch.device("meta"):
        assert vnet.build(spec).network(torch.empty(1, 1, *inputs)).shape[2:] == inputs


def test_an_input_between_the_multiples_is_padded_and_the_logits_are_cut():
    network = network_of((16, 16, 16))
    image = torch.randn(1, 1, 13, 16, 10)
    with torch.no_grad():
        whole = network(F.pad(image, (0, 2, 0, 0, 0, 3)))
        torch.testing.assert_close(network(image), whole[..., :13, :, :10])


@pytest.mark.parametrize(("config", "spacing", "flat"), [
    ({}, (3.0, 0.78, 0.78), [(1, 3, 3)]),
    ({}, None, [(1, 3, 3)]),
    ({"resolution": "low"}, None, []),
    ({}, (4.5, 4.5, 4.5), []),
    ({}, (5.0, 0.6, 0.6), [(1, 3, 3), (1, 3, 3), (1, 3, 3)]),
])  # fmt: skip
def test_flat_kernels_follow_the_spacing(config, spacing, flat):
    patch = None if config else (48, 160, 160)
    spec = spec_of(patch, spacing, kernels="auto", **config, **TINY)
    with torch.device("meta"):
        network = vnet.build(spec).network
    kernels = [encoder[0][0].kernel_size for encoder in network.encoders]
    assert kernels == flat + [(3, 3, 3)] * (6 - len(flat))
    # A decoder takes the kernel of the level below it.
    assert [decoder[0][0].kernel_size for decoder in network.decoders] == kernels[1:]


@pytest.mark.parametrize("batch", [False, True])
def test_the_loss_is_monais(batch):
    from monai.losses import DiceCELoss

    spec = spec_of((16, 16, 16), batch_dice="on" if batch else "off", size="tiny")
    logits, labels = torch.randn(2, 3, 8, 8, 8), torch.randint(0, 3, (2, 8, 8, 8))
    labels[0, :4] = 0
    total, parts = vnet.loss({"segmentation": logits}, {"segmentation": labels}, Progress(), spec)
    reference = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=batch)
    assert total.item() == pytest.approx(reference(logits, labels[:, None]).item(), abs=1e-5)
    assert set(parts) == {"dice", "cross_entropy"}


def test_auxiliary_losses_are_weighted_by_scale():
    spec = spec_of((32, 32, 32), supervision="aux", **TINY)
    outputs = {h.name: torch.randn(2, 3, *h.shape) for h in spec.heads}
    targets = vnet.targets({"image": torch.randint(0, 3, (2, 32, 32, 32))}, spec)
    total, parts = vnet.loss(outputs, targets, Progress(), spec)
    sums = [parts[f"{h.name}.dice"] + parts[f"{h.name}.cross_entropy"] for h in spec.heads]
    assert total.item() == pytest.approx(float(2 * sums[0] + sums[1]) / 3, abs=1e-5)


@pytest.mark.parametrize(("resolution", "patch", "spacing"), [
    ("full", (48, 160, 160), (3.0, 0.78, 0.78)),
    ("low", (80, 128, 128), (3.22, 1.62, 1.62)),
])  # fmt: skip
def test_the_papers_recipe_follows_the_resolution(resolution, patch, spacing):
    spec = spec_of(resolution=resolution, paper_lr="3e-5")
    assert spec.grids[0].shape == spec.paper.patch == patch
    assert spec.paper.spacing == spacing
    assert spec.paper.optimiser.lr == 3e-5
    assert spec.paper.preparation == Preparation("cubic", "linear", slices_from=3.0)
    assert spec.notes == ()
    rule = spec_of(resolution=resolution, spacing="rule").paper.spacing
    assert rule == {"full": "median", "low": Coarsened(patches=4, factor=2)}[resolution]


def test_the_assembly_trains_each_member_by_its_own_recipe(tmp_path):
    def entrants(recipe, text):
        request = Request(architectures=(text,), workdir=tmp_path, recipe=recipe)
        resolved = resolve(request, dict(KITS19), "cpu")
        return {e.name: e for e in choose_entrants(request, resolved, KITS19)}

    paper = entrants("paper", "attention_vnet_assembly:gates=off")
    low, full = (paper[f"attention_vnet:gates=off{rest}"] for rest in (",resolution=low", ""))
    assert low.recipe.spacing != full.recipe.spacing
    assert low.spec["gates"] == full.spec["gates"] == "off"
    matched = entrants("matched", "attention_vnet_assembly:size=small")
    members = [e for e in matched.values() if not e.spec.members]
    assert {e.spec["size"] for e in members} == {"small"}
    assert len({(e.recipe, e.spec.grids) for e in members}) == 1
    (ensemble,) = (e for e in matched.values() if e.spec.members)
    assert "only `--recipe paper` gives each its own" in ensemble.spec.notes[0]
