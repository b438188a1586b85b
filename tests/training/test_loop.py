"""The training loop: budgets, the clock, resuming, stages, failures."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace

import architectures
import pytest
import torch
from architectures import broken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kitsbench.recipe import Optimiser, Schedule, Transform
from kitsbench.training.budget import Budget
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network
from kitsbench.training.optimisation.stages import StageTracker
from kitsbench.training.recipes import MATCHED_CPU

RECIPE = replace(MATCHED_CPU, patch=architectures.PATCH)


class Killed(BaseException):
    """Stands for a process that was killed."""


def weights(outcome):
    return {k: v.clone() for k, v in outcome.network.state_dict().items()}


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_budget_in_steps_is_spent_exactly(make_job):
    outcome = train(make_job(budget=Budget(7, "steps")))
    assert outcome.ledger.steps == 7
    assert outcome.ledger.patches == 7 * 4
    assert outcome.ledger.overshoot_steps == 0
    assert outcome.ledger.voxels == 7 * 4 * 16**3
    assert outcome.ledger.flops > 0


@pytest.mark.parametrize("unit", ["voxels", "flops"])
def test_other_currencies_stop_within_one_step(make_job, unit):
    one = train(make_job(budget=Budget(1, "steps"), folder="one")).ledger.spent(unit)
    outcome = train(make_job(budget=Budget(one * 3.5, unit)))
    assert outcome.ledger.steps == 4
    assert outcome.ledger.overshoot_steps == pytest.approx(0.5)


class Slow(architectures.Smallest):
    """Ten times the work a step, by waiting."""

    def loss(self, outputs, targets, progress, spec):
        time.sleep(0.2)
        return super().loss(outputs, targets, progress, spec)


def test_a_time_budget_is_spent_alike_by_slow_and_fast_architectures(make_job):
    budget = Budget(1.5, "seconds")
    fast = train(make_job(budget=budget, folder="fast"))
    slow = train(make_job(Slow(), budget=budget, folder="slow"))
    assert fast.ledger.steps > slow.ledger.steps
    for outcome in (fast, slow):
        assert outcome.ledger.device_seconds >= 1.5
        assert outcome.ledger.overshoot_steps < 1
        assert outcome.ledger.overshoot_seconds == pytest.approx(
            outcome.ledger.device_seconds - 1.5
        )
        rates = [row for row in outcome.curve if row["kind"] == "lr"]
        # Both annealed completely.
        assert rates[-1]["value"] == 0


def test_the_clock_stands_still_for_evaluation(make_job):
    def evaluate(network):
        time.sleep(0.4)
        return {"tumor:dice": 0.5}

    outcome = train(make_job(budget=Budget(8, "steps")), evaluate=evaluate)
    assert outcome.ledger.evaluation_s > 1.1
    assert outcome.ledger.device_seconds < outcome.ledger.wall_s - 1.1
    scores = [row for row in outcome.curve if row["kind"] == "score"]
    assert [row["fraction"] for row in scores] == [0.25, 0.5, 0.75]


def test_evaluation_leaves_the_training_as_it_is(make_job):
    def evaluate(network):
        torch.rand(5)  # an evaluation may well draw random numbers
        return {}

    plain = weights(train(make_job(folder="a")))
    watched = weights(train(make_job(folder="b"), evaluate=evaluate))
    assert same(plain, watched)


@given(kill_at=st.integers(1, 7), again=st.integers(1, 7))
@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_killed_run_resumes_bit_for_bit(make_job, tmp_path_factory, kill_at, again):
    recipe = replace(RECIPE, average=0.9, schedule=Schedule("plateau", patience=0.1, factor=0.5))
    undisturbed = train(make_job(recipe=recipe, folder=str(tmp_path_factory.mktemp("whole"))))
    folder = str(tmp_path_factory.mktemp("killed"))
    for step in (kill_at, again):

        def die(fraction, ledger, step=step):
            if ledger.steps == step:
                raise Killed

        job = make_job(recipe=recipe, folder=folder, checkpoint_every=0.0)
        try:
            train(job, report=die)
        except Killed:
            continue
    resumed = train(make_job(recipe=recipe, folder=folder))
    assert same(weights(undisturbed), weights(resumed))

    def losses(outcome):
        return [(r["step"], r["name"], r["value"]) for r in outcome.curve if r["kind"] == "loss"]

    assert losses(resumed) == losses(undisturbed)
    assert resumed.ledger.steps == undisturbed.ledger.steps


def test_a_finished_run_is_not_trained_again(make_job):
    first = train(make_job())
    seen = []
    second = train(make_job(), report=lambda fraction, ledger: seen.append(fraction))
    assert seen == []
    assert same(weights(first), weights(second))


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(make_job):
    train(make_job(budget=Budget(8, "steps"), checkpoint_every=0.0))
    job = make_job()
    newest = latest_checkpoint(job.folder)
    (newest / "model.safetensors").write_bytes(b"damaged")
    outcome = train(job)
    assert outcome.ledger.steps == 8
    assert outcome.ledger.resumed >= 1


def test_seeds_give_different_networks_and_equal_seeds_equal_ones(make_job):
    a, b = train(make_job(folder="a")), train(make_job(folder="b"))
    c = train(make_job(folder="c", seed=1))
    assert same(weights(a), weights(b))
    assert not same(weights(a), weights(c))


def test_training_lowers_the_loss(make_job):
    recipe = replace(RECIPE, augmentation=())
    outcome = train(make_job(budget=Budget(60, "steps"), recipe=recipe))
    values = [row["value"] for row in outcome.curve if row["name"] == "loss"]
    assert sum(values[-10:]) < 0.8 * sum(values[:10])


@pytest.mark.parametrize(
    "name",
    ["Smallest", "Valid", "Regions", "Boundary", "Presence", "DeepSupervision", "Cleaned"],
)
def test_every_kind_of_head_trains(make_job, name):
    outcome = train(make_job(getattr(architectures, name)(), budget=Budget(3, "steps")))
    assert outcome.ledger.steps == 3
    assert all(torch.isfinite(p).all() for p in outcome.network.parameters())


def test_stages_freeze_what_they_shall_and_the_ledger_tells(make_job):
    architecture = architectures.Staged()
    job = make_job(architecture, budget=Budget(10, "steps"))
    outcome = train(job)
    rough, fine = outcome.ledger.stages
    assert (rough.name, rough.steps, rough.ended_by) == ("rough", 4, "share")
    assert (fine.name, fine.steps, fine.ended_by) == ("fine", 6, "budget")
    assert (fine.from_step, fine.from_fraction) == (4, 0.4)
    total = sum(p.numel() for p in outcome.network.parameters())
    head = sum(p.numel() for p in outcome.network.layers["segmentation"].parameters())
    assert (fine.trained_parameters, fine.frozen_parameters) == (head, total - head)
    assert (rough.trained_parameters, rough.frozen_parameters) == (total - head, head)
    spent = rough.device_seconds + fine.device_seconds
    assert spent == pytest.approx(outcome.ledger.device_seconds)
    assert outcome.ledger.lr_reductions == []


class Decided(architectures.Staged):
    """Its first stage has learned enough from the beginning."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return total, parts | {"rough.accuracy": torch.tensor(1.0)}


