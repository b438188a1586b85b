"""Batches that do not fit into memory are taken in parts, and the ledger says so."""

from __future__ import annotations

import shutil
from dataclasses import replace

import architectures
import pytest
import torch
from torch import nn

from kitsbench.recipe import Optimiser, Transform
from kitsbench.training import loop, run_state
from kitsbench.training.budget import Budget
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.optimisation import accumulation
from kitsbench.training.optimisation.accumulation import (
    Buffers,
    more_parts,
    parts_within,
    saved_bytes,
    take_in_parts,
)
from kitsbench.training.recipes import MATCHED_CPU

RECIPE = replace(MATCHED_CPU, patch=architectures.PATCH, batch=4)
BUDGET = Budget(3, "steps")


class Full(nn.Module):
    """A network for which memory runs out beyond some samples."""

    def __init__(self, network: nn.Module, holds: int):
        super().__init__()
        self.network, self.holds = network, holds
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs):
        self.seen += self.training
        if len(inputs["image"]) > self.holds:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 2 TB")
        return self.network(inputs)


class Hungry(architectures.Smallest):
    """Holds a number of samples at a time."""

    holds = 2

    def build(self, spec):
        return Full(super().build(spec), self.holds)


class Apart(Hungry):
    """Nothing in it couples the samples of a batch."""

    def build(self, spec):
        layers = [nn.Conv3d(1, 8, 3, padding=1), nn.InstanceNorm3d(8), nn.ReLU()]
        layers.append(nn.Conv3d(8, spec.classes, 1))
        return Full(architectures.Plain(nn.Sequential(*layers)), self.holds)


class Wide(architectures.Smallest):
    """The same without a limit of its own, and wide enough to be seen on a card."""

    def build(self, spec):
        layers = [nn.Conv3d(1, 128, 3, padding=1), nn.InstanceNorm3d(128), nn.ReLU()]
        layers.append(nn.Conv3d(128, spec.classes, 1))
        return architectures.Plain(nn.Sequential(*layers))


def weights(outcome):
    return [p.detach().clone() for p in outcome.network.parameters()]


def test_a_batch_that_does_not_fit_is_taken_in_parts(make_job):
    outcome = train(make_job(Hungry(), recipe=RECIPE, budget=BUDGET))
    assert outcome.ledger.accumulation == 2
    assert outcome.ledger.steps == 3
    assert outcome.ledger.patches == 12
    # The failed try left no trace: two parts in each of three steps.
    assert int(outcome.network.seen) == 6


