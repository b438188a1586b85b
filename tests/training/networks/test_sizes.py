"""The patches that a network takes are found, and told where a training fails for another one."""

from __future__ import annotations

import architectures
import pytest
import torch
from architectures import broken
from torch import nn

from kitsbench.architecture import Plain, SizeRule, Task, configure, softmax_spec
from kitsbench.errors import KitsbenchError
from kitsbench.profiling.profile import ProfileJob, measure
from kitsbench.training.budget import Budget
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.networks.sizes import in_words, rule_told, seems_to_need, try_patch
from kitsbench.training.recipes import MATCHED_CPU


def spec_for(architecture, patch):
    return architecture.spec(configure(architecture), Task(patch=patch))


class PoolsValidFeatures(architectures.Smallest):
    """Cuts a voxel on each side, then pools what must be even by then."""

    def build(self, spec):
        layers = [nn.Conv3d(1, 4, 3), _Even(), nn.AvgPool3d(2), nn.Upsample(scale_factor=2)]
        return Plain(nn.Sequential(*layers, nn.Conv3d(4, spec.classes, 1)))


class _Even(nn.Module):
    def forward(self, features):
        if any(edge % 4 for edge in features.shape[2:]):
            raise ValueError(f"edges {tuple(features.shape[2:])} are no multiples of 4")
        return features


class ReadsItsInput(architectures.Smallest):
    """A table that lies on the CPU keeps it off the meta device."""

    def build(self, spec):
        network = broken.Halving(spec.classes)
        network.table = [torch.ones(spec.classes)]
        forward = network.forward
        network.forward = lambda images: (
            forward(images) * network.table[0].reshape(1, -1, 1, 1, 1).to(torch.float32)
        )
        return Plain(network)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (architectures.Smallest, SizeRule()),
        (architectures.SliceBySlice, SizeRule()),
        (broken.StatesNoSizeRule, SizeRule((8, 8, 8))),
        (ReadsItsInput, SizeRule((8, 8, 8))),
        (broken.PoolsWithinSlices, SizeRule((1, 4, 4))),
        (broken.StatesNoMinimum, SizeRule((8, 8, 8), minimum=(16, 16, 16))),
        (broken.StatesNoShrink, SizeRule(shrink=(4, 4, 4), minimum=(5, 5, 5))),
        (PoolsValidFeatures, SizeRule((4, 4, 4), (2, 2, 2), (2, 2, 2), (6, 6, 6))),
        (broken.RaisesInForward, None),
    ],
)
def test_the_rule_is_found_by_trying(kind, rule):
    architecture = kind()
    found = seems_to_need(architecture, spec_for(architecture, (20, 20, 20)))
    if rule is None:
        assert found is None
        return
    # Rules are equal that admit the same patches.
    for edge in range(1, 40):
        assert found.nearest((edge, edge + 3, 40 - edge)) == rule.nearest(
            (edge, edge + 3, 40 - edge)
        )


def test_a_rule_is_told_as_one_writes_it():
    assert in_words(SizeRule((8, 8, 8))) == (
        "it seems to need multiples of 8: SizeRule(multiple=(8, 8, 8))"
    )
    assert in_words(SizeRule((1, 4, 4), (0, 2, 2), minimum=(1, 6, 6))) == (
        "it seems to need multiples of 1x4x4 and 0x2x2 more and at least 1x6x6 voxels an edge: "
        "SizeRule(multiple=(1, 4, 4), offset=(0, 2, 2), minimum=(1, 6, 6))"
    )


def test_only_what_is_a_matter_of_sizes_is_told_as_one():
    architecture = broken.StatesNoSizeRule()
    assert rule_told(architecture, spec_for(architecture, (16, 16, 16))) is None
    tried = try_patch(architecture, spec_for(architecture, (20, 20, 20)))
    assert tried.cut is None
    assert "RuntimeError" in tried.trouble
    assert rule_told(architecture, spec_for(architecture, (20, 20, 20))) == (
        "it seems to need multiples of 8: SizeRule(multiple=(8, 8, 8)), which its spec should "
        "state; until then ask for --patch 24,24,24."
    )


NEEDED = r"With a patch of 20x20x20 it does not run: it seems to need multiples of 8: SizeRule"


def test_a_training_with_a_patch_that_the_network_does_not_take_says_what_it_takes(make_job):
    architecture = broken.StatesNoSizeRule()
    spec = spec_for(architecture, (20, 20, 20))
    with pytest.raises(TrialFailure, match=NEEDED) as failure:
        train(make_job(architecture, spec=spec, budget=Budget(1, "steps")))
    assert failure.value.reason == "plugin error"
    assert str(failure.value).startswith("forward() raised RuntimeError")


