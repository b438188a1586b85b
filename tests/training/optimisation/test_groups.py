"""Groups of parameters, optimisers by name, and warm-up in steps."""

from __future__ import annotations

import copy
from dataclasses import replace

import architectures
import pytest
import torch
from torch import nn

from kitsbench.architecture import Stage
from kitsbench.errors import ContractError
from kitsbench.recipe import Group, Optimiser, Schedule
from kitsbench.training.budget import Budget
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.optimisation.optimisers import make_optimiser, set_rate
from kitsbench.training.optimisation.stages import freeze
from kitsbench.training.recipes import MATCHED_CPU

RECIPE = replace(MATCHED_CPU, name="own", patch=architectures.PATCH, schedule=Schedule("constant"))
NO_DECAY = Group(names=("*.bias",), layers=("*Norm*",), weight_decay=0.0)


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            one, two = group["betas"]
            for p in (p for p in group["params"] if p.grad is not None):
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                update = average.lerp(p.grad, 1 - one).sign_()
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
                average.lerp_(p.grad, 1 - two)


class Odd(Lion):
    """Keeps in its state what no checkpoint can hold."""

    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            group["seen"] = {1, 2}


def no_rate(params, lr):
    return Lion(params, lr=lr).param_groups


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 4, 1), nn.InstanceNorm3d(4, affine=True)
    )


def groups(model, rule):
    names = {p: name for name, p in model.named_parameters()}
    optimiser = make_optimiser(rule, freeze(model, Stage(), rule), model, architectures.Smallest())
    return [({names[p] for p in g["params"]}, g) for g in optimiser.param_groups]


def test_norms_and_biases_without_decay():
    rule = Optimiser("adamw", lr=0.01, weight_decay=0.1, groups=(NO_DECAY,))
    (rest, decayed), (listed, plain) = groups(network(), rule)
    assert rest == {"0.weight", "2.weight"}
    assert decayed["weight_decay"] == 0.1
    assert listed == {"0.bias", "1.weight", "1.bias", "2.bias", "3.weight", "3.bias"}
    assert plain["weight_decay"] == 0


def test_rates_follow_the_schedule_by_their_factors_and_the_first_group_wins():
    rule = Optimiser(
        "sgd",
        lr=0.1,
        groups=(
            Group(("2.*",), lr_factor=0.5, arguments=(("momentum", 0.9),)),
            Group(("*.bias",), lr_factor=2.0),
        ),
    )
    model = network()
    (_, rest), (second, slow), (biases, fast) = groups(model, rule)
    assert second == {"2.weight", "2.bias"}
    assert slow["momentum"] == 0.9
    assert rest["momentum"] == fast["momentum"] == 0
    assert biases == {"0.bias", "1.bias", "3.bias"}
    optimiser = make_optimiser(rule, list(model.parameters()), model)
    assert [g["lr"] for g in optimiser.param_groups] == [0.1, 0.05, 0.2]
    set_rate(optimiser, 0.01)
    assert [g["lr"] for g in optimiser.param_groups] == [0.01, 0.005, 0.02]


def test_a_shared_parameter_goes_by_all_its_names():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    rule = Optimiser(groups=(Group(("b.weight",), lr_factor=0.1),))
    assert [names for names, _ in groups(model, rule)] == [
        {"a.bias", "b.bias"},
        {"a.weight"},
    ]


def test_what_a_group_freezes_stays_as_it_was(make_job):
    rule = Optimiser("sgd", lr=0.1, groups=(Group(("network.0.*",), frozen=True),))
    recipe = replace(RECIPE, optimiser=rule)
    free = train(make_job(recipe=replace(RECIPE, optimiser=replace(rule, groups=())), folder="f"))
    outcome = train(make_job(recipe=recipe))
    start = train(make_job(recipe=recipe, budget=Budget(1, "steps"), folder="start"))
    old, new = start.network.state_dict(), outcome.network.state_dict()
    held = [name for name in new if name.startswith("network.0.")]
    # Weights, and the running statistics of the norm that lies there.
    assert held
    assert all(torch.equal(old[name], new[name]) for name in held)
    assert not torch.equal(old["network.1.weight"], new["network.1.weight"])
    (row,) = outcome.ledger.stages
    assert row.frozen_parameters == sum(
        p.numel() for name, p in outcome.network.named_parameters() if name in held
    )
    # No backward pass goes there.
    assert outcome.ledger.flops < free.ledger.flops


