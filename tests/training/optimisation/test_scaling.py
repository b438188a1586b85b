"""In float16 the loss is scaled: too large a scale costs a step, and no trial."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import architectures
import pytest
import torch
from architectures.own_steps import RECIPE

from kitsbench.optimisers import Optimiser
from kitsbench.training.budget import Budget
from kitsbench.training.curve import GRADIENT
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network
from kitsbench.training.optimisation import optimisers
from kitsbench.training.optimisation.scaling import HALVINGS, LossScale

CPU = torch.device("cpu")


class Overflow(torch.autograd.Function):
    """The identity, whose gradient has to fit into float16."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.mul(8).half().float() / 8


class Steep(architectures.Smallest):
    """Its gradient overflows in float16 at the scale with which torch begins, and at half of it."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return Overflow.apply(total), parts


class Endless(architectures.Smallest):
    """No scale is small enough for its gradient."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        total.register_hook(lambda gradient: gradient * math.inf)
        return total, parts


def weights(outcome):
    return list(outcome.network.state_dict().values())


def test_steps_that_overflow_move_nothing_and_are_counted(make_job):
    job = make_job(Steep(), precision="float16", budget=Budget(6, "steps"))
    outcome = train(job)
    # 65536 x 8, 32768 x 8, 16384 x 8 overflow; 8192 x 8 is 65536 still, beyond 65504.
    assert outcome.ledger.skipped_steps == 4
    assert outcome.ledger.steps == 6
    rows = [row for row in outcome.curve if row["kind"] == "gradient"]
    assert len(rows) == 2
    assert all(math.isfinite(row["value"]) for row in rows)
    begun = train(make_job(Steep(), precision="float16", budget=Budget(4, "steps"), folder="four"))
    fresh = build_network(job.architecture, job.spec, job.seed, job.fold, CPU)
    pairs = zip(begun.network.parameters(), fresh.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", ["sgd", "SGD", "torch.optim:SGD"])
def test_momentum_begins_with_the_first_step_that_is_taken(make_job, monkeypatch, name):
    # By torch's fused kernel, which a CPU has too but only a GPU is given. After a first step that
    # was left out it would take memory as it lies there for the momentum.
    rule = Optimiser(name, 0.01, momentum=0.99, nesterov=True)
    made = partial(
        make_job,
        Steep(),
        precision="float16",
        recipe=replace(RECIPE, optimiser=rule),
        budget=Budget(8, "steps"),
    )
    plain = train(made(folder="plain"))
    monkeypatch.setattr(optimisers, "_kernel", lambda rule, parameters: {"fused": True})
    fused = train(made(folder="fused"))
    assert fused.ledger.skipped_steps == plain.ledger.skipped_steps == 4
    for a, b in zip(weights(fused), weights(plain), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_other_precisions_scale_nothing(make_job):
    assert LossScale(CPU, "float32").state is None
    outcome = train(make_job(Steep(), budget=Budget(2, "steps")))
    assert outcome.ledger.skipped_steps == 0


def test_a_gradient_that_no_scale_helps_ends_the_trial(make_job):
    job = make_job(Endless(), precision="float16", budget=Budget(HALVINGS + 5, "steps"))
    with pytest.raises(TrialFailure, match=r"however small.*--precision float32") as failure:
        train(job)
    assert failure.value.reason == "non-finite loss"


def test_an_infinite_loss_is_no_matter_of_the_scale(make_job):
    class Infinite(architectures.Smallest):
        def loss(self, outputs, targets, progress, spec):
            total, parts = super().loss(outputs, targets, progress, spec)
            return total * math.inf, parts

    with pytest.raises(TrialFailure, match="loss was inf at step 0"):
        train(make_job(Infinite(), precision="float16"))


class Killed(Exception):
    pass


def test_a_resumed_run_goes_on_with_the_scale(make_job):
    job = make_job(Steep(), precision="float16", folder="whole")
    whole = train(job)

    def die(fraction, ledger):
        if ledger.steps == 5:
            raise Killed

    job = replace(job, folder=job.folder.parent / "killed", checkpoint_every=0.0)
    with pytest.raises(Killed):
        train(job, report=die)
    resumed = train(job)
    assert resumed.ledger.skipped_steps == whole.ledger.skipped_steps == 4
    pairs = zip(weights(whole), weights(resumed), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_scale_is_halved_in_vain_only_so_often():
    scale = LossScale(CPU, "float16")
    for step in range(HALVINGS - 1):
        assert scale.left_out({"loss": 1.0, GRADIENT: math.inf}, step)
    assert not scale.left_out({"loss": 1.0, GRADIENT: 2.0}, HALVINGS)
    for step in range(HALVINGS - 1):
        assert scale.left_out({"loss": 1.0, GRADIENT: math.nan}, step)
    with pytest.raises(TrialFailure):
        scale.left_out({"loss": 1.0, GRADIENT: math.inf}, 2 * HALVINGS)


@pytest.mark.gpu
def test_float16_trains_on_a_gpu(make_job):
    device = torch.device("cuda:0")
    outcome = train(make_job(device=device, precision="float16", budget=Budget(40, "steps")))
    losses = [r["value"] for r in outcome.curve if r["kind"] == "loss" and r["name"] == "loss"]
    assert outcome.ledger.skipped_steps < 20
    assert losses[-1] < losses[0]
