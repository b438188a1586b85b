"""What the harness costs beside a bare loop in PyTorch, and how long training waits for the loader.

``pytest tests/benchmarks/test_harness.py -n0 --benchmark-only -s`` trains the same network on the
same augmented batches both ways, in turn, and prints medians with quartiles.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import architectures
import numpy as np
import pytest
import torch
from benchmarks.promises import note
from torch import nn

from kitsbench.architecture import Progress, Task, configure
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.source import training_source
from kitsbench.data.batches.upload import feed
from kitsbench.registry import load
from kitsbench.training.budget import Budget
from kitsbench.training.job import Job
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network, seed_everything
from kitsbench.training.optimisation.optimisers import make_optimiser
from kitsbench.training.recipes import MATCHED_CPU

STEPS, ROUNDS = 12, 7


@pytest.fixture(params=["unet3d", "smallest"])
def job(request, coarse_store, tmp_path) -> Job:
    """The matched recipe of a CPU on the phantom: a real network, and the cheapest there can be."""
    torch.set_num_threads(1)
    if request.param == "unet3d":
        pytest.importorskip("kitsbench_plugins")
        architecture = load("unet3d").architecture
        config = configure(architecture, {"size": "tiny"})
    else:
        architecture = architectures.Smallest()
        config = configure(architecture)
    recipe = MATCHED_CPU
    spec = architecture.spec(config, Task(patch=recipe.patch, spacing=coarse_store.spacing))
    cases = coarse_store.cases
    return Job(
        architecture=architecture,
        spec=spec,
        stores={grid.name: coarse_store for grid in spec.grids},
        cases=cases,
        recipe=recipe,
        window=recipe.intensity.resolve(coarse_store.intensity(cases)["foreground"]),
        budget=Budget(STEPS, "steps"),
        seed=0,
        fold=0,
        device=torch.device("cpu"),
        precision="float32",
        folder=tmp_path / "run",
        checkpoint_every=1e9,
    )


def bare_steps(job: Job) -> Iterator[float]:
    """Seconds of each step of a loop with the same data, augmentation, network and optimiser."""
    network = build_network(job.architecture, job.spec, job.seed, job.fold, job.device)
    optimiser = make_optimiser(job.recipe.optimiser, list(network.parameters()))
    source = training_source(job.stores, job.cases, job.spec, job.recipe, job.window, job.seed)
    spacing = next(iter(job.stores.values())).spacing
    augment = Augmenter(job.spec.grids, spacing, job.recipe.augmentation, job.window, job.seed)
    schedule, stage = job.recipe.schedule, job.spec.stages[0].name
    batches = feed(source, augment, job.device)
    for step in range(STEPS):
        began = time.perf_counter()
        batch = next(batches)
        for group in optimiser.param_groups:
            group["lr"] = job.recipe.optimiser.lr * schedule.at(step / STEPS)
        seed_everything(job.seed, 5, step)
        inputs, labels = augment(batch)
        targets = job.architecture.targets(labels, job.spec)
        outputs = network(inputs)
        loss, _ = job.architecture.loss(outputs, targets, Progress(stage), job.spec)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), job.recipe.clip_gradient)
        optimiser.step()
        float(loss.detach())
        yield time.perf_counter() - began
    batches.close()


def harness_steps(job: Job, folder) -> tuple[list[float], float]:
    """Seconds between the steps of the harness, everything included, and the share of waiting."""
    times: list[float] = []
    before = [0.0]

    def report(fraction, ledger) -> None:
        now = time.perf_counter()
        times.append(now - before[0])
        before[0] = now

    outcome = train(replace(job, folder=folder), report=report)
    ledger = outcome.ledger
    return times[1:], ledger.loader_wait_s / (ledger.loader_wait_s + ledger.device_seconds)


def test_steps_per_second_against_a_bare_loop(benchmark, job, tmp_path):
    ours: list[float] = []
    bare: list[float] = []
    waits: list[float] = []
    ratios: list[float] = []

    def one_round(index: int) -> None:
        pairs = [("bare", bare), ("ours", ours)]
        found = {}
        for who, _ in pairs if index % 2 else reversed(pairs):
            if who == "bare":
                found[who] = list(bare_steps(job))[1:]
            else:
                found[who], wait = harness_steps(job, tmp_path / f"round{index}")
                waits.append(wait)
        ours.extend(found["ours"])
        bare.extend(found["bare"])
        ratios.append(float(np.median(found["bare"]) / np.median(found["ours"])))

    one_round(0)
    for kept in (ours, bare, waits, ratios):
        kept.clear()
    rounds = iter(range(1, 10**6))
    benchmark.pedantic(lambda: one_round(next(rounds)), rounds=ROUNDS)
    cheapest = isinstance(job.architecture, architectures.Smallest)
    note(f"harness.{'smallest' if cheapest else 'unet3d'}", ratios)
    ratio = float(np.median(bare) / np.median(ours))
    low, high = np.percentile(ratios, (25, 75))
    benchmark.extra_info |= {
        "architecture": type(job.architecture).__name__,
        "steps_per_second_ratio": ratio,
        "ratio_quartiles": [float(low), float(high)],
        "loader_wait_share": float(np.median(waits)),
    }
    name = type(job.architecture).__name__
    print(
        f"\n{name}: harness {np.median(ours) * 1000:.1f} ms a step, bare "
        f"{np.median(bare) * 1000:.1f} ms: {ratio:.3f} of its speed (quartiles of the rounds "
        f"{low:.3f}-{high:.3f}); {100 * np.median(waits):.2f} % of the time waiting for the loader"
    )
