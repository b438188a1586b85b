"""Training steps of a plugin's own: charged, counted, resumed, repeated in parts, refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from architectures import PATCH
from architectures.own_steps import (
    RECIPE,
    CutMix,
    MeanTeacher,
    OwnRecipe,
    SameStep,
    SharpnessAware,
)
from torch import nn

from kitsbench.architecture import Stage, Task, configure
from kitsbench.training.budget import Budget
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.networks.meta import count_cost
from kitsbench.training.own_step import own_steps
from kitsbench.training.recipes import MATCHED_CPU

OWN = [SharpnessAware, MeanTeacher, CutMix]
SHORT = Budget(5, "steps")


class Killed(BaseException):
    """Stands for a process that was killed."""


@pytest.fixture
def run(make_job):
    """Train by the plugins' recipe, or another."""

    def train_by(architecture, report=lambda fraction, ledger: None, **fields):
        known = {"recipe": RECIPE, "budget": SHORT, "folder": type(architecture).__name__}
        return train(make_job(architecture, **known | fields), report=report)

    return train_by


def weights(outcome):
    return outcome.network.state_dict()


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def losses(outcome):
    return [(r["step"], r["name"], r["value"]) for r in outcome.curve if r["kind"] != "lr"]


def state_of(job):
    return load_checkpoint(latest_checkpoint(job.folder))[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_harness_s_step_spelled_out_gives_the_same_bits(run, precision):
    plain = run(OwnRecipe(), precision=precision)
    spelled = run(SameStep(), precision=precision)
    assert same(weights(plain), weights(spelled))
    assert losses(plain) == losses(spelled)
    assert spelled.ledger.voxels == plain.ledger.voxels
    assert spelled.ledger.flops == plain.ledger.flops


@pytest.mark.parametrize("architecture", OWN)
def test_a_killed_run_resumes_bit_for_bit(run, make_job, architecture):
    recipe = replace(RECIPE, average=0.9)
    whole = run(architecture(), recipe=recipe, folder="whole")
    for at in (2, 4):

        def die(fraction, ledger, at=at):
            if ledger.steps == at:
                raise Killed

        with pytest.raises(Killed):
            run(architecture(), die, recipe=recipe, checkpoint_every=0.0)
    resumed = run(architecture(), recipe=recipe)
    assert resumed.ledger.resumed == 2
    assert losses(resumed) == losses(whole)
    ours, theirs = (
        state_of(make_job(architecture(), recipe=recipe, folder=folder))
        for folder in ("whole", architecture.__name__)
    )
    assert same(ours, theirs)
    assert any(name.startswith("own.teacher/") for name in ours) == (architecture is MeanTeacher)
    for name in ("steps", "voxels", "flops"):
        assert getattr(resumed.ledger, name) == getattr(whole.ledger, name)


@pytest.mark.parametrize(
    ("architecture", "voxels", "flops"),
    # Forward and backward of a network whose input has no gradient: a teacher goes forward alone.
    [(SharpnessAware, 2, 2), (MeanTeacher, 2, None), (CutMix, 1, 1)],
)
def test_the_ledger_tells_what_was_computed(run, architecture, voxels, flops):
    plain, own = run(OwnRecipe()), run(architecture())
    assert own.ledger.steps == plain.ledger.steps
    assert own.ledger.voxels == voxels * plain.ledger.voxels
    factor = own.ledger.flops / plain.ledger.flops
    assert factor == flops if flops else 1 < factor < 2
    (row,) = own.ledger.stages
    assert row.flops == own.ledger.flops
    assert row.flops_per_step == own.ledger.flops / 5


@pytest.mark.parametrize("unit", ["voxels", "flops"])
def test_budgets_are_charged_for_all_of_it(run, unit):
    plain = run(OwnRecipe()).ledger
    budget = Budget(plain.spent(unit) * 4 / 5, unit)  # four plain steps
    assert run(OwnRecipe(), budget=budget, folder="plain").ledger.steps == 4
    ledger = run(SharpnessAware(), budget=budget).ledger
    assert ledger.steps == 2
    assert ledger.overshoot_steps == 0


class InStages:
    """The head alone trains once half of the budget is spent."""

    def spec(self, config, task):
        stages = (Stage("all", share=0.5), Stage("head", share=0.5, train=("network.1.*",)))
        return replace(super().spec(config, task), stages=stages)


class PlainInStages(InStages, OwnRecipe):
    pass


class SameInStages(InStages, SameStep):
    pass


def test_a_stage_that_freezes_is_charged_its_own_backward_also_after_a_resume(run):
    plain = run(PlainInStages(), budget=Budget(8, "steps")).ledger
    budget = Budget(plain.flops, "flops")
    ledgers = [run(PlainInStages(), budget=budget, folder="by flops").ledger]
    ledgers.append(run(SameInStages(), budget=budget, folder="whole").ledger)

    def die(fraction, ledger):
        if len(ledger.stages) == 2 and ledger.steps == ledger.stages[1].from_step + 1:
            raise Killed

    with pytest.raises(Killed):
        run(SameInStages(), die, budget=budget, checkpoint_every=0.0)
    ledgers.append(run(SameInStages(), budget=budget).ledger)
    assert ledgers[-1].resumed == 1
    first, second = ([row.flops_per_step for row in one.stages] for one in ledgers[:2])
    assert first == second
    assert first[0] > first[1] > 0
    for name in ("flops", "steps"):
        assert len({getattr(ledger, name) for ledger in ledgers}) == 1


def norm_of(training):
    """A loss after a forward pass of which nothing is gone through backwards."""

    def losses(inputs, labels):
        training.forward(inputs)
        return 1e-3 * sum(p.square().sum() for p in training.parameters), {}

    return losses


@pytest.mark.parametrize("cheap_first", [False, True])
def test_two_gradients_after_the_same_passes_cost_what_each_does(run, cheap_first):
    class Two(OwnRecipe):
        def step(self, training, progress, spec):
            for cheap in (cheap_first, not cheap_first):
                training.gradient(norm_of(training) if cheap else None, add=True)
            training.optimise()

    plain = run(OwnRecipe())
    own = run(Two()).ledger
    architecture = Two()
    spec = architecture.spec(configure(architecture), Task(patch=PATCH))
    again = count_cost(architecture, spec).flops_forward * RECIPE.batch * own.steps
    assert own.flops == plain.ledger.flops + again


def test_parts_of_a_batch_give_the_same_gradient(run):
    """Without a norm that couples samples, SAM in parts is SAM at once, to rounding."""

    class Bare(SharpnessAware):
        def build(self, spec):
            return _bare(super().build(spec))

    class Scarce(Bare):
        def build(self, spec):
            network = super().build(spec)
            network.register_forward_pre_hook(_no_room)
            return network

    whole, parts = run(Bare(), folder="bare"), run(Scarce(), folder="scarce")
    assert whole.ledger.accumulation == 1
    assert parts.ledger.accumulation == 2
    assert parts.ledger.voxels == whole.ledger.voxels
    for one, other in zip(weights(whole).values(), weights(parts).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def _bare(network):
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm3d):
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, nn.Identity())
    return network