def test_parts_have_the_gradient_of_the_whole(make_job):
    """As long as nothing couples the samples, which a Dice of each sample does not."""
    recipe = replace(
        RECIPE, augmentation=(Transform("noise", 1.0),), optimiser=Optimiser("sgd", lr=0.1)
    )
    found = {}
    for holds in (4, 2, 1):
        architecture = Apart()
        architecture.holds = holds
        job = make_job(architecture, recipe=recipe, budget=BUDGET, folder=f"holds{holds}")
        found[holds] = train(job)
    assert [found[holds].ledger.accumulation for holds in (4, 2, 1)] == [1, 2, 4]
    for holds in (2, 1):
        for whole, parts in zip(weights(found[4]), weights(found[holds]), strict=True):
            torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-4)
        losses = [
            [row["value"] for row in found[n].curve if row["name"] == "loss"] for n in (4, holds)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


class Shrinking(Hungry):
    """From some step on only single samples fit, as where another process takes the memory."""

    words, since = "CUDA out of memory. Tried to allocate 2.00 GiB", 6

    def loss(self, outputs, targets, progress, spec):
        if progress.step >= self.since and len(outputs["segmentation"]) > 1:
            raise RuntimeError(self.words)
        return super().loss(outputs, targets, progress, spec)


@pytest.mark.parametrize("words", [Shrinking.words, "GET was unable to find an engine"])
def test_memory_that_runs_out_at_any_step_is_answered_by_more_parts(make_job, words):
    architecture = Shrinking()
    architecture.words = words
    parts = []
    job = make_job(architecture, recipe=RECIPE, budget=Budget(8, "steps"))
    outcome = train(job, report=lambda fraction, ledger: parts.append(ledger.accumulation))
    assert parts == [2] * 6 + [4] * 2
    # Failed tries left no trace in what the forward pass counts.
    assert int(outcome.network.seen) == 6 * 2 + 2 * 4


def test_what_single_samples_do_not_mend_is_told_as_what_it_was(make_job):
    class Unlucky(architectures.Smallest):
        def loss(self, outputs, targets, progress, spec):
            raise RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR")

    with pytest.raises(TrialFailure, match="CUDNN_STATUS_INTERNAL_ERROR") as caught:
        train(make_job(Unlucky(), recipe=RECIPE, budget=BUDGET))
    assert caught.value.reason == "plugin error"


def test_the_peak_of_a_failed_try_does_not_count(make_job, monkeypatch):
    """The counter of the device is stubbed: each try raises it to its own mark."""
    peak = {"now": 0}

    class Measured(Shrinking):
        since = 2

        def loss(self, outputs, targets, progress, spec):
            samples = len(outputs["segmentation"])
            failing = progress.step >= self.since and samples > 1
            peak["now"] = max(peak["now"], 1000 * samples + 99_000 * failing)
            return super().loss(outputs, targets, progress, spec)

    for module in (loop, run_state):
        monkeypatch.setattr(module, "peak_memory", lambda device: peak["now"])
    monkeypatch.setattr(run_state, "peak_reserved", lambda device: 2 * peak["now"])
    for module in (loop, accumulation):
        monkeypatch.setattr(module, "reset_peaks", lambda device: peak.update(now=0))

    def evaluate(network):
        peak["now"] = 7000
        return {}

    ledger = train(
        make_job(Measured(), recipe=RECIPE, budget=Budget(4, "steps")), evaluate=evaluate
    ).ledger
    # The most that a step took before the cut: two samples at a time.
    assert (ledger.peak_memory_bytes, ledger.peak_reserved_bytes) == (2000, 4000)
    assert ledger.inference_peak_memory_bytes == 7000


def test_buffers_are_put_back_whatever_a_module_did_with_them():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("inside", torch.zeros(3))
            self.register_buffer("exchanged", torch.zeros((), dtype=torch.int64))
            self.register_buffer("absent", None)
            self.register_buffer("spread", torch.arange(3.0).expand(2, 3), persistent=False)

    network = nn.Sequential(nn.BatchNorm3d(2), Counting(), nn.BatchNorm3d(3))
    buffers = Buffers(network)
    for grows in range(3):
        network[1].exchanged = torch.tensor(grows)
        network[1].inside = torch.full((3 + grows,), float(grows))
        before = {name: value.clone() for name, value in network.named_buffers()}
        buffers.keep()
        network[0](torch.rand(2, 2, 3, 3, 3))
        network[1].inside += 1
        network[1].exchanged = network[1].exchanged + 1
        buffers.put_back()
        after = dict(network.named_buffers())
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_single_sample_that_does_not_fit_fails(make_job):
    architecture = Hungry()
    architecture.holds = 0
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        train(make_job(architecture, recipe=RECIPE, budget=BUDGET))


def test_a_resumed_run_keeps_its_parts(make_job, tmp_path):
    whole = train(make_job(Hungry(), recipe=RECIPE, budget=Budget(4, "steps"), folder="whole"))

    class Killed(BaseException):
        pass

    def die(fraction, ledger):
        if ledger.steps == 2:
            raise Killed

    job = make_job(
        Hungry(), recipe=RECIPE, budget=Budget(4, "steps"), folder="killed", checkpoint_every=0.0
    )
    with pytest.raises(Killed):
        train(job, report=die)
    resumed = train(job)
    assert resumed.ledger.accumulation == 2
    assert all(map(torch.equal, weights(whole), weights(resumed)))


def test_a_cap_on_a_cpu_is_kept_by_choosing_the_parts_beforehand(make_job):
    plain = make_job(recipe=RECIPE, budget=BUDGET, folder="plain")
    roomy = train(replace(plain, max_memory=2**50))
    assert roomy.ledger.accumulation == 1
    tight = make_job(recipe=RECIPE, budget=BUDGET, folder="tight", max_memory=1)
    assert train(tight).ledger.accumulation == 4


def test_a_resumed_run_keeps_the_parts_that_were_chosen_beforehand(make_job):
    tight = make_job(recipe=RECIPE, budget=Budget(2, "steps"), folder="tight", max_memory=1)
    assert train(tight).ledger.accumulation == 4
    # Memory is short for another reason now, or plenty on another node: the result is the same.
    roomy = replace(tight, budget=BUDGET, max_memory=2**50)
    assert train(roomy).ledger.accumulation == 4
    plain = make_job(recipe=RECIPE, budget=Budget(2, "steps"), folder="plain")
    assert train(plain).ledger.accumulation == 1
    assert train(replace(plain, budget=BUDGET, max_memory=1)).ledger.accumulation == 1


def test_what_a_sample_keeps_holds_its_features(make_job):
    job = make_job()
    network = job.architecture.build(job.spec).train()
    kept = saved_bytes(network, job.spec, torch.device("cpu"))
    maps = kept / (4 * 16**3)  # one channel of the patch in float32
    assert 1 + 8 <= maps <= 4 * (1 + 8 + 8)
    assert all(module.training for module in network.modules())


def test_parts_divide_the_batch():
    assert [more_parts(6, n) for n in (1, 2, 3, 6)] == [2, 3, 6, None]
    assert parts_within(1, 6, 10**6, 0) == 6
    assert parts_within(2**50, 6, 10**6, 0) == 1


def test_other_errors_are_passed_on_at_once():
    calls = []
    network = nn.Linear(1, 1)

    def take(parts):
        calls.append(parts)
        raise TrialFailure("out-of-memory", "while the weights moved")

    with pytest.raises(TrialFailure):
        take_in_parts(take, network, Buffers(network), 4, 1)
    assert calls == [1]


@pytest.mark.exhaustive
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_learns_the_same_and_pays_for_compiling(make_job):
    recipe = replace(RECIPE, batch=2)
    plain = train(make_job(recipe=recipe, budget=Budget(4, "steps"), folder="plain"))
    first: list[float] = []
    job = make_job(recipe=recipe, budget=Budget(4, "steps"), folder="compiled", compile=True)
    made = train(job, report=lambda fraction, ledger: first.append(ledger.device_seconds))
    assert made.ledger.compiled
    assert not plain.ledger.compiled
    assert first[0] > 0.8 * made.ledger.device_seconds
    for a, b in zip(weights(plain), weights(made), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-2)


@pytest.mark.gpu
def test_a_card_that_is_full_is_answered_by_more_parts_and_the_peak_is_of_what_fitted(make_job):
    device = torch.device("cuda", torch.cuda.current_device())
    recipe = replace(RECIPE, batch=16, patch=architectures.PATCH)
    whole = train(
        make_job(Wide(), recipe=recipe, budget=BUDGET, device=device, folder="whole")
    ).ledger
    assert whole.accumulation == 1
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    cap = int(0.6 * whole.peak_memory_bytes)
    torch.cuda.set_per_process_memory_fraction(cap / total, device)
    try:
        tight = train(
            make_job(Wide(), recipe=recipe, budget=BUDGET, device=device, folder="tight")
        ).ledger
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert tight.accumulation > 1
    assert 0 < tight.peak_memory_bytes <= tight.peak_reserved_bytes <= cap
