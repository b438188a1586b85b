"""The controls that are planted in boards: what makes their outcome known before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kitsbench.architecture import Task, configure
from kitsbench.registry import load
from kitsbench.registry.plugins_apart import introduce
from kitsbench.training.networks.build import seed_everything
from kitsbench.training.optimisation.stages import freeze

PLANTED = Path(__file__).parents[2] / "leaderboards" / "kits19-masks" / "planted"
TASK = Task(patch=(16, 16, 16))


def network(name):
    """A plugin's spec and its network, tiny, from seed 3."""
    plugin = load(name).architecture
    spec = plugin.spec(configure(plugin, {"size": "tiny"}), TASK)
    seed_everything(3, 4, 0)
    return spec, plugin.build(spec)


@pytest.mark.parametrize("name", ["unet3d_again", "unet3d_tenth"])
def test_a_control_says_what_it_is(name):
    found = introduce(str(PLANTED / f"{name}.py"))
    assert found.status == "ok", found.error
    assert found.planted.startswith("unet3d ")
    assert introduce("unet3d").planted == ""


def test_the_same_under_another_name_differs_by_its_first_weights_alone():
    (spec, first), (own, second) = network("unet3d"), network(str(PLANTED / "unet3d_again.py"))
    assert own == spec
    before, after = first.state_dict(), second.state_dict()
    assert list(before) == list(after)
    assert all(before[key].shape == after[key].shape for key in before)
    kernels = [key for key in before if before[key].dim() == 5]
    assert kernels
    assert all(not torch.equal(before[key], after[key]) for key in kernels)


def test_a_tenth_of_the_budget_is_all_in_which_the_other_learns():
    (_, first), (spec, second) = network("unet3d"), network(str(PLANTED / "unet3d_tenth.py"))
    learning, idling = spec.stages
    assert (learning.share, idling.share) == (0.1, 0.9)
    trained = sum(p.numel() for p in freeze(second, learning))
    assert trained == sum(p.numel() for p in first.parameters())
    assert [p.numel() for p in freeze(second, idling)] == [1]
    # What is left to train changes no probability.
    second.eval()
    patch = {"image": torch.randn(1, 1, 16, 16, 16)}
    with torch.no_grad():
        before = second(patch)["segmentation"].softmax(1)
        second.idle.fill_(3.0)
        after = second(patch)["segmentation"].softmax(1)
    assert torch.allclose(before, after, atol=1e-6)
