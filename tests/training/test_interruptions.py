"""Who is told to end keeps what was done, where that is safe."""

from __future__ import annotations

from dataclasses import replace

import architectures
import pytest
import torch
from torch import nn

from kitsbench.errors import Terminated
from kitsbench.recipe import Schedule
from kitsbench.training import loop, run_state
from kitsbench.training.budget import Budget
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint
from kitsbench.training.loop import train
from kitsbench.training.recipes import MATCHED_CPU

RECIPE = replace(
    MATCHED_CPU,
    patch=architectures.PATCH,
    average=0.9,
    schedule=Schedule("plateau", patience=0.1, factor=0.5),
)
BUDGET = Budget(8, "steps")


class Told(architectures.Smallest):
    """Is told to end in one of its hooks, after batch normalisation has moved."""

    where, step = "", -1

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        if progress.step != self.step:
            return total, parts
        if self.where == "loss":
            raise Terminated
        if self.where == "backward":
            total.register_hook(self.end)
        return total, parts

    @staticmethod
    def end(*_):
        raise Terminated


@pytest.fixture
def soon(monkeypatch):
    """The last checkpoint is old enough at once."""
    monkeypatch.setattr(run_state, "PARTING", 0.0)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def told(outcome):
    """The curve without what a clock has a hand in."""
    return [{k: v for k, v in row.items() if k != "device_seconds"} for row in outcome.curve]


def score(network):
    return {"score": next(network.parameters()).sum().item()}


@pytest.mark.parametrize("where", ["loss", "backward"])
def test_a_step_that_has_begun_is_taken_again_from_its_beginning(make_job, soon, where):
    whole = train(make_job(recipe=RECIPE, budget=BUDGET, folder="whole"), evaluate=score)
    architecture = Told()
    architecture.where, architecture.step = where, 3
    job = make_job(architecture, recipe=RECIPE, budget=BUDGET, folder="told")
    with pytest.raises(Terminated):
        train(job, evaluate=score)
    assert latest_checkpoint(job.folder).name == "step-00000003"
    architecture.step = -1
    resumed = train(job, evaluate=score)
    assert resumed.ledger.resumed == 1
    assert same(resumed.network, whole.network)
    assert told(resumed) == told(whole)


def test_a_pause_for_scoring_is_gone_into_again(make_job, soon):
    whole = train(make_job(recipe=RECIPE, budget=BUDGET, folder="whole"), evaluate=score)
    job = make_job(recipe=RECIPE, budget=BUDGET, folder="told")

    def end(network):
        raise Terminated

    with pytest.raises(Terminated):
        train(job, evaluate=end)
    assert latest_checkpoint(job.folder).name == "step-00000002"
    resumed = train(job, evaluate=score)
    assert same(resumed.network, whole.network)
    assert told(resumed) == told(whole)


def test_half_moved_weights_are_not_kept(make_job, soon, monkeypatch):
    make, done = loop.make_optimiser, []

    def made(*arguments):
        optimiser = make(*arguments)
        optimiser.register_step_post_hook(end)
        return optimiser

    def end(*_):
        done.append(1)
        if len(done) == 3:
            raise Terminated

    monkeypatch.setattr(loop, "make_optimiser", made)
    job = make_job(recipe=RECIPE, budget=BUDGET)
    with pytest.raises(Terminated):
        train(job)
    assert latest_checkpoint(job.folder) is None


@pytest.mark.parametrize("error", [RuntimeError, KeyError])
def test_an_error_writes_nothing(make_job, soon, error):
    class Wrong(architectures.Smallest):
        def loss(self, outputs, targets, progress, spec):
            if progress.step == 3:
                raise error("wrong")
            return super().loss(outputs, targets, progress, spec)

    job = make_job(Wrong(), recipe=RECIPE, budget=BUDGET)
    with pytest.raises(Exception, match="wrong"):
        train(job)
    assert latest_checkpoint(job.folder) is None


def test_a_minute_is_not_worth_it(make_job):
    architecture = Told()
    architecture.where, architecture.step = "loss", 3
    job = make_job(architecture, recipe=RECIPE, budget=BUDGET)
    with pytest.raises(Terminated):
        train(job)
    assert latest_checkpoint(job.folder) is None


class Clock:
    """A clock that is a quarter of an hour further each time that it is asked."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 900.0
        return self.now


@pytest.mark.parametrize(
    ("every", "budget", "expected"),
    [(None, 200, 4), (60.0, 8, 1), (1e9, 8, None)],
)
def test_checkpoints_are_some_time_and_a_share_of_the_budget_apart(
    make_job, monkeypatch, every, budget, expected
):
    monkeypatch.setattr(run_state, "time", Clock())
    saved = []
    job = make_job(budget=Budget(budget, "steps"), checkpoint_every=every)
    run = loop._Run(job, lambda fraction, ledger: None, None)
    run.saved_at, run.saved_share = run_state.time.perf_counter(), 0.0
    for step in range(1, 9):
        run.ledger.steps = step
        if run._is_late():
            saved.append(step)
            run.saved_at, run.saved_share = run_state.time.perf_counter(), step / budget
    assert saved == ([] if expected is None else list(range(expected, 9, expected)))
