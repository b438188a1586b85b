"""A training step: the very one that trains, with its parts, with data and without.

The network is built, frozen and optimised as training does in the last stage, and the step is
:func:`kitsbench.training.step.take_step`, or the plugin's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kitsbench.architecture import Architecture
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.patches import Batch
from kitsbench.data.batches.prepared import Prepared
from kitsbench.data.batches.source import training_source
from kitsbench.data.batches.upload import feed, loader_threads
from kitsbench.data.channels.stores import grid_stores
from kitsbench.devices.parts import timed
from kitsbench.devices.peaks import peak_memory
from kitsbench.profiling.job import ProfileJob
from kitsbench.profiling.repeat import Lap, milliseconds, named, repeat, split, wholes
from kitsbench.spec import Progress
from kitsbench.training.job import StepSetting
from kitsbench.training.meters.energy import EnergyMeter
from kitsbench.training.networks.build import build_network, seed_everything
from kitsbench.training.networks.compiling import Graphs, compiled
from kitsbench.training.networks.layouts import choose_layout
from kitsbench.training.networks.rehearsal import drawn_batch
from kitsbench.training.optimisation.average import WeightAverage
from kitsbench.training.optimisation.optimisers import make_optimiser
from kitsbench.training.optimisation.scaling import LossScale
from kitsbench.training.optimisation.stages import freeze, rules_of, training_mode
from kitsbench.training.own_step import own_steps
from kitsbench.training.step import take_step

LOADER = "loader"
PARTS = (
    LOADER,
    "transfer",
    "augmentation",
    "targets",
    "forward",
    "loss",
    "backward",
    "optimiser",
)
"""Of a training step with data, in its order."""


class TrainingStep:
    """Takes steps of the last stage of a training.

    Parameters
    ----------
    job : ProfileJob
    architecture : Architecture
    device : torch.device
    """

    def __init__(self, job: ProfileJob, architecture: Architecture, device: torch.device):
        self.job, self.device = job, device
        layout = choose_layout(
            architecture,
            job.spec,
            job.recipe.batch,
            device,
            job.precision,
            job.source,
            job.layouts,
            job.recipe,
        )
        self.network = build_network(architecture, job.spec, 0, 0, device, layout)
        self.stage = job.spec.stages[-1]
        self.rule, _ = rules_of(self.stage, job.recipe)
        self.parameters = freeze(self.network, self.stage, self.rule)
        self.optimiser = make_optimiser(self.rule, self.parameters, self.network, architecture)
        training_mode(self.network)
        self.setting = StepSetting(architecture, job.spec, job.recipe, 0, device, job.precision)
        self.own = own_steps(self.setting, self.network)
        self.scaler = LossScale(device, job.precision).scaler
        decay = job.recipe.average
        self.average = None if decay is None else WeightAverage(self.network, decay)
        self.model = self.network
        self.graphs: Graphs | None = None
        self.steps = 0

    def compile(self) -> None:
        """Go through torch.compile from now on."""
        self.model, self.graphs = compiled(self.network)

    def take(self, augment: Augmenter, batch: Batch | Prepared) -> None:
        """Take one step, as training does."""
        with timed("seeding"):
            seed_everything(0, 5, self.steps)
        step = take_step if self.own is None else self.own.take
        where = Progress(self.stage.name, step=self.steps)
        step(
            self.setting,
            self.model,
            self.optimiser,
            self.parameters,
            augment,
            batch,
            where,
            1,
            self.scaler,
        )
        if self.graphs is not None:
            self.graphs.check()
        if self.average is not None:
            with timed("optimiser"):
                self.average.update(self.network, self.steps)
        self.steps += 1

    @property
    def own_flops(self) -> int | None:
        """FLOPs of the last step for one patch, where the step is the plugin's own."""
        return None if self.own is None else self.own.meter.spent // self.job.recipe.batch


class Given(Augmenter):
    """Gives inputs and labels that lie on the device, in place of those of a batch."""

    def __init__(self, inputs: dict[str, Tensor], labels: dict[str, Tensor]):
        self.given = inputs, labels

    def __call__(self, batch: Batch | Prepared) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The same whatever the batch is."""
        return self.given


def step_on_device(step: TrainingStep) -> Callable[[], None]:
    """The step on data that lie on the device, to be taken as often as wanted."""
    batch = step.job.recipe.batch
    augment = Given(*drawn_batch(step.job.spec, batch, step.device))
    nothing = Prepared({}, ("",) * batch, 0)
    return lambda: step.take(augment, nothing)


def measure_compute(step: TrainingStep, meter: EnergyMeter | None = None) -> list[Lap]:
    """Repetitions of the step on data that lie on the device."""
    return repeat(step_on_device(step), step.device, step.job, meter)


def measure_with_data(step: TrainingStep, architecture: Architecture) -> dict[str, Any]:
    """What a step takes with real data, its parts, and what the loader could do alone.

    Parameters
    ----------
    step : TrainingStep
    architecture : Architecture
        For a sampler and transforms of its own.

    Returns
    -------
    dict
        ``full_step_ms`` and ``loader_ms``, which the loader alone takes for a batch, each with
        quartiles ``_low`` and ``_high``; ``parts`` as of
        :func:`~kitsbench.profiling.repeat.split`; ``patches_per_s_full`` and ``_loader``;
        ``loader_wait``, the share of a step in which the device waits; ``peak_memory_bytes``; and
        ``samples_ms`` of both.
    """
    job, device = step.job, step.device
    source, augment = _data(job, architecture)
    with contextlib.closing(feed(source, augment, device)) as batches:

        def work() -> None:
            with timed(LOADER):
                batch = next(batches)
            step.take(augment, batch)

        laps = repeat(work, device, job)
    peak = peak_memory(device)
    parts, full = split(laps, PARTS), wholes(laps)
    loader = _loader_alone(job, architecture, device)
    times = {**named("full_step_ms", full), **named("loader_ms", loader)}
    return {
        **times,
        "parts": parts,
        "patches_per_s_full": job.recipe.batch * 1000 / times["full_step_ms"],
        "patches_per_s_loader": job.recipe.batch * 1000 / times["loader_ms"],
        "loader_wait": parts[LOADER]["share"],
        "peak_memory_bytes": peak,
        "samples_ms": {"full": milliseconds(full), "loader": milliseconds(loader)},
    }


def _loader_alone(job: ProfileJob, architecture: Architecture, device: torch.device) -> list[float]:
    """Seconds between two batches that nobody trains with."""
    source, augment = _data(job, architecture)
    with contextlib.closing(feed(source, augment, device)) as batches:
        # Several threads bring several at once, so that single intervals would say little.
        threads = loader_threads(device)
        laps = repeat(lambda: [next(batches) for _ in range(threads)], device, job)
    return [seconds / threads for seconds in wholes(laps)]


def _data(job: ProfileJob, architecture: Architecture) -> tuple[Any, Augmenter]:
    """The source of batches and their augmentation, as training has them."""
    derive = partial(architecture.derive, spec=job.spec)
    stores = grid_stores(job.stores, job.spec, derive, job.source)
    for store in stores.values():
        for case in job.cases:
            store.case(case)  # it makes what is a function of the scan, as before a training
    source = training_source(
        stores, job.cases, job.spec, job.recipe, job.window, 0, plugin=architecture
    )
    spacing = stores[job.spec.grids[0].name].spacing
    augment = Augmenter(job.spec.grids, spacing, job.recipe.augmentation, job.window, 0)
    return source, augment