def test_a_stage_that_reached_its_aim_leaves_its_share_to_the_next(make_job):
    rough, fine = train(make_job(Decided(), budget=Budget(30, "steps"))).ledger.stages
    assert (rough.steps, rough.ended_by) == (11, "until")
    assert "rough.accuracy" in rough.ended_because
    assert (fine.steps, fine.ended_by) == (19, "budget")


class Stuck(architectures.Smallest):
    """A loss that never changes."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return total * 0 + 1, parts


def test_a_plateau_lowers_the_learning_rate_and_the_ledger_says_when(make_job):
    recipe = replace(RECIPE, schedule=Schedule("plateau", patience=0.1, factor=0.2, least=0.03))
    outcome = train(make_job(Stuck(), recipe=recipe, budget=Budget(20, "steps")))
    reductions = outcome.ledger.lr_reductions
    # After 0.3 of the budget, again after two patiences, and not below the least.
    assert [row.step for row in reductions] == [6, 11, 16]
    assert [row.factor for row in reductions] == pytest.approx([0.2, 0.04, 0.03])
    assert {row.stage for row in reductions} == {"train"}
    rates = [row["value"] for row in outcome.curve if row["kind"] == "lr"]
    assert rates[-1] == pytest.approx(0.03 * rates[0])


@pytest.mark.parametrize("steps", [400, 4000])
def test_moving_averages_remember_a_share_of_the_budget_however_many_steps(steps):
    rule, tracker = Schedule("plateau", memory=0.05), StageTracker()
    for step in range(steps):
        progress = step / steps
        if progress < 0.3:
            tracker.observe({"loss": 1 - 3 * progress}, rule, progress)
    # A ramp is followed with a lag of the memory.
    assert tracker.average("loss") == pytest.approx(1 - 3 * (0.3 - 0.05), abs=0.04)


def test_moving_averages_remember_ten_steps_however_short_the_budget():
    rule, tracker = Schedule("plateau", memory=0.001), StageTracker()
    for step in range(10):
        assert tracker.average("loss") == -math.inf  # a few lucky batches are no average
        tracker.observe({"loss": 1.0}, rule, (step + 1) / 11)
    assert tracker.average("loss") == pytest.approx(1.0)
    tracker.observe({"loss": 0.0}, rule, 1.0)
    kept = math.exp(-1 / 10)
    assert tracker.average("loss") == pytest.approx(kept * (1 - math.exp(-1)) / (1 - kept**11))


def test_a_ratio_is_that_of_the_averages_and_batches_without_either_add_nothing():
    tracker = StageTracker()
    for step in range(40):
        part = {"hits": 3.0, "all": 4.0} if step % 2 else {"hits": 0.0, "all": 0.0}
        tracker.observe({"loss": 1.0, **part}, Schedule(), step / 40)
    assert tracker.average("hits", "all") == pytest.approx(0.75)
    assert tracker.average("hits") < 2
    assert tracker.average("none", "all") == tracker.average("hits", "none") == -math.inf


def test_stages_and_plateaus_survive_a_kill(make_job):
    recipe = replace(RECIPE, schedule=Schedule("plateau", patience=0.1, factor=0.5))
    architecture = StuckInStages()
    fields = {"recipe": recipe, "budget": Budget(32, "steps"), "checkpoint_every": 0.0}
    whole = train(make_job(architecture, folder="whole", **fields))

    for step in (3, 11, 25):

        def die(fraction, ledger, step=step):
            if ledger.steps == step:
                raise Killed

        with pytest.raises(Killed):
            train(make_job(architecture, folder="killed", **fields), report=die)
    resumed = train(make_job(architecture, folder="killed", **fields))

    def told(outcome):
        rows = [asdict(row) for row in outcome.ledger.stages]
        for row in rows:
            del row["device_seconds"], row["from_seconds"]  # a clock's, never the same twice
        return rows, outcome.ledger.lr_reductions

    assert told(resumed) == told(whole)
    assert {row.stage for row in whole.ledger.lr_reductions} == {"rough", "fine"}
    assert same(weights(resumed), weights(whole))


class StuckInStages(architectures.Staged):
    """Stages whose losses stop falling; the second has no schedule of its own."""

    def spec(self, config, task):
        spec = super().spec(config, task)
        stages = tuple(replace(stage, schedule=None, until=None) for stage in spec.stages)
        return replace(spec, stages=stages)

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return total * 0.0 + 1, parts


def test_frozen_weights_do_not_move(make_job):
    architecture = architectures.Staged()
    job = make_job(architecture, budget=Budget(10, "steps"))
    snapshots = {}

    from kitsbench.training.loop import _Run

    run = _Run(
        job,
        lambda fraction, ledger: snapshots.setdefault(
            run.tracker.index, {k: v.clone() for k, v in run.network.named_parameters()}
        ),
        None,
    )
    outcome = run.finish()
    frozen = {name for name, p in outcome.network.named_parameters() if not p.requires_grad}
    last = max(snapshots)
    final = dict(outcome.network.named_parameters())
    assert frozen
    assert all(torch.equal(snapshots[last][name], final[name]) for name in frozen)
    moved = set(final) - frozen
    assert any(not torch.equal(snapshots[last][name], final[name]) for name in moved)


@pytest.mark.parametrize(
    ("architecture", "reason", "words"),
    [
        (broken.RaisesInForward(), "plugin error", "forward"),
        (broken.GivesNan(), "non-finite loss", "step 0"),
        (broken.WrongShape(), "plugin error", "shape"),
        (broken.LossIsNoPair(), "plugin error", "loss"),
    ],
)
def test_failures_name_their_reason(make_job, architecture, reason, words):
    with pytest.raises(TrialFailure, match=words) as caught:
        train(make_job(architecture))
    assert caught.value.reason == reason


def test_a_late_nan_names_step_and_cases(make_job):
    left = []
    with pytest.raises(TrialFailure, match=r"step \d+ \(cases case_") as caught:
        train(
            make_job(broken.GivesNanLater(), budget=Budget(40, "steps")),
            cut_short=lambda *found: left.append(found),
        )
    assert caught.value.reason == "non-finite loss"
    # What was spent until then is told, and how the losses ran.
    ((error, ledger, curve),) = left
    assert error is caught.value
    assert f"step {ledger.steps - 1} " in str(error)
    assert ledger.budget_spent_fraction == ledger.steps / 40
    assert ledger.stages[-1].steps == ledger.steps
    assert ledger.device_seconds > 0
    assert max(row["step"] for row in curve) == ledger.steps - 2


class InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, now):
        ctx.now = now
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf") if ctx.now else gradient, None


class Steep(architectures.Smallest):
    """A finite loss whose gradient is not, at step 3."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return InfiniteGradient.apply(total, progress.step == 3), parts