def test_so_does_a_profile(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from architectures.broken import StatesNoSizeRule\n"
        "class Own(StatesNoSizeRule):\n    title = 'Own'\n"
    )
    spec = spec_for(broken.StatesNoSizeRule(), (20, 20, 20))
    with pytest.raises(KitsbenchError, match=NEEDED):
        measure(ProfileJob("own", str(path), spec, MATCHED_CPU))


class OnePatch(architectures.Smallest):
    """Position embeddings of one length, which were trained elsewhere."""

    shape = (24, 48, 48)
    paper_patch = (24, 48, 48)

    def build(self, spec):
        return Plain(Placed(spec.classes, self.shape))


class Placed(nn.Module):
    def __init__(self, classes, shape):
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 4, 8, 8), nn.ConvTranspose3d(4, classes, 8, 8)
        self.places = nn.Parameter(torch.zeros(1, 4, *(edge // 8 for edge in shape)))

    def forward(self, images):
        features = self.first(images)
        if features.shape[2:] != self.places.shape[2:]:
            raise ValueError(f"{tuple(features.shape[2:])} tokens")
        return self.last(features + self.places)


class StatesOnePatch(OnePatch):
    def spec(self, config, task):
        return softmax_spec(config, task, SizeRule.fixed(self.shape), self.shape)


class LargestPatch(architectures.Smallest):
    """As many position embeddings as a patch of 80 has; smaller ones take the first of them."""

    def build(self, spec):
        return Plain(Reaches(spec.classes))


class Reaches(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 4, 8, 8), nn.ConvTranspose3d(4, classes, 8, 8)
        self.places = nn.Parameter(torch.zeros(1, 4, 10, 10, 10))

    def forward(self, images):
        features = self.first(images)
        z, y, x = features.shape[2:]
        return self.last(features + self.places[:, :, :z, :y, :x])


class ThickSlices(OnePatch):
    """Takes eight slices, of any multiple of 8 in the plane."""

    shape = (8, 48, 48)
    paper_patch = (8, 48, 48)

    def build(self, spec):
        return Plain(EightSlices(spec.classes))


class EightSlices(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 4, 8, 8), nn.ConvTranspose3d(4, classes, 8, 8)

    def forward(self, images):
        if images.shape[2] != 8:
            raise ValueError(f"{images.shape[2]} slices")
        return self.last(self.first(images))


@pytest.mark.parametrize(
    ("kind", "rule", "told"),
    [
        (
            OnePatch,
            SizeRule.fixed((24, 48, 48)),
            "it seems to need patches of 24x48x48 voxels alone: SizeRule.fixed((24, 48, 48))",
        ),
        (
            LargestPatch,
            SizeRule((8, 8, 8), minimum=(8, 8, 8), maximum=(80, 80, 80)),
            "it seems to need multiples of 8 and at least 8 voxels an edge and at most 80: "
            "SizeRule(multiple=(8, 8, 8), minimum=(8, 8, 8), maximum=(80, 80, 80))",
        ),
        (
            broken.StatesTooLargeAMaximum,
            SizeRule(maximum=(48, 48, 48)),
            "it seems to need at most 48: SizeRule(maximum=(48, 48, 48))",
        ),
        (
            ThickSlices,
            SizeRule((1, 8, 8), minimum=(8, 8, 8), maximum=(8, 4096, 4096)),
            "it seems to need multiples of 1x8x8 and at least 8 voxels an edge and at most "
            "8x4096x4096: SizeRule(multiple=(1, 8, 8), minimum=(8, 8, 8), "
            "maximum=(8, 4096, 4096))",
        ),
    ],
)
def test_a_fixed_and_a_largest_edge_are_found(kind, rule, told):
    architecture = kind()
    found = seems_to_need(architecture, spec_for(architecture, (16, 16, 16)))
    assert found == rule
    assert in_words(found) == told


def test_a_network_of_one_patch_trains_and_predicts_in_tiles_of_it(make_job):
    from kitsbench.inference.sliding import Predictor

    job = make_job(StatesOnePatch(), budget=Budget(2, "steps"))
    assert job.spec.grids[0].shape == (24, 48, 48)
    network = train(job).network
    store = job.stores["image"]
    volume = store.case(job.cases[0])
    predictor = Predictor(network, job.spec, job.window, job.recipe.inference, job.device)
    assert volume.image.shape != (24, 48, 48)
    found = predictor.probabilities({"image": volume})["segmentation"]
    assert found.shape[1:] == volume.image.shape


def test_where_it_states_no_rule_the_failure_tells_the_patch(make_job):
    with pytest.raises(TrialFailure, match=r"until then ask for --patch 24,48,48"):
        train(make_job(OnePatch(), budget=Budget(1, "steps")))
