"""The layout of weights on a GPU is chosen by time, on a CPU never."""

from __future__ import annotations

import time
from dataclasses import replace

import architectures
import pytest
import torch
from fake_cuda import FakeCuda
from torch import nn

from kitsbench.architecture import Plain
from kitsbench.devices.layout import LayoutRecord, faster, layout_of
from kitsbench.optimisers import Group, Optimiser
from kitsbench.training.budget import Budget
from kitsbench.training.loop import train
from kitsbench.training.networks import layouts
from kitsbench.training.networks.layouts import choose_layout, time_layouts

CPU = torch.device("cpu")


class Depends(architectures.Smallest):
    """Naps, fails or takes too much memory in one of the layouts."""

    def __init__(self, layout, what="nap", samples=2):
        self.layout, self.what, self.samples = layout, what, samples

    def build(self, spec):
        network = super().build(spec)

        def before(module, inputs):
            batch = next(iter(inputs[0].values())).shape[0]
            if self.what == "full" and batch > self.samples:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            if layout_of(module) != self.layout:
                return
            if self.what == "fail":
                raise RuntimeError("view size is not compatible with input tensor's size")
            time.sleep(0.02)

        network.register_forward_pre_hook(before)
        return network


class Flat(architectures.Smallest):
    """Has convolutions in 2D, which no layout of five axes fits."""

    def build(self, spec):
        class Slices(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv3d(4, spec.classes, 1)

            def forward(self, x):
                flat = self.first(x.transpose(1, 2).flatten(0, 1))
                return self.last(flat.unflatten(0, (x.shape[0], -1)).transpose(1, 2))

        return Plain(Slices())


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    for name, value in {"SETTLING": 0.0, "LONGEST": 0.0, "WARM": 1, "LEAST": 2}.items():
        monkeypatch.setattr(layouts, name, value)


def timed(job, batch=4):
    return time_layouts(job.architecture, job.spec, batch, CPU, "float32")


@pytest.mark.parametrize(
    ("slow", "expected"),
    [("contiguous", "channels_last_3d"), ("channels_last_3d", "contiguous")],
)
def test_the_faster_layout_is_found(make_job, slow, expected):
    seconds, samples = timed(make_job(Depends(slow)))
    assert faster(seconds) == expected
    assert seconds[slow] > 0.02
    assert samples == 4


@pytest.mark.parametrize(
    ("failing", "expected"),
    [("contiguous", "channels_last_3d"), ("channels_last_3d", "contiguous")],
)
def test_a_network_that_fails_in_one_layout_gets_the_other(make_job, failing, expected):
    seconds, _ = timed(make_job(Depends(failing, "fail")))
    assert seconds[failing] is None
    assert faster(seconds) == expected


@pytest.mark.exhaustive
def test_what_does_not_fit_is_timed_in_smaller_parts(make_job):
    seconds, samples = timed(make_job(Depends("none", "full", samples=1)))
    assert samples == 1
    assert None not in seconds.values()
    seconds, _ = timed(make_job(Depends("none", "full", samples=0)))
    assert set(seconds.values()) == {None}


def test_convolutions_in_two_dimensions_train_in_both_layouts(make_job):
    seconds, _ = timed(make_job(Flat()))
    assert None not in seconds.values()
    assert train(make_job(Flat(), budget=Budget(2, "steps"))).ledger.steps == 2


def test_timing_draws_no_random_numbers_from_the_training(make_job):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    timed(make_job(), 1)
    assert torch.equal(torch.rand(3), expected)


def test_on_a_cpu_nothing_is_timed(make_job, monkeypatch, tmp_path):
    monkeypatch.setattr(layouts, "time_layouts", lambda *_: pytest.fail("timed"))
    job = make_job(budget=Budget(2, "steps"), layouts=tmp_path / "layouts")
    ledger = train(job).ledger
    assert ledger.layout == "channels_last_3d"
    assert ledger.warm_up_s == 0
    assert not (tmp_path / "layouts").exists()


def test_on_a_gpu_the_choice_is_kept_for_trials_of_one_kind(make_job, monkeypatch, tmp_path):
    FakeCuda(monkeypatch, name="A card")
    asked = []

    def times(*key):
        asked.append(key)
        return {"contiguous": 2.0, "channels_last_3d": 1.0}, 4

    monkeypatch.setattr(layouts, "time_layouts", times)
    job, device = make_job(), torch.device("cuda:1")
    for precision in ("bfloat16", "bfloat16", "float32"):
        found = choose_layout(job.architecture, job.spec, 4, device, precision, "hash", tmp_path)
        assert found == "channels_last_3d"
    assert len(asked) == 2
    kept = [LayoutRecord.read(file) for file in tmp_path.iterdir()]
    assert {(one.key.device, one.key.precision, one.layout) for one in kept} == {
        ("A card", "bfloat16", "channels_last_3d"),
        ("A card", "float32", "channels_last_3d"),
    }


@pytest.mark.gpu
def test_a_gpu_chooses_keeps_and_writes_down(make_job, tmp_path):
    folder = tmp_path / "layouts"
    job = make_job(device=torch.device("cuda:0"), precision="bfloat16", layouts=folder)
    ledger = train(job).ledger
    (file,) = folder.iterdir()
    found = LayoutRecord.read(file)
    assert found.layout == ledger.layout == faster(found.seconds)
    assert None not in found.seconds.values()
    assert ledger.warm_up_s > 0
    again = train(make_job(device=job.device, precision="bfloat16", layouts=folder, folder="b"))
    assert again.ledger.layout == ledger.layout
    assert again.ledger.warm_up_s < ledger.warm_up_s


def test_what_a_recipe_freezes_has_no_gradient_while_layouts_are_timed(make_job):
    frozen = Optimiser("sgd", lr=0.1, groups=(Group(names=("network.0.*",), frozen=True),))
    seen = []

    class Watched(architectures.Smallest):
        def build(self, spec):
            network = super().build(spec)
            seen.append(network)
            return network

    job = make_job(Watched())
    for rule in (None, frozen):
        time_layouts(job.architecture, job.spec, 2, CPU, "float32", rule)
    free, held = seen[0], seen[-1]
    assert all(p.requires_grad for p in free.parameters())
    names = [name for name, p in held.named_parameters() if not p.requires_grad]
    assert names == ["network.0.0.weight", "network.0.1.weight", "network.0.1.bias"]


def test_choices_for_other_frozen_weights_are_kept_apart(make_job, monkeypatch, tmp_path):
    FakeCuda(monkeypatch, name="A card")
    asked = []

    def times(*key):
        asked.append(key)
        return {"contiguous": 2.0, "channels_last_3d": 1.0}, 4

    monkeypatch.setattr(layouts, "time_layouts", times)
    job, device = make_job(), torch.device("cuda:1")
    groups = (Group(names=("network.0.*",), frozen=True),)
    other = replace(job.recipe, name="own", optimiser=replace(job.recipe.optimiser, groups=groups))
    for recipe in (None, job.recipe, other, other):
        choose_layout(job.architecture, job.spec, 4, device, "float32", "hash", tmp_path, recipe)
    assert len(asked) == 2