@pytest.mark.parametrize("clip", [12.0, None])
def test_a_gradient_that_is_not_finite_is_laid_to_the_batch_that_caused_it(make_job, clip):
    job = make_job(Steep(), recipe=replace(RECIPE, clip_gradient=clip))
    words = r"gradient norm was (nan|inf) at step 3 \(cases case_"
    with pytest.raises(TrialFailure, match=words) as caught:
        train(job)
    assert caught.value.reason == "non-finite loss"


@pytest.mark.parametrize("clip", [0.01, None])
def test_a_step_is_as_long_as_the_clipped_gradient(make_job, clip):
    rule, constant = Optimiser("sgd", lr=0.5), Schedule("constant")
    recipe = replace(RECIPE, optimiser=rule, schedule=constant, clip_gradient=clip)
    job = make_job(recipe=recipe, budget=Budget(1, "steps"))
    before = build_network(job.architecture, job.spec, job.seed, job.fold, job.device)
    after = train(job)
    pairs = zip(before.parameters(), after.network.parameters(), strict=True)
    length = torch.cat([(a - b).flatten() for a, b in pairs]).norm().item()
    norm = next(row["value"] for row in after.curve if row["kind"] == "gradient")
    assert norm > 0.01
    assert length == pytest.approx(0.5 * (norm if clip is None else clip), rel=1e-3)


