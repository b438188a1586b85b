"""The single cascade network: sizes, alignment, stages, loss, decision, post-processing."""

from __future__ import annotations

import fnmatch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kitsbench_plugins.cascade_classifier.network import CascadeNetwork, TumorClassifier, ValidUNet
from kitsbench_plugins.cascade_classifier.plugin import class_weights
from kitsbench_plugins.unet3d.network import UNet3DNetwork
from torch.utils.flop_counter import FlopCounterMode

from kitsbench import registry
from kitsbench.architecture import KITS19, KITS21, Progress, Task, configure
from kitsbench.recipe import Schedule
from kitsbench.training.optimisation.stages import StageTracker, freeze, training_mode

architecture = registry.load("cascade_classifier").architecture
# Of the preset, what makes the networks small; what it leaves out of the method is there.
TINY = {"size": "tiny", "least_output": 1, "postprocess": "on", "lo_trainable_tail": "blocks"}


def spec_of(patch, labels=KITS19, **config):
    return architecture.spec(configure(architecture, config), Task(labels, patch))


def network_of(patch=(22, 22, 22), labels=KITS19, **config):
    torch.manual_seed(0)
    spec = spec_of(patch, labels, **{**TINY, **config})
    return architecture.build(spec), spec


def inputs_of(spec, size=1):
    return {grid.name: torch.randn(size, 1, *grid.shape) for grid in spec.grids}


@pytest.mark.parametrize(
    ("edge", "inputs", "output", "halvings"),
    [(108, 108, 20, 3), (100, 100, 12, 3), (96, 96, 56, 2), (48, 48, 8, 2), (32, 32, 16, 1)],
)
def test_the_papers_arithmetic_of_sizes(edge, inputs, output, halvings):
    spec = spec_of((edge,) * 3)
    assert [grid.shape for grid in spec.grids] == [(inputs,) * 3] * 2
    assert [head.shape for head in spec.heads] == [(output,) * 3] * 2 + [(1, 1, 1)]
    with torch.device("meta"):
        network = architecture.build(spec)
        assert len(network.high.ups) == len(network.low.ups) == halvings
        found = network({g.name: torch.empty(1, 1, *g.shape) for g in spec.grids})
    assert [tuple(found[h].shape[2:]) for h in ("hi", "lo")] == [(output,) * 3] * 2


def test_the_reduced_network_has_the_counted_parameters():
    config = {"width": 0.25, "depth": 3}
    task = Task(KITS19, (48, 48, 48))
    assert registry.count_parameters(architecture, config, task) == 803_685


def test_multiply_accumulates_of_a_patch():
    spec = spec_of((108, 108, 108))
    with torch.device("meta"):
        network = architecture.build(spec)
        inputs = {grid.name: torch.empty(1, 1, *grid.shape) for grid in spec.grids}
    with FlopCounterMode(display=False) as counter:
        network(inputs)
    assert counter.get_total_flops() / 2e9 == pytest.approx(228.4, abs=0.06)


