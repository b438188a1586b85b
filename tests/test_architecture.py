"""The contract: size rules, specs, and what the hooks do by default."""

from __future__ import annotations

import json
from dataclasses import replace

import architectures
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kitsbench.architecture import (
    KITS19,
    KITS21,
    Architecture,
    Head,
    Plain,
    Progress,
    SizeRule,
    Spec,
    Stage,
    Task,
    configure,
    softmax_spec,
)
from kitsbench.conformance.driven.subject import batch, outputs_of, trained_by
from kitsbench.default_hooks import head_weights
from kitsbench.errors import ContractError
from kitsbench.training.networks.build import build_network


def spec_of(kind, patch=None, labels=KITS19):
    architecture = kind()
    return architecture, architecture.spec(configure(architecture), Task(labels, patch))


# --- size rules --------------------------------------------------------------------------------

edges = st.integers(1, 200)
rules = st.builds(
    lambda multiple, offset, shrink, minimum: SizeRule(
        (multiple,) * 3, (offset % multiple,) * 3, (shrink,) * 3, (minimum,) * 3
    ),
    st.integers(1, 32),
    st.integers(0, 31),
    st.integers(0, 40),
    st.integers(1, 100),
)


@given(rules, st.tuples(edges, edges, edges))
def test_the_nearest_shape_is_admissible_and_none_is_nearer(rule, shape):
    inputs, outputs = rule.nearest(shape)
    assert rule.admits(inputs)
    for wanted, edge, output in zip(shape, inputs, outputs, strict=True):
        assert (edge - rule.offset[0]) % rule.multiple[0] == 0
        assert edge >= rule.minimum[0]
        assert edge - output == rule.shrink[0]
        nearer = [
            e
            for e in range(max(rule.minimum[0], wanted - abs(edge - wanted) + 1), 400)
            if (e - rule.offset[0]) % rule.multiple[0] == 0 and abs(e - wanted) < abs(edge - wanted)
        ]
        assert not nearer


def test_of_two_equally_near_shapes_the_larger_is_taken():
    assert SizeRule(multiple=(8, 8, 8)).nearest((20, 20, 20))[0] == (24, 24, 24)


# --- specs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*architectures.COVERAGE, architectures.Mean, architectures.Vote])
def test_every_spec_is_data(kind):
    _, spec = spec_of(kind)
    assert json.loads(json.dumps(spec.to_dict()))["labels"] == [["kidney", 1], ["tumor", 2]]
    assert spec == spec_of(kind)[1]
    assert hash(spec) == hash(spec_of(kind)[1])
    assert spec.digest() == spec_of(kind)[1].digest()
    assert spec.digest() != spec_of(kind, labels=KITS21)[1].digest()


def test_a_spec_gives_its_configuration_and_classes():
    spec = Spec(config=(("width", 0.5),), labels=KITS21)
    assert spec["width"] == 0.5
    assert spec.classes == 4
    with pytest.raises(KeyError):
        _ = spec["depth"]


def test_the_smallest_architecture_has_one_grid_and_one_softmax_head():
    _, spec = spec_of(architectures.Smallest, (12, 20, 16), KITS21)
    assert [(g.name, g.shape) for g in spec.grids] == [("image", (12, 20, 16))]
    assert spec.primary == Head("segmentation", "softmax", ((0,), (1,), (2,), (3,)), (12, 20, 16))


def test_without_a_patch_the_papers_is_taken():
    _, spec = spec_of(architectures.Smallest)
    assert spec.grids[0].shape == Architecture.paper_patch == (128, 128, 128)


def test_an_architecture_without_build_says_so():
    architecture = Architecture()
    spec = architecture.spec(configure(architecture), Task())
    with pytest.raises(ContractError, match="Architecture does not define build"):
        architecture.build(spec)


def test_plain_serves_one_grid_and_one_head():
    network = Plain(torch.nn.Identity(), grid="fine", head="out")
    image = torch.randn(1, 1, 2, 2, 2)
    assert torch.equal(network({"fine": image})["out"], image)


# --- what the coverage table asks for ----------------------------------------------------------


@pytest.mark.parametrize("labels", [KITS19, KITS21], ids=["kits19", "kits21"])
@pytest.mark.parametrize("kind", architectures.COVERAGE)
def test_every_row_of_the_coverage_table_goes_from_scan_to_label_map(kind, labels):
    architecture, spec = spec_of(kind, (16, 16, 24), labels)
    network = build_network(architecture, spec, 0, 0, torch.device("cpu"))
    inputs, truth = batch(spec)
    outputs = outputs_of(network, inputs, spec)
    targets = architecture.targets(truth, spec)
    for stage in spec.stages:
        loss, parts = architecture.loss(outputs, targets, Progress(stage.name), spec)
        assert torch.isfinite(loss)
        assert parts
        assert trained_by(stage, network)
    volume = (5, 6, 7)
    maps = {}
    for head in spec.heads:
        if head.role == "primary" or head.at_inference:
            logits = torch.randn(len(head.channels), *volume)
            maps[head.name] = logits.softmax(0) if head.kind == "softmax" else logits.sigmoid()
    decided = architecture.decode(maps, spec)
    assert decided.dtype == torch.uint8
    extra = {name: maps[name] for name in maps if name != spec.primary.name}
    cleaned = architecture.postprocess(decided, extra, (3.0, 1.0, 1.0), spec)
    assert cleaned.shape == volume
    assert set(cleaned.unique().tolist()) <= {0, *(value for _, value in labels)}