def _no_room(module, inputs):
    if module.training and len(next(iter(inputs[0].values()))) > 2:
        raise MemoryError("no room for more than two")


def test_memory_that_runs_out_between_two_gradients_is_undone(run):
    """The second pass of SAM fails: its weights have moved, and go back before smaller parts."""
    seen = []

    class Late(SharpnessAware):
        def step(self, training, progress, spec):
            seen.append([p.detach().clone() for p in training.parameters])
            late = len(seen) == 3

            def losses(inputs, labels):
                if late and training.gradients:
                    raise MemoryError("no room for the second pass")
                return training.loss(training.forward(inputs), labels)

            plain = training.gradient
            training.gradients = 0

            def gradient(*_, **__):
                plain(losses)
                training.gradients += 1

            training.gradient = gradient
            super().step(training, progress, spec)

    outcome = run(Late())
    assert outcome.ledger.accumulation == 2
    # The rehearsal, the first step, the second and its repetition, which begins where it began.
    assert len(seen) == 7
    assert all(map(torch.equal, seen[2], seen[3]))
    assert not all(map(torch.equal, seen[1], seen[2]))


def test_under_the_shared_recipe_the_harness_takes_every_step(run):
    recipe = replace(MATCHED_CPU, patch=RECIPE.patch)
    plain = run(OwnRecipe(), recipe=recipe)
    assert same(weights(plain), weights(run(SharpnessAware(), recipe=recipe)))