def test_a_stage_and_a_group_freeze_together():
    model, rule = network(), Optimiser(groups=(Group(("*.bias",), frozen=True),))
    freeze(model, Stage(train=("0.*", "2.*")), rule)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"0.weight", "2.weight"}
    with pytest.raises(ContractError, match="leave unfrozen"):
        freeze(model, Stage(train=("*.bias",)), rule)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (Group(("head.*",), lr_factor=2.0), r"called like 'head\.\*'.*0\.weight, 0\.bias"),
        (Group(layers=("LayerNorm",), lr_factor=2.0), "is a 'LayerNorm'.*BatchNorm3d, Conv3d"),
        (Group(("*.bias", "*.scale"), lr_factor=2.0), r"called like '\*\.scale'"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error(group, message):
    with pytest.raises(ContractError, match=message):
        freeze(network(), Stage(), Optimiser(groups=(group,)))


def test_a_group_says_nothing_that_the_optimiser_has_not():
    rule = Optimiser("sgd", groups=(Group(("*.bias",), arguments=(("betas", (0.9, 0.9)),)),))
    with pytest.raises(ContractError, match="'betas', which optimiser 'sgd' has not"):
        make_optimiser(rule, list((model := network()).parameters()), model)


def test_a_group_that_others_have_emptied_is_an_error():
    rule = Optimiser(groups=(Group(("*",)), Group(("*.bias",), lr_factor=2.0)))
    with pytest.raises(ContractError, match="narrower group first"):
        make_optimiser(rule, list((model := network()).parameters()), model)


# --- by name -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (Optimiser("NAdam", lr=0.01, weight_decay=0.1), torch.optim.NAdam),
        (Optimiser("RMSprop", lr=0.01, momentum=0.9), torch.optim.RMSprop),
        (Optimiser("torch.optim:Adagrad", lr=0.01), torch.optim.Adagrad),
        (Optimiser("plugin:Lion", lr=0.01, arguments=(("betas", (0.8, 0.9)),)), Lion),
        (Optimiser(f"{__name__}:Lion", lr=0.01), Lion),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_optimisers_by_name_are_the_classes(rule, kind):
    class Mine(architectures.Smallest):
        pass

    model = network()
    made = make_optimiser(rule, list(model.parameters()), model, Mine())
    assert type(made) is kind
    (group,) = made.param_groups
    assert group["lr"] == 0.01
    assert group["weight_decay"] == rule.weight_decay
    for name, value in rule.arguments:
        assert group[name] == value
    if rule.momentum:
        assert group["momentum"] == 0.9


def test_adam_takes_arguments_of_torch():
    model = network()
    rule = Optimiser("adamw", arguments=(("betas", (0.95, 0.98)), ("eps", 1e-6)))
    (group,) = make_optimiser(rule, list(model.parameters())).param_groups
    assert (group["betas"], group["eps"]) == ((0.95, 0.98), 1e-6)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Optimiser("Unicorn"), "no optimiser 'Unicorn'"),
        (Optimiser("Optimizer"), "refuses"),
        (Optimiser("LBFGS"), "closure.*write a `step`"),
        (Optimiser("plugin:Unicorn"), "neither Mine nor its module"),
        (Optimiser("plugin:RECIPE"), "which is a Recipe"),
        (Optimiser("plugin:no_rate"), "made a list"),
        (Optimiser("no_such_package:Lion"), "no_such_package cannot be imported"),
        (Optimiser("adamw", arguments=(("beta", 0.9),)), "refuses.*beta"),
        (Optimiser("Adadelta", momentum=0.9), "refuses.*momentum"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_cannot_be_is_told(rule, message):
    class Mine(architectures.Smallest):
        pass

    model = network()
    with pytest.raises(ContractError, match=message):
        make_optimiser(rule, list(model.parameters()), model, Mine())


class OwnRules(architectures.Smallest):
    """Trains by what this module defines."""


def test_an_optimiser_of_the_plugin_resumes_bit_for_bit(make_job):
    rule = Optimiser(
        "plugin:Lion", lr=1e-3, weight_decay=0.1, groups=(NO_DECAY, Group(("*",), lr_factor=0.5))
    )
    schedule = Schedule("cosine", warmup_steps=2, warmup_from=0.5)
    recipe = replace(RECIPE, optimiser=rule, schedule=schedule)
    whole = train(make_job(OwnRules(), recipe=recipe, folder="whole"))

    class Killed(BaseException):
        pass

    def die(fraction, ledger):
        if ledger.steps == 3:
            raise Killed

    with pytest.raises(Killed):
        train(make_job(OwnRules(), recipe=recipe, checkpoint_every=0.0), report=die)
    resumed = train(make_job(OwnRules(), recipe=recipe))
    assert resumed.ledger.resumed == 1
    pairs = zip(
        whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True
    )
    assert all(torch.equal(a, b) for a, b in pairs)
    assert whole.ledger.stages[0].optimiser == "plugin:Lion"


def test_a_state_that_no_checkpoint_can_hold_is_refused(make_job):
    recipe = replace(RECIPE, optimiser=Optimiser("plugin:Odd", lr=1e-3))
    with pytest.raises(ContractError, match="keeps a set in its state"):
        train(make_job(OwnRules(), recipe=recipe, budget=Budget(1, "steps")))


class Failing(Lion):
    def step(self, closure=None):
        raise RuntimeError("sparse gradients only")


def test_an_optimiser_that_fails_is_the_plugins_error(make_job):
    recipe = replace(RECIPE, optimiser=Optimiser("plugin:Failing", lr=1e-3))
    with pytest.raises(TrialFailure, match="sparse gradients only") as failure:
        train(make_job(OwnRules(), recipe=recipe))
    assert failure.value.reason == "plugin error"


# --- warm-up -----------------------------------------------------------------------------------


def test_a_warm_up_in_steps_rises_by_steps_and_ends_within_a_tenth_of_the_budget():
    schedule = Schedule("constant", warmup_steps=4)
    assert [schedule.at(0.0, done) for done in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    longer = Schedule("constant", warmup_steps=1000)
    assert longer.at(0.05, 10) == pytest.approx(0.5)
    assert longer.at(0.1, 20) == 1
    begun = Schedule("constant", warmup=0.1, warmup_from=0.2)
    assert [begun.at(p) for p in (0, 0.05, 0.1)] == pytest.approx([0.2, 0.6, 1.0])


def test_rates_of_a_training_warm_up_in_each_stage_and_anneal(make_job):
    schedule = Schedule("polynomial", power=1.0, warmup_steps=2)
    rule = Optimiser("sgd", lr=1.0, groups=(Group(("*.bias",), lr_factor=0.1),))
    recipe = replace(RECIPE, optimiser=rule, schedule=schedule, clip_gradient=0.01)
    outcome = train(make_job(recipe=recipe, budget=Budget(20, "steps")))
    rates = [row["value"] for row in outcome.curve if row["kind"] == "lr"]
    assert rates[:3] == pytest.approx([0.5, 0.95, 0.9])
    assert rates[-1] == 0


def test_copies_of_words_are_equal():
    rule = Optimiser(groups=(NO_DECAY,))
    assert copy.deepcopy(rule) == rule
    assert hash(rule) == hash(copy.deepcopy(rule))
