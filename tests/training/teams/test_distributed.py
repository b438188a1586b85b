"""Several processes train one network as one process does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from architectures import DeepSupervision, Regions, Smallest, Staged
from in_processes import answers_by_rank
from torch import nn

from kitsbench.data.batches.source import training_source
from kitsbench.errors import UsageError
from kitsbench.training.budget import Budget
from kitsbench.training.loop import train
from kitsbench.training.teams.distributed import check_batch, join_team


class InDouble(nn.Module):
    """A network in double precision; what rounds in single precision is the loss alone."""

    def __init__(self, network):
        super().__init__()
        self.network = network.double()

    def forward(self, inputs):
        return self.network({name: images.double() for name, images in inputs.items()})


class DoubleRegions(Regions):
    def build(self, spec):
        return InDouble(super().build(spec))


class DoubleDeepSupervision(DeepSupervision):
    def build(self, spec):
        return InDouble(super().build(spec))


def rank(number, size, job, meeting, answers):
    """Body of one process: train, and send what came of it."""
    torch.set_num_threads(1)
    with join_team(number, size, torch.device("cpu"), meeting) as team:
        job = replace(job, team=team)
        done = train(job, evaluate=lambda network: {"score": 1.0} if team.leads else {})
    state = {name: value.numpy() for name, value in done.network.state_dict().items()}
    answers.put((number, state, done.ledger.to_dict(), done.curve))


def train_together(job, size, tmp_path, name="meeting"):
    """Train with several processes; returns [(state, ledger, curve)] by rank."""
    return answers_by_rank(rank, [(number, size, job, tmp_path / name) for number in range(size)])


def assert_close(state, expected):
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(
            torch.as_tensor(state[name]), value, rtol=2e-3, atol=2e-5, msg=lambda m, n=name: n + m
        )


@pytest.mark.parametrize("architecture", [Smallest, Staged])
def test_two_processes_end_with_the_weights_of_one(make_job, tmp_path, architecture):
    """With batch norm, a Dice over the whole batch, and frozen parts between stages."""
    job = make_job(architecture(), budget=Budget(4, "steps"))
    # Of two patches: more of them in single precision differ by more than the comparison allows.
    job = replace(job, recipe=replace(job.recipe, batch=2))
    alone = train(job, evaluate=lambda network: {"score": 1.0})
    first, second = train_together(replace(job, folder=tmp_path / "two"), 2, tmp_path)
    assert_close(first[0], alone.network)
    for name, value in first[0].items():
        assert (second[0][name] == value).all(), name
    ledger = alone.ledger.to_dict()
    for key in ("steps", "patches", "voxels", "flops"):
        assert first[1][key] == second[1][key] == ledger[key]
    rows = [(r["step"], r["kind"], r["name"]) for r in alone.curve]
    assert [(r["step"], r["kind"], r["name"]) for r in first[2]] == rows
    assert len(list((tmp_path / "two").glob("step-*"))) == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("architecture", [DoubleRegions, DoubleDeepSupervision])
def test_four_processes_end_with_the_weights_of_one(make_job, tmp_path, architecture):
    job = make_job(architecture(), budget=Budget(6, "steps"))
    job = replace(job, recipe=replace(job.recipe, batch=4))
    alone = train(job)
    found = train_together(replace(job, folder=tmp_path / "four"), 4, tmp_path)
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(torch.as_tensor(found[0][0][name]), value, rtol=1e-4, atol=1e-6)


def test_a_time_budget_is_spent_by_all_devices_together_and_goes_on_after_a_stop(
    make_job, tmp_path
):
    job = make_job(budget=Budget(3, "steps"), folder="timed")
    train(job)  # one process leaves a checkpoint, two go on from it
    job = replace(job, budget=Budget(1.5, "seconds"))
    first, second = train_together(job, 2, tmp_path)
    assert first[1]["device_seconds"] == second[1]["device_seconds"] >= 1.5
    assert first[1]["steps"] == second[1]["steps"] > 3
    assert first[1]["resumed"] == 1
    assert first[1]["overshoot_steps"] <= 1
    longest = max(row["device_seconds"] for row in first[2])
    assert longest <= first[1]["device_seconds"]


def test_several_processes_go_on_with_batches_that_one_took_in_parts(make_job, tmp_path):
    recipe = replace(make_job().recipe, batch=4)
    job = make_job(recipe=recipe, budget=Budget(2, "steps"), folder="tight", max_memory=1)
    assert train(job).ledger.accumulation == 4
    job = replace(job, budget=Budget(4, "steps"), max_memory=None)
    first, second = train_together(job, 2, tmp_path)
    assert first[1]["steps"] == second[1]["steps"] == 4
    assert first[1]["accumulation"] == 4


def test_the_parts_of_a_batch_make_up_the_batch(make_job):
    job = make_job()
    recipe = replace(job.recipe, batch=4)
    given = (job.stores, job.cases, job.spec, recipe, job.window, job.seed)
    whole = training_source(*given).batch(5)
    parts = [training_source(*given, range(k, k + 2)).batch(5) for k in (0, 2)]
    assert [part.first for part in parts] == [0, 2]
    assert parts[0].cases + parts[1].cases == whole.cases
    for grid, images in whole.images.items():
        assert torch.equal(torch.cat([part.images[grid] for part in parts]), images)


def test_a_batch_that_cannot_be_shared_is_refused():
    check_batch(4, 2, "unet3d")
    with pytest.raises(UsageError, match="batches of 2, which 3 processes"):
        check_batch(2, 3, "unet3d")
