"""Several processes exchange no more than they must, and agree when memory runs out for one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import architectures
import pytest
import torch
import torch.distributed as dist
from architectures import PATCH, Plain
from in_processes import answers_by_rank
from torch import nn

from kitsbench.recipe import Optimiser
from kitsbench.training import loop
from kitsbench.training.budget import Budget
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network
from kitsbench.training.recipes import MATCHED_CPU
from kitsbench.training.teams.distributed import SOLO, is_lost_connection, join_team
from kitsbench.training.teams.shared_step import SharedStep

RECIPE = replace(
    MATCHED_CPU, patch=PATCH, batch=4, augmentation=(), optimiser=Optimiser("sgd", lr=0.1)
)


def second() -> bool:
    """Whether this is the second of several processes."""
    return dist.is_initialized() and dist.get_rank() == 1


class Apart(architectures.Smallest):
    """Nothing couples the samples; the second process runs out of memory here and there."""

    short = ()  # (where, step, samples that still fit)

    def build(self, spec):
        layers = [nn.Conv3d(1, 8, 3, padding=1), nn.InstanceNorm3d(8), nn.ReLU()]
        layers.append(nn.Conv3d(8, spec.classes, 1))
        self.network = Plain(nn.Sequential(*layers))
        self.network.register_forward_pre_hook(self._forward)
        return self.network

    def _forward(self, network, arguments):
        self.samples = len(arguments[0]["image"])
        self._check("forward", getattr(self, "taken", 0))

    def _check(self, where, step):
        for place, since, fits in self.short:
            if second() and place == where and step >= since and self.samples > fits:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def loss(self, outputs, targets, progress, spec):
        self.taken = progress.step + 1
        self._check("loss", progress.step)
        total, parts = super().loss(outputs, targets, progress, spec)
        total.register_hook(lambda gradient: self._check("backward", progress.step))
        return total, parts


class Normalised(architectures.Smallest):
    """With batch normalisation, which waits for the other process; the second holds two samples."""

    def loss(self, outputs, targets, progress, spec):
        if second() and len(outputs["segmentation"]) > 2 * 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().loss(outputs, targets, progress, spec)


class Branched(Apart):
    """One layer is used by the first process alone, one by nobody."""

    def build(self, spec):
        network = super().build(spec)
        network.branch = nn.Conv3d(1, spec.classes, 1)
        network.idle = nn.Linear(2, 2)
        plain = network.forward

        def forward(inputs):
            outputs = plain(inputs)
            if not second():
                outputs["segmentation"] = outputs["segmentation"] + network.branch(inputs["image"])
            return outputs

        network.forward = forward
        return network


def rank(number, job, meeting, rehearsed, answers):
    """Body of one process: train, and send what came of it and what was exchanged."""
    torch.set_num_threads(1)
    loop.is_rehearsed = lambda device: rehearsed  # as on a GPU
    exchanged: list[tuple[str, str]] = []
    gather = next(n for n in ("all_gather_single", "all_gather_into_tensor") if hasattr(dist, n))
    for name in ("all_reduce", gather, "broadcast", "barrier"):
        plain = getattr(dist, name)

        def noted(*arguments, plain=plain, name=name, **options):
            kind = str(arguments[0].dtype) if arguments else ""
            exchanged.append(("gather" if name == gather else name, kind))
            return plain(*arguments, **options)

        setattr(dist, name, noted)
    marks, parts = [], []

    def report(fraction, ledger):
        marks.append(len(exchanged))
        parts.append(ledger.accumulation)

    state, failure = {}, None
    try:
        with join_team(number, 2, torch.device("cpu"), meeting) as team:
            outcome = train(replace(job, team=team), report=report)
        state = {name: value.numpy() for name, value in outcome.network.state_dict().items()}
    except Exception as error:
        failure = (type(error).__name__, is_lost_connection(error), str(error))
    steps = [exchanged[a:b] for a, b in pairwise(marks)]
    answers.put((number, state, parts, steps, failure))


def train_two(job, tmp_path, rehearsed=False):
    meeting = tmp_path / "meeting"
    return answers_by_rank(rank, [(number, job, meeting, rehearsed) for number in range(2)])


def assert_close(state, outcome):
    for name, value in outcome.network.state_dict().items():
        torch.testing.assert_close(torch.as_tensor(state[name]), value, rtol=1e-3, atol=1e-5)


def test_memory_that_runs_out_for_one_is_answered_by_all(make_job, tmp_path):
    """In the forward pass of one step and in the backward pass of another one."""
    job = make_job(Apart(), recipe=RECIPE, budget=Budget(6, "steps"), folder="alone")
    alone = train(job)
    for short in ((("forward", 2, 1),), (("backward", 4, 1),)):
        architecture = Apart()
        architecture.short = short
        folder = tmp_path / short[0][0]
        folder.mkdir()
        first, other = train_two(replace(job, folder=folder, architecture=architecture), folder)
        assert first[3] is other[3] is None
        step = short[0][1]
        assert first[1] == other[1] == [1] * step + [4] * (6 - step)
        assert_close(first[0], alone)
        assert all((first[0][name] == other[0][name]).all() for name in first[0])
        # The clock, the losses and the checkpoint in one exchange, and two stretches are told of;
        # labels travel as bytes, and gradients once.
        assert sorted(first[2][0]) == [
            ("all_reduce", "torch.float32"),
            *[("all_reduce", "torch.float64")] * 3,
            ("gather", "torch.float32"),
            ("gather", "torch.uint8"),
        ]


def test_layers_that_wait_for_the_others_are_tried_alone_before(make_job, tmp_path):
    """The parts are known before the first step, which moves every statistic once."""
    recipe = replace(RECIPE, batch=8)
    job = make_job(Normalised(), recipe=recipe, budget=Budget(2, "steps"), folder="alone")
    first, other = train_two(replace(job, folder=tmp_path / "two"), tmp_path, rehearsed=True)
    assert first[3] is other[3] is None
    assert first[1] == other[1] == [4, 4]
    assert all((first[0][name] == other[0][name]).all() for name in first[0])
    counted = next(value for name, value in first[0].items() if "num_batches" in name)
    assert counted == 2 * 2


def test_who_cannot_take_single_samples_says_so_and_nobody_waits_for_it(make_job, tmp_path):
    architecture = Apart()
    architecture.short = (("loss", 1, 0),)
    job = make_job(architecture, recipe=RECIPE, budget=Budget(4, "steps"))
    first, other = train_two(job, tmp_path)
    assert "CUDA out of memory" in other[3][2]
    assert not other[3][1]
    # The first one's error is not the reason, and asks for the other's.
    assert first[3][:2] == ("Elsewhere", True)


def test_layers_that_some_or_none_use_have_the_gradient_of_those_that_do(make_job, tmp_path):
    recipe = replace(RECIPE, optimiser=Optimiser("sgd", lr=0.1, weight_decay=0.1))
    job = make_job(Branched(), recipe=recipe, budget=Budget(2, "steps"), folder="start")
    network = build_network(job.architecture, job.spec, job.seed, job.fold, job.device)
    begun = network.state_dict()
    job = replace(job, folder=tmp_path / "two", architecture=Branched())
    first, other = train_two(job, tmp_path)
    assert first[3] is other[3] is None
    for name in first[0]:
        assert (first[0][name] == other[0][name]).all(), name
    # Weights that nobody used keep away from the decay, as in one process.
    assert torch.equal(torch.as_tensor(first[0]["idle.weight"]), begun["idle.weight"])
    assert not torch.equal(torch.as_tensor(first[0]["branch.weight"]), begun["branch.weight"])


def test_alone_nothing_is_exchanged():
    layer = nn.Linear(1, 1)
    shared = SharedStep(SOLO, layer, list(layer.parameters()))
    with pytest.raises(RuntimeError, match="out of memory"), shared.stretch():
        raise RuntimeError("out of memory")
    shared.sum_gradients()
    assert layer.weight.grad is None