@given(st.tuples(*[st.integers(1, 200)] * 3), st.sampled_from([2, 3, 4]))
@settings(max_examples=40, deadline=None)
def test_an_answer_to_any_patch_stands_and_keeps_five_voxels_at_the_bottom(patch, depth):
    spec = spec_of(patch, depth=depth)
    shape = spec.grids[0].shape
    assert spec.size_rule.admits(shape)
    assert spec_of(shape, depth=depth).grids == spec.grids
    with torch.device("meta"):
        network = architecture.build(spec)
    features = torch.empty(1, 1, *shape, device="meta")
    steps = len(network.high.ups)
    bottom = [(edge + 4) // 2**steps - 8 for edge in shape]
    assert min(bottom) >= 5
    if np.prod(shape) < 80**3:
        assert list(network.high.encode(features)[-1].shape[2:]) == bottom


@pytest.mark.parametrize("steps", [1, 2])
def test_both_nets_are_the_3d_unet_without_padding(steps):
    torch.manual_seed(0)
    mine = ValidUNet(1, 3, 4, steps).eval()
    reference = UNet3DNetwork(4, [(2, 2, 2)] * steps, 3, valid=True).eval()
    reference.load_state_dict(mine.state_dict())
    image = torch.randn(2, 1, *[8 * 2**steps - 4 + 5 * 2**steps] * 3)
    with torch.no_grad():
        torch.testing.assert_close(mine(image), reference(image))


def test_the_mask_is_repeated_about_the_common_centre_and_zero_outside():
    network = CascadeNetwork(3, 2, (4, 8), 2, (5, 5, 5), 4)
    low = torch.randn(2, 1, 20, 20, 20)
    mask = network.enlarged(low, (108, 108, 108))
    expected = np.pad(
        np.kron(low.sigmoid()[0, 0].numpy(), np.ones((4, 4, 4), np.float32)), (108 - 80) // 2
    )
    assert expected.shape == (108, 108, 108)
    np.testing.assert_array_equal(mask[0, 0].numpy(), expected)
    # A mask that is wider than the input is cut to its centre.
    cut = network.enlarged(low, (40, 40, 40))
    np.testing.assert_array_equal(cut[0, 0].numpy(), expected[34:74, 34:74, 34:74])


@pytest.mark.parametrize("fusion", ["skip0", "input_channel"])
def test_only_the_middle_of_the_coarse_output_reaches_the_fine_one(fusion):
    """By the skip 20 + 8 fine voxels an edge are seen, which is 28 / 4 rounded up to even."""
    network, _ = network_of((48, 48, 48), depth=3, grid_ratio=4, mask_fusion=fusion)
    network.eval()
    low = torch.zeros(1, 1, 8, 8, 8, requires_grad=True)
    network.low.forward = lambda image: low
    image = {"hi": torch.randn(1, 1, 48, 48, 48), "lo": torch.zeros(1, 1, 48, 48, 48)}
    network(image)["hi"].square().sum().backward()
    touched = low.grad[0, 0].abs() > 0
    reach = 4 if fusion == "skip0" else 8
    expected = torch.zeros(8, 8, 8, dtype=torch.bool)
    inner = slice((8 - reach) // 2, (8 + reach) // 2)
    expected[inner, inner, inner] = True
    assert torch.equal(touched, expected)


def test_evaluation_skips_work_but_gives_the_same():
    network, spec = network_of((32, 32, 32))
    network(inputs_of(spec, 2))  # moves the running statistics
    inputs = inputs_of(spec)
    network.eval()
    with torch.no_grad():
        quick = network(inputs)
        network.fixed_statistics = False
        whole = network(inputs)
    for name, value in whole.items():
        torch.testing.assert_close(quick[name], value, rtol=1e-4, atol=1e-5)


def test_a_larger_fine_tile_gives_the_same_voxels_where_the_pooling_phase_agrees():
    network, _ = network_of((32, 32, 32), mask_path="off")
    network.eval()
    image = torch.randn(1, 1, 36, 36, 36)
    with torch.no_grad():
        large = network.high(image)
        for offset, equal in ((0, True), (2, True), (4, True), (1, False)):
            cut = (slice(None),) * 2 + (slice(offset, offset + 32),) * 3
            inner = (slice(None),) * 2 + (slice(offset, offset + 16),) * 3
            small = network.high(image[cut])
            assert torch.allclose(small, large[inner], rtol=1e-4, atol=1e-5) == equal


@pytest.mark.parametrize(
    ("setting", "absent"),
    [
        ({"classifier": "off"}, "classifier"),
        ({"mask_path": "off"}, "mask_branch"),
        ({"mask_fusion": "input_channel"}, "mask_branch"),
    ],
)
def test_what_is_switched_off_is_not_there(setting, absent):
    network, spec = network_of(**setting)
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert names == {"low", "high", "classifier", "mask_branch"} - {absent}
    assert ("cls" in {head.name for head in spec.heads}) == (absent != "classifier")


def test_fine_losses_reach_the_coarse_net_through_the_mask():
    for path, reached in (("on", True), ("off", False)):
        network, spec = network_of(mask_path=path, staging="off")
        network(inputs_of(spec, 2))["hi"].square().sum().backward()
        gradients = [parameter.grad for parameter in network.low.parameters()]
        assert all((g is not None and g.abs().sum() > 0) == reached for g in gradients)


def test_the_classifier_sees_the_volume_that_the_net_finds():
    network, spec = network_of(classifier="on")
    inputs = inputs_of(spec, 2)
    network(inputs)["cls"].sum().backward()
    assert network.high.head.weight.grad.abs().sum() > 0
    seen = []
    network.classifier.register_forward_pre_hook(lambda module, values: seen.append(values[1]))
    for mean in (True, False):
        network.mean_volume = mean
        network(inputs)
    torch.testing.assert_close(seen[0] * 6**3, seen[1])
    assert seen[0].shape == (2, 1)


@pytest.mark.parametrize(
    ("tail", "patterns"),
    [
        ("blocks", ["low.decoders.1.*", "low.head.*"]),
        ("stages", ["low.ups.*", "low.decoders.*", "low.head.*"]),
        ("all", ["low.*"]),
    ],
)
def test_the_second_stage_trains_exactly_what_is_meant(tail, patterns):
    network, spec = network_of((48, 48, 48), depth=3, lo_trainable_tail=tail)
    first, second = spec.stages
    low = {id(p) for p in network.low.parameters()}
    assert {id(p) for p in freeze(network, first)} == low
    trained = {
        name for name, p in network.named_parameters() if id(p) in map(id, freeze(network, second))
    }
    expected = {
        name
        for name, _ in network.named_parameters()
        if not name.startswith("low.") or any(fnmatch.fnmatchcase(name, p) for p in patterns)
    }
    assert trained == expected
    if tail == "blocks":
        own = [n for n in trained if n.startswith("low.")]
        shapes = sorted(network.get_parameter(n).shape for n in own if n.endswith("weight"))
        assert sum(len(shape) == 5 for shape in shapes) == 3
        training_mode(network)
        modes = {m.training for m in network.low.encoders.modules() if hasattr(m, "momentum")}
        assert modes == {False}
    assert first.until == ("lo_overlap/lo_volume", 0.9)
    assert (first.share, second.share) == (0.3, 0.7)
    assert first.heads == ("lo",)


def test_in_the_first_stage_the_fine_net_costs_nothing():
    network, spec = network_of()
    inputs, calls = inputs_of(spec, 2), []
    network.high.encoders[0].register_forward_hook(lambda *_: calls.append(1))
    before = {k: v.clone() for k, v in network.state_dict().items() if k[:5] != "low.e"}
    freeze(network, spec.stages[0])
    training_mode(network)
    outputs = network(inputs)
    assert not calls
    assert {head.name: outputs[head.name].shape for head in spec.heads} == {
        "hi": (2, 3, 6, 6, 6),
        "lo": (2, 1, 6, 6, 6),
        "cls": (2, 1),
    }
    network.eval()
    network(inputs)
    assert calls
    after = network.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith(("high", "mask")))


def loss_of(spec, stage="all", seed=0, **labels):
    generator = torch.Generator().manual_seed(seed)
    outputs = {
        head.name: torch.randn(
            2,
            len(head.channels),
            *(head.shape if head.kind != "scalar" else ()),
            generator=generator,
        )
        for head in spec.heads
    }
    fields = {
        grid.name: labels.get(
            grid.name, torch.randint(0, spec.classes, (2, *grid.shape), generator=generator)
        )
        for grid in spec.grids
    }
    targets = architecture.targets(fields, spec)
    total, parts = architecture.loss(outputs, targets, Progress(stage), spec)
    return float(total), {k: float(v) for k, v in parts.items()}, outputs, targets


def test_the_loss_is_the_papers_sum():
    from monai.losses import DiceLoss
    from torch.nn import functional as F

    spec = spec_of((22, 22, 22), **TINY, top_k=1.0, class_weights="none")
    total, parts, outputs, targets = loss_of(spec)
    dice = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=0
    )
    fine = 0.2 * dice(outputs["hi"], targets["hi"].unsqueeze(1)) + 0.8 * F.cross_entropy(
        outputs["hi"], targets["hi"]
    )
    coarse = F.binary_cross_entropy_with_logits(outputs["lo"], targets["lo"])
    error = (outputs["cls"].sigmoid() - targets["cls"]).square().mean()
    assert total == pytest.approx(float(2 * fine + 2 * error + coarse), abs=1e-5)
    assert loss_of(spec, "low")[0] == pytest.approx(float(coarse), abs=1e-6)
    assert set(parts) == {"lo", "lo_overlap", "lo_volume", "hi.dice", "hi.cross_entropy", "cls"}


