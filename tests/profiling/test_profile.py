"""Profiles: counts that are exact, timings that are there."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from architectures import PATCH, Smallest, broken
from architectures.own_steps import SharpnessAware
from command_line import run_kitsbench
from rows import row
from torch import nn

from kitsbench.architecture import Architecture, Plain, SizeRule, Task, configure, softmax_spec
from kitsbench.cli.profiles import Asked, _is_whole, members_of
from kitsbench.experiments.records import ProfileRecord
from kitsbench.profiling import repeat as repetitions
from kitsbench.profiling.profile import ProfileJob, measure
from kitsbench.registry import load
from kitsbench.training.networks.build import build_network
from kitsbench.training.networks.meta import count_cost


class OneConvolution(Architecture):
    title = "One convolution"

    def build(self, spec):
        return Plain(nn.Conv3d(1, spec.classes, 3, padding=1))


FROZEN = """
from dataclasses import replace

from architectures.own_steps import OwnRecipe

from kitsbench.recipe import Group, Optimiser, Stage


class Frozen(OwnRecipe):
    def spec(self, config, task):
        own = Optimiser("adam", groups=(Group(("network.1.weight",), frozen=True),))
        stages = (Stage("all", share=0.5), Stage("head", 0.5, ("network.1.*",), optimiser=own))
        return replace(super().spec(config, task), stages=stages)
