"""Optimisers of two modes: trained by one set of weights, judged and kept by the other."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from architectures.brought import FreeOfSchedule, ScheduleFree
from architectures.own_steps import RECIPE

from kitsbench.recipe import Optimiser
from kitsbench.training.budget import Budget
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from kitsbench.training.loop import train

RULE = Optimiser("plugin:Free", lr=0.05)


class Stop(Exception):
    pass


@pytest.fixture
def run(make_job):
    def begin(folder, report=lambda fraction, ledger: None, evaluate=None):
        job = make_job(
            FreeOfSchedule(),
            folder,
            recipe=replace(RECIPE, optimiser=RULE),
            budget=Budget(6, "steps"),
            checkpoint_every=0.0,
        )
        return job, train(job, report, evaluate)

    return begin


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_result_is_what_the_optimiser_means_by_it(run):
    job, outcome = run("whole")
    model, state, _ = load_checkpoint(latest_checkpoint(job.folder))
    result = weights(outcome.network)
    # What is predicted with later is what was scored.
    assert same(result, {n.removeprefix("model."): v for n, v in model.items()})
    assert state["param_groups"][0]["training"] is False
    assert state["param_groups"][0]["count"] == 6
    # Moved to the weights that it trained by, these are others.
    found = [torch.nn.Parameter(value.clone()) for value in result.values()]
    back = ScheduleFree(found, lr=0.05)
    back.load_state_dict(state)
    with torch.no_grad():
        back.train()
    assert not any(torch.equal(a, b) for a, b in zip(found, result.values(), strict=True))


def test_scores_on_the_way_are_those_of_the_result_and_change_nothing(run):
    seen = []

    def evaluate(network):
        seen.append(weights(network))
        return {}

    _, watched = run("watched", evaluate=evaluate)
    _, alone = run("alone")
    assert same(weights(watched.network), weights(alone.network))
    assert len(seen) == 3
    assert not same(seen[0], seen[1])


def test_it_goes_on_from_a_checkpoint_bit_for_bit(run):
    def stop(fraction, ledger):
        if ledger.steps == 3 and not ledger.resumed:
            raise Stop

    with contextlib.suppress(Stop):
        run("halved", stop)
    _, again = run("halved", stop)
    _, whole = run("whole")
    assert again.ledger.resumed == 1
    assert same(weights(again.network), weights(whole.network))
