"""MSAN: what it adds to the 3D U-Net, and nothing else; slabs, auxiliary heads, components."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsbench import registry
from kitsbench.architecture import KITS19, Progress, Task, configure
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import resolve
from kitsbench.experiments.plan.entrants import choose_entrants

unet3d = registry.load("unet3d").architecture
v1 = registry.load("msan_v1").architecture
v2 = registry.load("msan_v2").architecture
vote = registry.load("msan_vote").architecture
SLAB = (4, 512, 512)


def spec_of(architecture, patch=None, **config):
    return architecture.spec(configure(architecture, config), Task(KITS19, patch))


def module_of(architecture, patch, **config):
    """A network with running statistics that differ from those of a new one."""
    torch.manual_seed(0)
    spec = spec_of(architecture, patch, **{"size": "tiny", **config})
    module = architecture.build(spec)
    with torch.no_grad():
        module.train()({"image": torch.randn(2, 1, *spec.grids[0].shape)})
    return module.eval()


@pytest.mark.parametrize("patch", [(16, 16, 32), (4, 32, 32)])
@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        (v1, {}),
        (v1, {"msa_span": "all"}),
        (v2, {}),
        (v2, {"deep_supervision": "on", "res2_scale": 2}),
    ],
)
def test_weights_of_one_and_no_res2_leave_the_3d_unet_bit_for_bit(architecture, config, patch):
    network = module_of(architecture, patch, **config).network
    plain = module_of(unet3d, patch, paper_recipe="msan").network
    own = network.state_dict()
    plain.load_state_dict({name: own[name] for name in plain.state_dict()})
    image = torch.randn(2, 1, *patch)
    with torch.no_grad():
        assert not torch.allclose(network(image), plain(image))
        for attention in network.attention:
            attention.weight = torch.ones_like
        if network.res2 is not None:
            assert not torch.allclose(network(image), plain(image))
            network.res2.forward = lambda features: features.new_zeros(1)
        assert torch.equal(network(image), plain(image))


@pytest.mark.parametrize("source", ["fine", "sum"])
@pytest.mark.parametrize("span", ["next", "all"])
def test_the_attention_of_a_skip_is_its_formula(source, span):
    network = module_of(v1, (16, 16, 16), msa_source=source, msa_span=span).network
    with torch.no_grad():
        levels, _ = network.encode(torch.randn(2, 1, 16, 16, 16))
        seen = []
        for attention in network.attention:
            attention.register_forward_hook(lambda m, args, out: seen.append(out))
        network.decode(levels, (16, 16, 16))
        for level, found in enumerate(seen):
            fine, fused = levels[level], levels[level].clone()
            coarser = levels[level + 1 :] if span == "all" else [levels[level + 1]]
            projections = network.attention[level].projections
            for features, layer in zip(coarser, projections, strict=True):
                projected = F.conv3d(features, layer.weight, layer.bias)
                fused += F.interpolate(projected, fine.shape[2:], mode="trilinear")
            weight = 1 / (1 + torch.exp(-fused))
            assert weight.shape == fine.shape
            assert weight.min() < 0.5 < weight.max()  # signed projections go below one half
            expected = (fine if source == "fine" else fused) * weight
            torch.testing.assert_close(found, expected)
    assert len(seen) == 2


@pytest.mark.parametrize("scale", [2, 4])
def test_the_block_beside_the_bottom_is_res2net(scale):
    network = module_of(v2, (16, 16, 16), res2_scale=scale).network
    block = network.res2

    def layer(modules, x):
        convolution, norm = modules[0], modules[1]
        x = F.conv3d(x, convolution.weight, padding=convolution.kernel_size[0] // 2)
        statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias
        return F.batch_norm(x, *statistics, eps=norm.eps)

    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        levels, pooled = network.encode(image)
        first = F.relu(layer(block.first, pooled[-1]))
        groups = first.chunk(scale, 1)
        assert groups[0].shape[1] == 64 // scale
        results = []
        for index in range(scale - 1):
            before = groups[index] + results[-1] if results else groups[index]
            results.append(F.relu(layer(block.convolutions[index], before)))
        mixed = layer(block.last, torch.cat([*results, groups[-1]], 1))
        expected = F.relu(mixed + layer(block.shortcut, pooled[-1]))
        torch.testing.assert_close(block(pooled[-1]), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(levels[-1], network.encoders[-1](pooled[-1]) + expected)


def test_a_concatenated_block_is_brought_back_to_the_channels_of_the_bottom():
    network = module_of(v2, (16, 16, 16), res2_merge="concat").network
    with torch.no_grad():
        levels, pooled = network.encode(torch.randn(1, 1, 16, 16, 16))
        both = torch.cat([network.encoders[-1](pooled[-1]), network.res2(pooled[-1])], 1)
        expected = F.conv3d(both, network.merge.weight, network.merge.bias)
    torch.testing.assert_close(levels[-1], expected)


@pytest.mark.parametrize(
    ("depth", "taps"), [(4, {"pool2": 32, "pool3": 64}), (3, {"pool1": 16, "pool2": 32})]
)
def test_auxiliary_heads_follow_the_last_two_pools(depth, taps):
    module = module_of(v1, (32, 32, 32), deep_supervision="on", depth=depth)
    assert {name: head.head.in_channels for name, head in module.auxiliary.items()} == taps
    image = torch.randn(1, 1, 32, 32, 32)
    module.train()
    with torch.no_grad():
        outputs = module({"image": image})
        name, head = list(module.auxiliary.items())[-1]
        module.network.eval()
        pooled = module.network.encode(image)[1]
        logits = F.conv3d(pooled[-1], head.head.weight, head.head.bias)
        expected = F.interpolate(logits, (32, 32, 32), mode="trilinear")
        torch.testing.assert_close(module({"image": image})[name], expected)
    assert set(outputs) == {"segmentation", *taps}


def test_evaluation_needs_no_auxiliary_heads():
    module = module_of(v2, (16, 16, 16), deep_supervision="on")
    image = {"image": torch.randn(1, 1, 16, 16, 16)}
    with torch.no_grad():
        before = module(image)
        del module.auxiliary
        after = module(image)
    assert set(before) == set(after) == {"segmentation"}
    assert torch.equal(before["segmentation"], after["segmentation"])


@pytest.mark.parametrize("up", ["trilinear", "deconv"])
@pytest.mark.parametrize("patch", [(16, 16, 16), (4, 32, 40)])
def test_auxiliary_logits_have_the_size_of_the_input(up, patch):
    module = module_of(v1, patch, deep_supervision="on", ds_up=up).train()
    with torch.no_grad():
        outputs = module({"image": torch.randn(2, 1, *patch)})
    assert {tuple(values.shape) for values in outputs.values()} == {(2, 3, *patch)}


def foreground_dice(logits, labels):
    """One minus the mean over samples and foreground classes."""
    probabilities, terms = logits.softmax(1), []
    for sample in range(len(labels)):
        for value in (1, 2):
            u, v = probabilities[sample, value], (labels[sample] == value).float()
            terms.append(2 * (u * v).sum() / (u.sum() + v.sum() + 1e-5))
    return 1 - sum(terms) / len(terms)


@pytest.mark.parametrize(("fraction", "decays"), [(0.0, 0), (0.024, 0), (0.5, 20), (1.0, 40)])
def test_auxiliary_losses_decay_with_the_budget(fraction, decays):
    spec = spec_of(v1, (32, 32, 32), width=0.125, deep_supervision="on")
    outputs = {h.name: torch.randn(2, 3, 8, 8, 8) for h in spec.heads}
    labels = torch.randint(0, 3, (2, 8, 8, 8))
    labels[0][labels[0] == 2] = 0
    progress = Progress(fraction=fraction, stage_fraction=0.1)
    total, parts = v1.loss(outputs, {name: labels for name in outputs}, progress, spec)
    dice = {name: foreground_dice(logits, labels) for name, logits in outputs.items()}
    auxiliary = 0.95**decays * (0.3 * dice["pool2"] + 0.4 * dice["pool3"])
    assert total.item() == pytest.approx(float(dice["segmentation"] + auxiliary), abs=1e-5)
    assert set(parts) == {"dice", "pool2.dice", "pool3.dice"}


@pytest.mark.parametrize(
    ("patch", "thin_axis", "strides", "inputs"),
    [
        (SLAB, "pool", [(2, 2, 2), (2, 2, 2), (1, 2, 2)], SLAB),
        (SLAB, "keep", [(1, 2, 2)] * 3, SLAB),
        ((6, 64, 70), "pool", [(2, 2, 2), (1, 2, 2), (1, 2, 2)], (6, 64, 72)),
        ((64, 3, 64), "pool", [(2, 1, 2)] * 3, (64, 3, 64)),
        ((80, 128, 128), "pool", [(2, 2, 2)] * 3, (80, 128, 128)),
        ((12, 64, 64), "pool", [(1, 2, 2), (1, 2, 2), (2, 2, 2)], (12, 64, 64)),
    ],
)
def test_pools_of_slabs(patch, thin_axis, strides, inputs):
    for architecture, config in (
        (v1, {"thin_axis": thin_axis}),
        (unet3d, {"paper_recipe": "msan"}),
    ):
        if architecture is unet3d and thin_axis == "keep":
            continue
        spec = spec_of(architecture, patch, width=0.125, **config)
        assert spec.grids[0].shape == inputs
        with torch.device("meta"):
            network = architecture.build(spec).network
            assert [pool.kernel_size for pool in network.pools] == strides
            assert network(torch.empty(1, 1, *inputs)).shape == (1, 3, *inputs)
    assert ("slab" in " ".join(spec.notes)) == (min(patch) < 8)


@settings(max_examples=200, deadline=None)
@given(
    patch=st.tuples(st.integers(1, 20), st.integers(1, 80), st.integers(20, 80)),
    depth=st.integers(3, 4),
    thin_axis=st.sampled_from(["pool", "keep"]),
)
def test_an_answer_to_any_patch_is_admissible_and_stands(patch, depth, thin_axis):
    spec = spec_of(v1, patch, depth=depth, thin_axis=thin_axis)
    shape = spec.grids[0].shape
    assert spec.size_rule.admits(shape)
    assert spec_of(v1, shape, depth=depth, thin_axis=thin_axis) == spec


@pytest.mark.parametrize(("count", "sizes"), [(0, [40, 27, 8]), (1, [40]), (2, [40, 27])])
def test_the_largest_components_of_the_foreground_stay(count, sizes):
    labels = torch.zeros(12, 12, 12, dtype=torch.uint8)
    labels[:2, :4, :5] = 1
    labels[1, 1, 1:3] = 2  # part of the first kidney
    labels[6:9, :3, :3] = 1
    labels[10:, 10:, 10:] = 2
    for architecture in (v1, v2, vote):
        spec = spec_of(architecture, (16, 16, 16), keep_components=count)
        found = architecture.postprocess(labels, {}, (1.0, 1.0, 1.0), spec)
        assert int((found > 0).sum()) == sum(sizes)
        assert torch.equal(found[found > 0], labels[found > 0])
        assert (found == 2).sum() >= 2


def test_the_papers_recipe_is_slabs_of_four_slices():
    spec = spec_of(v2, None)
    assert spec.grids[0].shape == spec.paper.patch == SLAB
    assert spec.paper.intensity.resolve({}) == (-200.0, 500.0, -200.0, pytest.approx(1 / 700))
    factors = [spec.paper.schedule.at(p) for p in (0.0, 0.24, 0.26, 0.51, 0.76)]
    assert factors == pytest.approx([1, 1, 0.1, 0.01, 0.001])
    assert spec.paper.sampling.rule == "uniform"
    forced = spec_of(v1, None, fg_prob=0.5).paper.sampling
    assert (forced.rule, forced.fraction) == ("foreground", 0.5)
    assert spec_of(unet3d, None, paper_recipe="msan").paper == spec.paper


def test_the_vote_has_its_five_members(tmp_path):
    request = Request(architectures=("msan_vote",), workdir=tmp_path)
    entrants = choose_entrants(request, resolve(request, dict(KITS19), "cpu"), KITS19)
    assert [e.name for e in entrants] == [
        "msan_vote",
        "unet3d",
        "msan_v1",
        "msan_v1:deep_supervision=on",
        "msan_v2",
        "msan_v2:deep_supervision=on",
    ]
    assert entrants[0].spec.combine == "vote"
    spec = spec_of(vote, None, unet3d_recipe="msan", width=0.25)
    assert spec.members[0].settings("matched") == {"width": 0.25}
    assert spec.members[0].settings("paper") == {"paper_recipe": "msan", "width": 0.25}


@pytest.mark.parametrize("architecture", [v1, v2, vote])
def test_the_card_names_every_key(architecture):
    card = (files("kitsbench_plugins.msan") / "README.md").read_text()
    assert architecture.title in card
    assert all(f"`{key}`" in card for key in architecture.keys)


@pytest.mark.parametrize("architecture", [v1, v2])
def test_nothing_is_noted_at_paper_size(architecture):
    spec = architecture.spec(configure(architecture), registry.paper_task(architecture))
    assert spec.notes == ()
    counts = [registry.count_parameters(architecture, {"size": s}) for s in ("tiny", "small")]
    assert counts[0] < counts[1] < registry.count_parameters(architecture)