def test_two_grids_share_their_centre():
    """An edge of the coarse grid's network input at the centre is felt at the output's centre."""
    architecture, spec = spec_of(architectures.TwoGrids, (16, 16, 16))
    torch.manual_seed(0)
    network = architecture.build(spec).eval()
    inputs = {grid.name: torch.zeros(1, 1, *grid.shape) for grid in spec.grids}
    quiet = network(inputs)["segmentation"]
    inputs["context"][..., 7:9, 7:9, 7:9] = 1
    changed = (network(inputs)["segmentation"] - quiet).abs().sum(1)[0] > 1e-7
    places = changed.nonzero().float()
    assert len(places)
    assert torch.allclose((places.amin(0) + places.amax(0)) / 2, torch.tensor(7.5))


def test_the_cascade_masks_its_input_and_learns_through_the_mask():
    architecture, spec = spec_of(architectures.Cascade, (24, 24, 24))
    torch.manual_seed(0)
    network = architecture.build(spec)
    inputs, _ = batch(spec)
    network(inputs)["segmentation"].sum().backward()
    assert network.coarse.last[1].weight.grad.abs().sum() > 0


# --- targets -----------------------------------------------------------------------------------


def labels_of(shape, seed=0, classes=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, classes, (2, *shape), generator=generator)


def test_softmax_targets_are_channel_indices_of_the_centre():
    architecture, spec = spec_of(architectures.Valid, (12, 14, 16))
    labels = labels_of((12, 14, 16), classes=3)
    target = architecture.targets({"image": labels}, spec)["segmentation"]
    assert torch.equal(target, labels[:, 2:-2, 2:-2, 2:-2])


def test_labels_beyond_the_task_are_background():
    architecture, spec = spec_of(architectures.Smallest, (4, 4, 4))
    target = architecture.targets({"image": torch.full((1, 4, 4, 4), 3)}, spec)["segmentation"]
    assert target.sum() == 0


def test_region_targets_overlap():
    architecture, spec = spec_of(architectures.Regions, (4, 4, 4), KITS21)
    labels = labels_of((4, 4, 4))
    target = architecture.targets({"image": labels}, spec)["segmentation"]
    assert spec.primary.channels == ((1, 2, 3), (2,), (3,))
    expected = torch.stack([labels > 0, labels == 2, labels == 3], 1).float()
    assert torch.equal(target, expected)


@pytest.mark.parametrize("kind", architectures.COVERAGE)
def test_labels_may_be_bytes(kind):
    architecture, spec = spec_of(kind, labels=KITS21)
    labels = {grid.name: labels_of(grid.shape) for grid in spec.grids}
    wide = architecture.targets(labels, spec)
    narrow = architecture.targets({k: v.to(torch.uint8) for k, v in labels.items()}, spec)
    for name, target in wide.items():
        assert target.dtype == narrow[name].dtype
        assert torch.equal(target, narrow[name]), name


def test_what_inference_mode_has_kept_serves_training():
    architecture, spec = spec_of(architectures.Regions, (4, 4, 6), KITS21)
    labels = {"image": labels_of((4, 4, 6))}
    with torch.inference_mode():
        architecture.targets(labels, spec)
    logits = torch.randn(2, 3, 4, 4, 6, requires_grad=True)
    outputs, targets = {"segmentation": logits}, architecture.targets(labels, spec)
    architecture.loss(outputs, targets, Progress(spec.stages[0].name), spec)[0].backward()
    assert torch.isfinite(logits.grad).all()


def test_coarse_targets_take_the_voxel_next_to_the_middle_of_each_block():
    architecture, spec = spec_of(architectures.DeepSupervision, (8, 8, 8))
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    labels[:, 2::4, 2::4, 2::4] = 1
    labels[:, 1::2, 1::2, 1::2] = 2
    targets = architecture.targets({"image": labels}, spec)
    assert torch.equal(targets["every4"], torch.ones(1, 2, 2, 2, dtype=torch.int64))
    assert torch.equal(targets["every2"], torch.full((1, 4, 4, 4), 2))
    assert torch.equal(targets["segmentation"], labels)