def test_mining_keeps_the_largest_losses():
    spec = spec_of((22, 22, 22), **TINY, class_weights="none")
    _, parts, outputs, targets = loss_of(spec)
    voxels = torch.nn.functional.cross_entropy(outputs["hi"], targets["hi"], reduction="none")
    kept = voxels.flatten().sort(descending=True).values[: int(0.7 * voxels.numel())]
    assert parts["hi.cross_entropy"] == pytest.approx(float(kept.mean()), abs=1e-5)


def test_class_weights_are_inverse_frequencies_of_the_batch():
    target = torch.tensor([0] * 80 + [1] * 20).reshape(1, 10, 10, 1)
    weights = class_weights(target, 3)
    assert weights[:2].tolist() == pytest.approx([0.4, 1.6])
    rare = class_weights(torch.tensor([0] * 999 + [2]).reshape(1, 10, 10, 10), 3)
    assert float(rare[2] / rare[0]) == pytest.approx(20.0)
    assert class_weights(torch.zeros(1, 2, 2, 2, dtype=torch.int64), 3)[0] == 1


@pytest.mark.parametrize("channels", [3, 4])
def test_class_weights_are_those_of_counting_one_by_one(channels):
    generator = torch.Generator().manual_seed(channels)
    for absent in [*range(channels), None]:
        shares = torch.rand(channels, generator=generator) ** 3 + 1e-3
        if absent is not None:
            shares[absent] = 0
        drawn = torch.multinomial(shares, 4000, replacement=True, generator=generator)
        counts = [int((drawn == c).sum()) for c in range(channels)]
        raw = [min(20.0, max(1.0, max(counts) / max(count, 1))) for count in counts]
        there = [weight for weight, count in zip(raw, counts, strict=True) if count]
        expected = [weight * len(there) / sum(there) for weight in raw]
        found = class_weights(drawn.reshape(2, 10, 20, 10), channels).tolist()
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_volume_of_many_voxels_stays_finite_in_half_precision(dtype):
    torch.manual_seed(0)
    classifier = TumorClassifier(8, (5, 5, 5), (16, 16, 16))
    bottom, volume = torch.randn(2, 8, 5, 5, 5), torch.tensor([[1e6], [0.0]])
    exact = classifier(bottom, volume)
    with torch.autocast("cpu", dtype):
        found = classifier(bottom.to(dtype), volume)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-2, atol=1e-2)


