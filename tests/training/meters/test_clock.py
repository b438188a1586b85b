"""The device clock: what it charges and what is free."""

from __future__ import annotations

import time
from types import SimpleNamespace

import architectures
import pytest
import torch
from fake_cuda import FakeCuda
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.patches import PatchSource
from kitsbench.data.batches.prepared import Prepared
from kitsbench.training.budget import Budget
from kitsbench.training.checkpoints import writer as checkpoint_writer
from kitsbench.training.curve import Reading
from kitsbench.training.loop import train
from kitsbench.training.meters.clock import DeviceClock

NAP, STEPS = 0.04, 3


def slowly(function):
    """The same function, after a nap."""

    def slow(*arguments, **options):
        time.sleep(NAP)
        return function(*arguments, **options)

    return slow


class SlowBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(NAP)
        return gradient


class Slow(architectures.Smallest):
    """Naps in one of its hooks, or in the backward pass of its loss."""

    def __init__(self, where):
        self.where = where

    def targets(self, labels, spec):
        return (slowly(super().targets) if self.where == "targets" else super().targets)(
            labels, spec
        )

    def build(self, spec):
        network = super().build(spec)
        if self.where == "forward":
            network.register_forward_pre_hook(
                lambda module, inputs: time.sleep(NAP) if module.training else None
            )
        return network

    def loss(self, outputs, targets, progress, spec):
        if self.where == "loss":
            time.sleep(NAP)
        total, parts = super().loss(outputs, targets, progress, spec)
        return (SlowBackward.apply(total) if self.where == "backward" else total), parts


def times(job, **options):
    """Device seconds, and all seconds, of a training."""
    began = time.perf_counter()
    ledger = train(job, **options).ledger
    return ledger.device_seconds, time.perf_counter() - began


@pytest.mark.parametrize("where", ["targets", "forward", "loss", "backward"])
def test_every_hook_of_a_plugin_is_charged(make_job, where):
    spent, _ = times(make_job(Slow(where), budget=Budget(STEPS, "steps")))
    assert spent > STEPS * NAP


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Prepared, "to"), (Augmenter, "__call__"), (torch.optim.AdamW, "step")],
    ids=["transfer", "augmentation", "optimiser"],
)
def test_what_the_harness_does_for_the_method_is_charged(make_job, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, slowly(getattr(owner, name)))
    spent, _ = times(make_job(budget=Budget(STEPS, "steps")))
    assert spent > STEPS * NAP


@pytest.mark.parametrize(
    ("owner", "name"),
    [(checkpoint_writer, "save_checkpoint"), (PatchSource, "prepared")],
    ids=["checkpoints", "loader"],
)
def test_what_the_machine_does_beside_it_is_free(make_job, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, slowly(getattr(owner, name)))
    job = make_job(budget=Budget(STEPS, "steps"), checkpoint_every=0.0)
    spent, total = times(job)
    assert total - spent > STEPS * NAP


def test_evaluation_and_logging_are_free(make_job):
    spent, total = times(
        make_job(budget=Budget(4, "steps")),
        report=lambda fraction, ledger: time.sleep(NAP),
        evaluate=lambda network: slowly(dict)(),
    )
    assert total - spent > (4 + 3) * NAP


@pytest.mark.parametrize(("where", "seconds"), [("loss", 0.3), ("none", 0.2)])
def test_a_time_budget_is_overshot_by_less_than_its_last_step(make_job, where, seconds):
    ends = []
    job = make_job(Slow(where), budget=Budget(seconds, "seconds"))
    ledger = train(job, report=lambda fraction, ledger: ends.append(fraction)).ledger
    assert ledger.device_seconds >= seconds
    assert max(ends[:-1]) < 1  # no step began after the budget was spent
    assert 0 <= ledger.overshoot_steps < 1
    assert ledger.overshoot_seconds == pytest.approx(ledger.device_seconds - seconds)


@pytest.mark.exhaustive
def test_a_time_budget_is_the_same_for_step_times_that_differ_tenfold(make_job):
    budget = Budget(20, "seconds")

    class TenTimes(architectures.Smallest):
        def loss(self, outputs, targets, progress, spec):
            end = time.perf_counter() + 10 * self.typical
            while time.perf_counter() < end:
                torch.rand(1000).sum()
            return super().loss(outputs, targets, progress, spec)

    fast = train(make_job(budget=budget, folder="fast"))
    TenTimes.typical = fast.ledger.device_seconds / fast.ledger.steps
    slow = train(make_job(TenTimes(), budget=budget, folder="slow"))
    ratio = fast.ledger.steps / slow.ledger.steps
    assert 5 < ratio < 25
    for outcome in (fast, slow):
        assert outcome.ledger.device_seconds >= 20
        assert outcome.ledger.overshoot_steps < 1
    rates = [
        [row["value"] for row in outcome.curve if row["kind"] == "lr"] for outcome in (fast, slow)
    ]
    assert rates[0][-1] == rates[1][-1]


def test_the_clock_of_a_gpu_records_on_that_gpu(monkeypatch):
    cuda = FakeCuda(monkeypatch)  # whose current device is the first
    clock = DeviceClock(torch.device("cuda:1"), 2.0)
    clock.start()
    clock.stop()
    assert cuda.recorded == [1, 1]
    assert clock.estimate() == clock.exact() == 3.0


def test_losses_of_a_gpu_have_arrived_when_that_gpu_says_so(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    batch = SimpleNamespace(step=0, cases=("a",))
    with FakeTensorMode(allow_non_fake_inputs=True):
        loss = torch.zeros((), device="cuda:1")
        Reading(batch, 0.0, 0.1, {"loss": loss})
    assert cuda.recorded == [1]


def test_numbers_that_a_hook_gives_as_such_are_not_sent_to_a_gpu(monkeypatch):
    FakeCuda(monkeypatch)
    batch, devices = SimpleNamespace(step=0, cases=("a",)), []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            devices.append(str((kwargs or {}).get("device")))
            return func(*args, **(kwargs or {}))

    with FakeTensorMode(allow_non_fake_inputs=True):
        loss = torch.zeros((), device="cuda:1")
        with Copies():
            Reading(batch, 0.0, 0.1, {"loss": loss, "weight": 0.5})
    assert devices
    assert "cuda:1" not in devices


def test_numbers_and_tensors_are_read_in_the_order_of_the_loss():
    batch = SimpleNamespace(step=0, cases=("a",))
    values = {"loss": torch.tensor(1.0), "weight": 0.5, "rate": torch.tensor([2.0])}
    numbers = Reading(batch, 0.0, 0.1, values).numbers()
    assert list(numbers.items()) == [("loss", 1.0), ("weight", 0.5), ("rate", 2.0)]


@pytest.mark.gpu
def test_cuda_events_agree_with_the_synchronised_wall_clock(make_job):
    device = torch.device("cuda")
    job = make_job(device=device, budget=Budget(60, "steps"))
    train(job)  # warms the device up
    began = time.perf_counter()
    ledger = train(make_job(device=device, budget=Budget(60, "steps"), folder="timed")).ledger
    torch.cuda.synchronize()
    total = time.perf_counter() - began
    assert 0 < ledger.device_seconds <= total
    assert ledger.device_seconds == pytest.approx(
        ledger.wall_s - ledger.loader_wait_s, rel=0.25, abs=0.3
    )