"""


class Views(Architecture):
    """Flattens with ``view``, which channels-last tensors refuse."""

    title = "Views"

    def build(self, spec):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Conv3d(1, 4, 3, padding=1)
                self.last = nn.Conv3d(4, spec.classes, 1)

            def forward(self, x):
                y = self.first(x)
                return self.last(y.view(y.shape[0], 2, -1).view(y.shape))

        return Plain(Network())


def spec_of(architecture):
    return architecture.spec(configure(architecture), Task(patch=PATCH))


def test_parameters_and_flops_of_one_convolution_are_exact():
    architecture = OneConvolution()
    cost = count_cost(architecture, spec_of(architecture))
    voxels = 16**3
    assert cost.parameters == 27 * 3 + 3
    assert cost.flops_forward == 2 * 27 * 3 * voxels
    # The gradient of the weights costs as much again; the input needs none.
    assert cost.flops_step == 2 * cost.flops_forward


def test_counting_works_where_forward_does_not():
    architecture = broken.RaisesInForward()
    cost = count_cost(architecture, spec_of(architecture))
    assert cost.parameters > 0
    assert cost.flops_forward is None


@pytest.mark.parametrize(("architecture", "channels_last"), [(Smallest(), True), (Views(), False)])
def test_weights_are_channels_last_where_the_network_copes(architecture, channels_last):
    cpu = torch.device("cpu")
    network = build_network(architecture, spec_of(architecture), 0, 0, cpu)
    weight = next(p for p in network.parameters() if p.ndim == 5 and p.shape[1] > 1)
    plain = weight.is_contiguous(memory_format=torch.contiguous_format)
    if weight.shape[2:].numel() > 1:
        assert plain != channels_last
    network({"image": torch.zeros(1, 1, *PATCH)})  # either way it runs
    assert network.training


@pytest.fixture(scope="module")
def profiled(tmp_path_factory, phantom):
    folder = tmp_path_factory.mktemp("profile")
    bad = folder / "bad.py"
    bad.write_text(
        "from architectures.broken import RaisesInForward as Base\n\n\n"
        "class Plugin(Base):\n    pass\n"
    )
    files = [folder / name for name in ("costs.json", "costs.csv", "costs.benchmark.json")]
    found = run_kitsbench(
        *("profile", "residual_unet", bad, "--dataset", phantom, "--device", "cpu"),
        *("--patch", "32", "--workdir", folder / "work", "--json"),
        *(word for file in files for word in ("-o", file)),
    )
    return found, folder


def test_profile_measures_what_it_promises(profiled):
    done, _ = profiled
    row = next(row for row in done.json if row["architecture"] == "residual_unet")
    assert row["parameters"] == 2705294
    assert row["patch"] == [32, 32, 32]
    assert row["flops_step"] > 2 * row["flops_forward"] > 0
    assert 0 < row["train_step_ms_low"] <= row["train_step_ms"] <= row["train_step_ms_high"]
    assert 0 < row["inference_ms"] < row["train_step_ms"]
    assert row["patches_per_s_compute"] == pytest.approx(1000 * row["batch"] / row["train_step_ms"])
    assert row["patches_per_s_full"] > 0
    assert row["peak_memory_bytes"] > 50 * 2**20
    assert row["energy_joules"] is None
    assert row["flops_per_voxel"] == row["flops_forward"] / 32**3
    assert row["voxels_per_s_full"] == pytest.approx(row["patches_per_s_full"] * 32**3)
    assert row["patches_per_s_loader"] > row["patches_per_s_full"] / 2
    assert sum(part["share"] for part in row["parts"].values()) == pytest.approx(1)
    assert set(row["company"]) >= {"before", "during", "after"}
    assert row["measured"] == (2 if row["busy"] else row["measured"])
    assert row["conditions"]["torch"] == torch.__version__


def test_what_cannot_be_measured_is_a_row_with_its_error(profiled):
    done, _ = profiled
    assert done.code == 1
    row = next(row for row in done.json if row["architecture"] == "bad")
    assert "forward is broken" in row["error"]


SCAN = {"size": "median", "tiles": 9, "seconds": 1.0, "parts": {"network": 1.0},
        "peak_memory_bytes": 1, "busy": False}  # fmt: skip


@pytest.mark.parametrize(
    ("scan", "whole"),
    [(SCAN, True), (SCAN | {"busy": True}, False), ({"size": "median", "error": "no room"}, False)],
)
def test_a_scan_that_failed_or_was_disturbed_is_no_known_figure(scan, whole):
    plain = {key: value for key, value in row(scans=[scan]).items() if key != "architecture"}
    known = ProfileRecord.of_plain({"name": "net", **plain})
    assert _is_whole(known, Asked(scans=("median",))) is whole
    assert _is_whole(known, Asked())


def test_of_an_ensemble_the_members_are_named_once():
    a, b = (SimpleNamespace(name=name, members=()) for name in "ab")
    both = SimpleNamespace(name="both", members=(a, b, a))
    experiment = SimpleNamespace(tasks=(a, b, both, both))
    assert members_of(experiment) == {"both": ["a", "b"]}


def test_size_rule_rounds_to_what_is_asked():
    spec = softmax_spec({}, Task(patch=(30, 33, 20)), SizeRule((8, 8, 8)), PATCH)
    assert spec.grids[0].shape == (32, 32, 24)
    assert torch.Size(spec.heads[0].shape) == (32, 32, 24)


def test_the_search_for_convolutions_is_in_no_peak(monkeypatch):
    """It is made in the repetitions that do not count."""
    done = []
    monkeypatch.setattr(repetitions, "reset_peaks", lambda device: done.append("reset"))
    effort = SimpleNamespace(warm=2, least=3, seconds=0.0)
    repetitions.repeat(lambda: done.append("step"), torch.device("cpu"), effort)
    assert done == ["step", "step", "reset", "step", "step", "step"]


def test_a_step_of_a_plugins_own_is_measured_under_its_own_recipe(tmp_path):
    file = tmp_path / "sharp.py"
    file.write_text(
        "from architectures.own_steps import SharpnessAware as Base\n\n\n"
        "class Plugin(Base):\n    pass\n"
    )
    spec = spec_of(SharpnessAware())
    known = {"name": "sharp", "location": str(file), "spec": spec}
    quick = {"seconds": 0.0, "warm": 1, "least": 1, "looks": 0.0}
    own, shared = (
        measure(ProfileJob(**known, recipe=recipe, **quick))
        for recipe in (spec.paper, replace(spec.paper, name="matched"))
    )
    assert own["flops_step"] == 2 * shared["flops_step"]


def test_what_the_last_stage_freezes_has_no_backward_pass(tmp_path):
    file = tmp_path / "frozen.py"
    file.write_text(FROZEN)
    architecture = load(str(file)).architecture
    spec = spec_of(architecture)
    own, shared = (
        measure(
            ProfileJob("frozen", str(file), spec, recipe, seconds=0.0, warm=1, least=1, looks=0.0)
        )
        for recipe in (spec.paper, replace(spec.paper, name="matched"))
    )
    # A convolution from 1 to 8 channels, and one from 8 to 3 whose voxels have no neighbours.
    first, last = 2 * 16**3 * 27 * 8, 2 * 16**3 * 8 * 3
    assert own["flops_forward"] == shared["flops_forward"] == first + last
    # By its own recipe the bias of the last trains alone, by the shared one the whole last layer.
    assert own["flops_step"] == first + last
    assert shared["flops_step"] == first + 2 * last