def test_targets_of_presence_and_union():
    spec = spec_of((22, 22, 22), KITS21, **TINY)
    labels = {name: torch.zeros(3, 22, 22, 22, dtype=torch.int64) for name in ("hi", "lo")}
    labels["hi"][0, 10, 10, 10] = 2  # in the output
    labels["hi"][1, 0, 0, 0] = 2  # in the input only
    labels["hi"][2, 10, 10, 10] = 3  # a cyst is no tumour
    for value in (1, 2, 3):
        labels["lo"][0, 10, 10, 7 + value] = value
    targets = architecture.targets(labels, spec)
    assert targets["cls"].flatten().tolist() == [1, 0, 0]
    assert targets["lo"].shape == (3, 1, 6, 6, 6)
    assert targets["lo"].flatten(1).sum(1).tolist() == [3, 0, 0]


def test_the_dice_that_ends_the_first_stage_is_of_pooled_counts():
    spec = spec_of((22, 22, 22), **TINY)
    empty = torch.zeros(2, 22, 22, 22, dtype=torch.int64)
    assert loss_of(spec, "low", lo=empty)[1]["lo_overlap"] == 0
    labels = empty.clone()
    labels[0, 8:14, 8:14, 8:14] = 1
    _, parts, outputs, targets = loss_of(spec, "low", lo=labels)
    found = outputs["lo"] > 0
    expected = 2 * (found * targets["lo"]).sum() / (found.sum() + targets["lo"].sum())
    assert parts["lo_overlap"] / parts["lo_volume"] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("steps", [300, 3000, 30000])