class Wrong(OwnRecipe):
    """Breaks a rule of the hook, by its argument."""

    def __init__(self, step):
        self.wrong = step

    def step(self, training, progress, spec):
        self.wrong(training)


def _twice(training):
    training.gradient()
    training.optimise()
    training.optimise()


def _late_gradient(training):
    training.gradient()
    training.optimise()
    training.gradient()


def _past_forward(training):
    network = training.network
    training.gradient(lambda inputs, labels: training.loss(network(inputs), labels))
    training.optimise()


def _past_gradient(training):
    training.loss(training.forward(training.inputs), training.labels)[0].backward()
    training.optimise()


def _by_hand(training):
    for parameter in training.parameters:
        parameter.grad = torch.ones_like(parameter)
    training.optimise()


def _broken(training):
    training.gradient(lambda inputs, labels: inputs["no such grid"])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda training: None, r"ended without training\.optimise"),
        (lambda training: training.gradient(), r"ended without training\.optimise"),
        (lambda training: training.optimise(), "without a gradient"),
        (_twice, "optimise.. twice"),
        (_late_gradient, "gradient after optimise"),
        (_past_forward, "past the counters"),
        (_past_gradient, "past the counters"),
        (_by_hand, "past the counters"),
        (_broken, r"step\(\) raised KeyError: 'no such grid'"),
        (lambda training: training.gradient(lambda inputs, labels: 3.0), "no pair"),
        (
            lambda training: training.gradient(lambda *_: (torch.ones(()), {})),
            "loss without a gradient",
        ),
        (
            lambda training: training.gradient(None, training.inputs, torch.ones(3)),
            "batches of 3, 4 samples",
        ),
        (lambda training: training.gradient(None, [1, 2]), "a list: give tensors"),
        (lambda training: training.keep("a b", lambda: torch.ones(1)), "use a word"),
        (lambda training: training.keep("teacher", lambda: 3), "a module or a tensor"),
    ],
)
def test_what_breaks_a_rule_is_told(run, step, message):
    with pytest.raises(TrialFailure, match=message) as failure:
        run(Wrong(step))
    assert failure.value.reason == "plugin error"


def test_what_is_made_otherwise_does_not_go_on(run):
    def kept(size, kind=torch.float32):
        def step(training):
            training.keep("memory", lambda: torch.zeros(size, dtype=kind))
            training.gradient()
            training.optimise()

        return step

    run(Wrong(kept(1)), budget=Budget(1, "steps"), folder="kept")
    # Copied into another shape or type it would be stretched or rounded without a word.
    for other in (kept(4), kept(1, torch.int64)):
        with pytest.raises(TrialFailure, match="checkpoint does not fit"):
            run(Wrong(other), budget=Budget(2, "steps"), folder="kept")


def test_a_kept_tensor_counts_on_through_a_resume(run, make_job):
    def step(training):
        training.keep("count", lambda: torch.zeros(())).add_(1)
        training.gradient()
        training.optimise()

    def die(fraction, ledger):
        if ledger.steps == 2:
            raise Killed

    with pytest.raises(Killed):
        run(Wrong(step), die, folder="count", checkpoint_every=0.0)
    run(Wrong(step), folder="count")
    assert state_of(make_job(OwnRecipe(), folder="count"))["own.count/"] == 5


def test_several_processes_are_refused():
    team = SimpleNamespace(size=2)
    job = SimpleNamespace(recipe=RECIPE, architecture=SharpnessAware(), team=team)
    with pytest.raises(TrialFailure, match="--world-size 1"):
        own_steps(job, nn.Identity())
    job.architecture = OwnRecipe()
    assert own_steps(job, nn.Identity()) is None