@pytest.mark.parametrize("kind", ["boundary", "scalar"])
def test_heads_that_only_the_plugin_understands_need_its_targets(kind):
    spec = softmax_spec({}, Task(patch=(4, 4, 4)), SizeRule(), (4, 4, 4))
    spec = replace(spec, heads=(replace(spec.primary, kind=kind, name="own"),))
    with pytest.raises(ContractError, match=r"'own'.*override targets"):
        Architecture().targets({"image": torch.zeros(1, 4, 4, 4)}, spec)


# --- loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [KITS19, KITS21])
def test_the_default_loss_is_dice_and_cross_entropy(labels):
    from monai.losses import DiceCELoss

    architecture, spec = spec_of(architectures.Smallest, (6, 6, 6), labels)
    classes = spec.classes
    logits, target = torch.randn(2, classes, 6, 6, 6), labels_of((6, 6, 6), classes=classes)
    total, parts = architecture.loss(
        {"segmentation": logits}, {"segmentation": target}, Progress(), spec
    )
    reference = DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5
    )
    assert total.item() == pytest.approx(reference(logits, target.unsqueeze(1)).item(), abs=1e-5)
    assert total.item() == pytest.approx(sum(float(part) for part in parts.values()), abs=1e-5)
    assert set(parts) == {"dice", "cross_entropy"}


def test_heads_of_several_strides_get_halving_weights_and_the_coarsest_none():
    _, spec = spec_of(architectures.DeepSupervision, (16, 16, 16))
    weights = head_weights(spec, spec.stages[0])
    assert weights["segmentation"] == pytest.approx(2 / 3)
    assert weights["every2"] == pytest.approx(1 / 3)
    assert weights["every4"] == 0


@pytest.mark.parametrize("kind", ["softmax", "regions"])
def test_five_scales_get_the_weights_of_nnunet(kind):
    head = Head("0", kind, ((0,), (1,)), (32, 32, 32))
    heads = [
        replace(head, name=str(i), stride=(2**i,) * 3, role="auxiliary" if i else "primary")
        for i in range(5)
    ]
    _, spec = spec_of(architectures.Smallest, (32, 32, 32))
    weights = head_weights(replace(spec, heads=tuple(reversed(heads))), Stage())
    assert [weights[str(i)] for i in range(5)] == pytest.approx(
        [0.5333, 0.2667, 0.1333, 0.0667, 0], abs=1e-4
    )


def test_a_stage_counts_the_heads_it_names():
    architecture, spec = spec_of(architectures.Staged, (8, 8, 8))
    outputs = {h.name: torch.randn(2, 3, 8, 8, 8, requires_grad=True) for h in spec.heads}
    targets = architecture.targets({"image": labels_of((8, 8, 8), classes=3)}, spec)
    loss, parts = architecture.loss(outputs, targets, Progress("rough"), spec)
    loss.backward()
    assert outputs["rough"].grad is not None
    assert outputs["segmentation"].grad is None
    assert set(parts) == {"rough.dice", "rough.cross_entropy", "rough.accuracy"}


# --- decode ------------------------------------------------------------------------------------


def test_softmax_is_decided_by_the_largest_probability():
    labels = (("kidney", 2), ("tumor", 5))
    architecture, spec = spec_of(architectures.Smallest, (2, 1, 1), labels)
    values = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]]).T
    decided = architecture.decode({"segmentation": values.reshape(3, 3, 1, 1)}, spec)
    assert decided.flatten().tolist() == [0, 5, 2]


def test_regions_overwrite_in_order_above_one_half():
    architecture, spec = spec_of(architectures.Regions, (4, 1, 1), KITS21)
    whole, tumor, cyst = [0.4, 0.6, 0.6, 0.6], [0.4, 0.4, 0.9, 0.9], [0.4, 0.4, 0.1, 0.6]
    values = torch.tensor([whole, tumor, cyst]).reshape(3, 4, 1, 1)
    assert architecture.decode({"segmentation": values}, spec).flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [architectures.Smallest, architectures.Regions])
def test_perfect_probabilities_decode_to_the_labels(kind):
    architecture, spec = spec_of(kind, (6, 6, 6), KITS21)
    labels = labels_of((6, 6, 6))
    target = architecture.targets({"image": labels}, spec)["segmentation"]
    perfect = target
    if spec.primary.kind == "softmax":
        perfect = torch.nn.functional.one_hot(target, 4).movedim(-1, 1).float()
    assert torch.equal(architecture.decode({"segmentation": perfect[0]}, spec), labels[0].byte())


def test_small_components_are_cleaned_by_their_volume_in_mm():
    architecture, spec = spec_of(architectures.Cleaned, (8, 8, 8))
    labels = torch.zeros(8, 8, 8, dtype=torch.uint8)
    labels[0:2, 0:2, 0:2] = 1
    labels[4:8, 4:8, 4:8] = 2
    assert architecture.postprocess(labels, {}, (1.0, 1.0, 1.0), spec).unique().tolist() == [0, 2]
    assert torch.equal(architecture.postprocess(labels, {}, (7.0, 1.0, 1.0), spec), labels)
