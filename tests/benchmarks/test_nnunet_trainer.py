"""Patches per second of nnU-Net's trainer and of the harness, side by side.

``pytest tests/benchmarks/test_nnunet_trainer.py -n0 --benchmark-only -s`` trains one network on one
phantom with equal patch and batch, in turn: nnU-Net v2 with its own loader, augmentation and loss,
and kitsbench with nnU-Net's recipe; then both again on one batch that never changes. Without a GPU
a quarter of the width on small patches shows that it works, not more.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.promises import note

from kitsbench.architecture import Progress, Task, configure
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.source import training_source
from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.exchange.nnunet import export_nnunet
from kitsbench.data.preparation.prepare import prepare
from kitsbench.registry import load
from kitsbench.training.budget import Budget
from kitsbench.training.job import Job
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network
from kitsbench.training.networks.layouts import layout_for
from kitsbench.training.optimisation.optimisers import make_optimiser
from kitsbench.training.step import take_step

CUDA = torch.cuda.is_available()
SPACING = (2.0, 2.0, 2.0) if CUDA else (6.0, 6.0, 6.0)
PATCH = (128, 128, 128) if CUDA else (32, 32, 32)
SIZE = "paper" if CUDA else "tiny"
STEPS, ROUNDS, WARM = (30, 3, 10) if CUDA else (8, 3, 2)
PATHS = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"


@pytest.fixture(scope="module")
def store(phantom, tmp_path_factory):
    return prepare(open_dataset(phantom), SPACING, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def job(store, tmp_path) -> Job:
    pytest.importorskip("dynamic_network_architectures")
    architecture = load("nnunet_plain").architecture
    task = Task(patch=PATCH, spacing=store.spacing)
    spec = architecture.spec(configure(architecture, {"size": SIZE}), task)
    recipe = replace(spec.paper, patch=PATCH)
    return Job(
        architecture=architecture,
        spec=spec,
        stores={"image": store},
        cases=store.cases,
        recipe=recipe,
        window=recipe.intensity.resolve(store.intensity(store.cases)["foreground"]),
        budget=Budget(WARM + STEPS, "steps"),
        seed=0,
        fold=0,
        device=torch.device("cuda" if CUDA else "cpu"),
        precision="bfloat16" if CUDA else "float32",
        folder=tmp_path / "run",
        checkpoint_every=1e9,
    )


@pytest.fixture
def trainer(store, job, tmp_path, monkeypatch):
    """nnU-Net's trainer, planned and prepared by nnU-Net, with the network of the job."""
    pytest.importorskip("nnunetv2")
    for name in PATHS:
        monkeypatch.setenv(name, str(tmp_path / name))
    # Not compiled here as there; `--compile` would have to be compared with nnU-Net's compile.
    monkeypatch.setenv("nnUNet_compile", "false")
    if not CUDA:
        monkeypatch.setenv("nnUNet_n_proc_DA", str(max(1, (os.cpu_count() or 1) - 1)))
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    name = "Dataset001_Phantom"
    export_nnunet(store, tmp_path / PATHS[0] / name)
    api.extract_fingerprints([1], num_processes=1, check_dataset_integrity=False)
    api.plan_experiments([1])
    api.preprocess([1], configurations=["3d_fullres"], num_processes=[1])
    prepared = tmp_path / PATHS[1] / name
    plans = json.loads((prepared / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    own = plans["configurations"]["3d_fullres"]
    planned, *_ = job.architecture._parts(job.spec)
    own |= {"patch_size": list(PATCH), "batch_size": job.recipe.batch}
    own["architecture"]["arch_kwargs"]["strides"] = [[1, 1, 1], *map(list, planned.strides)]
    # As nnU-Net has it: torch's own norms, contiguous, none of what the harness does to a network.
    network = job.architecture.build(job.spec).network

    class Trainer(nnUNetTrainer):
        @staticmethod
        def build_network_architecture(
            plans_manager, configuration_manager, inputs, outputs, deep_supervision=True
        ):
            return network

    description = json.loads((prepared / "dataset.json").read_text())
    made = Trainer(plans, "3d_fullres", 0, description, job.device)
    made.initialize()
    return made


def seconds_each(step: Callable[[], object]) -> list[float]:
    """Seconds of each step after the first few, as a training that looks at every loss has them."""
    times = []
    for _ in range(WARM + STEPS):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return times[WARM:]


def harness_seconds(job: Job, folder) -> list[float]:
    """Seconds between two steps of the harness."""
    ends: list[float] = []
    train(
        replace(job, folder=folder), report=lambda share, ledger: ends.append(time.perf_counter())
    )
    return list(np.diff(ends))[WARM - 1 :]


def fixed_step(job: Job) -> Callable[[], object]:
    """A step of the harness on a batch that lies there already, unaugmented."""
    layout, _ = layout_for(job)
    network = build_network(job.architecture, job.spec, 0, 0, job.device, layout)
    optimiser = make_optimiser(job.recipe.optimiser, list(network.parameters()))
    source = training_source(job.stores, job.cases, job.spec, job.recipe, job.window, 0)
    augment = Augmenter(job.spec.grids, job.stores["image"].spacing, (), job.window, 0)
    batch = source.batch(0).to(job.device)
    where = Progress(job.spec.stages[0].name)
    parameters = list(network.parameters())

    def step() -> float:
        return float(take_step(job, network, optimiser, parameters, augment, batch, where)["loss"])

    return step


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("data", ["with", "without"])
def test_patches_per_second_beside_nnunet(benchmark, job, trainer, tmp_path, data):
    loader, _ = trainer.get_dataloaders()
    folders = (tmp_path / f"round{number}" for number in itertools.count())
    if data == "with":

        def theirs() -> list[float]:
            return seconds_each(lambda: trainer.train_step(next(loader)))

        def ours() -> list[float]:
            return harness_seconds(job, next(folders))
    else:
        batch, step = next(loader), fixed_step(job)

        def theirs() -> list[float]:
            return seconds_each(lambda: trainer.train_step(batch))

        def ours() -> list[float]:
            return seconds_each(step)

    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    ratios = []

    def one_round() -> None:
        found = {}
        who = [("ours", ours), ("theirs", theirs)]
        for name, measure in who if len(ratios) % 2 else reversed(who):
            found[name] = measure()
            times[name] += found[name]
        ratios.append(float(np.median(found["theirs"]) / np.median(found["ours"])))

    try:
        benchmark.pedantic(one_round, rounds=ROUNDS)
    finally:
        getattr(loader, "_finish", lambda: None)()
    note(f"trainer.{job.device.type}.{data}", ratios)
    patches = {n: job.recipe.batch / float(np.median(values)) for n, values in times.items()}
    benchmark.extra_info |= {
        "patches_per_second": patches,
        "ratio": float(np.median(ratios)),
        "ratios": sorted(ratios),
    }
    print(
        f"\n{data} data, {job.device.type}: kitsbench {patches['ours']:.2f} patches/s, nnU-Net "
        f"{patches['theirs']:.2f} patches/s: {np.median(ratios):.2f} times nnU-Net's "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