def test_the_curve_holds_every_component_of_the_loss(make_job):
    outcome = train(make_job(architectures.Boundary(), budget=Budget(4, "steps")))
    names = {row["name"] for row in outcome.curve if row["kind"] == "loss"}
    assert names == {
        "loss",
        "segmentation.dice",
        "segmentation.bce",
        "edges.dice",
        "edges.bce",
    }


class NamesAPartLoss(architectures.Smallest):
    def loss(self, outputs, targets, progress, spec):
        total, _ = super().loss(outputs, targets, progress, spec)
        return total, {"loss": 7.0, "whole": total.detach()}


def test_the_loss_of_the_curve_is_what_was_minimised(make_job):
    rows = train(make_job(NamesAPartLoss(), budget=Budget(2, "steps"))).curve
    found = {
        name: [row["value"] for row in rows if (row["kind"], row["name"]) == ("loss", name)]
        for name in ("loss", "whole")
    }
    assert found["loss"] == found["whole"] != []


def test_averaged_weights_are_the_average_that_one_computes_by_hand(make_job):
    from kitsbench.training.loop import _Run

    recipe = replace(RECIPE, average=0.6)
    seen = []
    job = make_job(recipe=recipe, budget=Budget(6, "steps"))
    run = _Run(
        job,
        lambda fraction, ledger: seen.append(
            {k: v.double().clone() for k, v in run.network.state_dict().items()}
        ),
        None,
    )
    expected = {k: v.double().clone() for k, v in run.network.state_dict().items()}
    outcome = run.finish()
    for step, state in enumerate(seen):
        decay = min(0.6, (1 + step) / (10 + step))
        expected = {k: decay * expected[k] + (1 - decay) * state[k] for k in expected}
    found = outcome.network.state_dict()
    for name, value in expected.items():
        if found[name].is_floating_point():
            torch.testing.assert_close(found[name].double(), value, rtol=1e-4, atol=1e-6)


def test_the_loader_keeps_out_of_the_clock_and_is_recorded(make_job):
    outcome = train(make_job())
    assert outcome.ledger.loader_wait_s >= 0
    assert outcome.ledger.wall_s >= outcome.ledger.device_seconds


def test_elastic_and_rotation_train_on_two_grids(make_job):
    recipe = replace(
        RECIPE,
        augmentation=(Transform("elastic", 1.0), Transform("rotation", 1.0)),
    )
    outcome = train(make_job(architectures.TwoGrids(), recipe=recipe, budget=Budget(3, "steps")))
    assert outcome.ledger.steps == 3