def test_a_fifth_of_empty_batches_neither_keeps_nor_ends_the_first_stage(steps):
    spec, rng = spec_of((22, 22, 22), **TINY), np.random.default_rng(0)
    empty = rng.random(int(0.3 * steps)) < 0.2

    def last(dice, spread):
        """Step at which a coarse network of this Dice ends its stage by the rule, or None."""
        tracker = StageTracker()
        for step, nothing in enumerate(empty):
            volume = 0.0 if nothing else float(rng.uniform(200, 2000))
            own = float(np.clip(rng.normal(dice, spread), 0, 1))
            parts = {"loss": 1.0, "lo_overlap": own * volume, "lo_volume": volume}
            tracker.observe(parts, Schedule(), step / steps)
            over = tracker.is_over((step + 1) / steps, spec.stages)
            if over is not None:
                return step if over[0] == "until" else None
        return None

    perfect = last(1.0, 0.0)
    assert perfect is not None
    assert perfect <= max(12, 0.016 * steps)
    assert last(0.8, 0.12) is None
    assert last(0.93, 0.05) is not None


@pytest.mark.parametrize("labels", [KITS19, KITS21])
def test_a_label_needs_more_than_half(labels):
    spec = spec_of((22, 22, 22), labels, **TINY)
    count = len(labels) + 1
    values = torch.full((count, 1, 1, count + 1), 0.4 / (count - 1))
    for channel in range(count):
        values[channel, 0, 0, channel] = 0.6
    values[1, 0, 0, count], values[0, 0, 0, count] = 0.45, 0.2  # the largest, but not half
    assert architecture.decode({"hi": values}, spec).flatten().tolist() == [*range(count), 0]


def test_postprocessing_keeps_kidneys_and_what_touches_them_near_the_mask():
    spec = spec_of((22, 22, 22), KITS21, **TINY)
    labels = torch.zeros(5, 5, 40, dtype=torch.uint8)
    labels[2, 2, 2:6] = 1  # kidney
    labels[2, 2, 6:8] = 2  # its tumour
    labels[2, 2, 8] = 3  # and a cyst on that
    labels[2, 2, 14] = 1  # a crumb on the same side
    labels[2, 2, 17] = 2  # a tumour by itself
    labels[2, 2, 24:28] = 1  # the other kidney
    labels[2, 2, 28] = 2  # its tumour, but far from the mask
    mask = torch.zeros(1, 5, 5, 40)
    mask[0, 2, 2, 4:26] = 0.9
    cleaned = architecture.postprocess(labels, {"lo": mask}, (4.0, 4.0, 4.0), spec)
    expected = labels.clone()
    expected[2, 2, [14, 17, 28]] = 0
    assert torch.equal(cleaned, expected)
    narrow = architecture.postprocess(labels, {"lo": mask}, (20.0, 20.0, 20.0), spec)
    expected[2, 2, [2, 3, 26, 27]] = 0
    assert torch.equal(narrow, expected)
    off = spec_of((22, 22, 22), KITS21, **{**TINY, "postprocess": "off"})
    assert torch.equal(architecture.postprocess(labels, {"lo": mask}, (4.0,) * 3, off), labels)


def test_the_papers_recipe():
    spec = spec_of((108, 108, 108))
    recipe = spec.paper
    assert [grid.ratio for grid in spec.grids] == [(1.0,) * 3, (4.0,) * 3]
    assert recipe.intensity.resolve({}) == pytest.approx((-500.0, 400.0, -500.0, 1 / 900))
    assert recipe.schedule.at(1.0) == pytest.approx(0.9**28)
    assert (recipe.sampling.rule, recipe.sampling.overlap) == ("lattice", 0.5)
    assert recipe.preparation.interpolation == "cubic"
    assert spec_of((32, 32, 32), **TINY).notes[-1].startswith("The coarse grid has 2 times")
