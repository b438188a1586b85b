"""The patches that a network takes are found, and told where a training fails for another one."""

from __future__ import annotations

import architectures
import pytest
import torch
from architectures import broken
from torch import nn

from kitsbench.architecture import Plain, SizeRule, Task, configure
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
