"""Measure one configured architecture in a process of its own.

A process of its own, because on the CPU peak memory is a figure of the whole process, and
because an architecture that runs out of memory must not take the others along.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kitsbench.architecture import Architecture
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.source import training_source
from kitsbench.data.batches.upload import feed
from kitsbench.data.channels.stores import grid_stores
from kitsbench.devices.layout import layout_of
from kitsbench.devices.precision import autocast
from kitsbench.devices.use import use_device
from kitsbench.errors import KitsbenchError
from kitsbench.profiling.apart import measured_apart
from kitsbench.recipe import Recipe
from kitsbench.registry import load
from kitsbench.spec import Progress, Spec
from kitsbench.training.failures import TrialFailure
from kitsbench.training.meters.energy import EnergyMeter
from kitsbench.training.meters.memory import peak_memory, reset_peaks
from kitsbench.training.networks.build import build_network
from kitsbench.training.networks.compiling import compiled
from kitsbench.training.networks.layouts import choose_layout
from kitsbench.training.networks.meta import count_cost, count_step
from kitsbench.training.networks.rehearsal import drawn_batch
from kitsbench.training.networks.sizes import size_rule_is_told
from kitsbench.training.optimisation.optimisers import make_optimiser
from kitsbench.training.optimisation.stages import freeze, rules_of, training_mode
from kitsbench.training.own_step import StepSetting, own_steps
from kitsbench.training.step import clip_gradient

MOST = 200  # repetitions

Inputs = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class ProfileJob:
    """What is measured, and on what.

    Parameters
    ----------
    name, location : str
        Name in tables, and what the registry finds the plugin by.
    spec, recipe : Spec, Recipe
    device, precision : str
        The precision is float32, bfloat16 or float16.
    threads : int
        CPU threads.
    stores : dict of str to Path
        {grid: prepared store}; without one the throughput with data is not measured.
    cases : tuple of str
        Cases of the stores to draw patches from.
    window : (float, float, float, float)
        Resolved intensity rule.
    compile : bool
        Measure the training step through torch.compile as well.
    source : str
        Hash of the plugin's source, with its packages' versions.
    layouts : Path or None
        Where the choices of a layout are kept.
    seconds : float
        About how long each of the three measurements may take.
    warm, least : int
        Repetitions that do not count, and of those that do at least how many.
    """

    name: str
    location: str
    spec: Spec
    recipe: Recipe
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    stores: dict[str, Path] = field(default_factory=dict)
    cases: tuple[str, ...] = ()
    window: tuple[float, float, float, float] = (-200.0, 300.0, 50.0, 0.01)
    compile: bool = False
    source: str = ""
    layouts: Path | None = None
    seconds: float = 1.5
    warm: int = 2
    least: int = 5


def profile(job: ProfileJob, timeout: float = 180.0) -> dict[str, Any]:
    """Measure, in a process of its own.

    Parameters
    ----------
    job : ProfileJob
    timeout : float
        Seconds after which the process is stopped.

    Returns
    -------
    dict
        ``parameters``; ``flops_forward`` and ``flops_step`` of one patch; ``train_step_ms``
        (median over steps of a whole batch, in the last stage) with quartiles ``_low`` and
        ``_high``; ``train_step_ms_compiled``, or None; ``inference_ms`` of one patch;
        ``patches_per_s_compute`` on data that lie on the device, ``patches_per_s_full`` with
        loading and augmentation; ``peak_memory_bytes``; ``energy_joules`` of a step on data that
        lie on the device, where that tells.

    Raises
    ------
    KitsbenchError
        The measurement failed; the message says why.
    """
    return measured_apart(measure, job, timeout)


def measure(job: ProfileJob) -> dict[str, Any]:
    """Measure in this process; see :func:`profile`."""
    device = torch.device(job.device)
    use_device(device, job.threads)
    architecture = load(job.location).architecture
    try:
        with size_rule_is_told(architecture, job.spec):
            return _measured(job, architecture, device)
    except TrialFailure as failure:
        raise KitsbenchError(str(failure)) from failure


def _measured(job: ProfileJob, architecture: Architecture, device: torch.device) -> dict[str, Any]:
    cost = count_cost(architecture, job.spec)
    batch = job.recipe.batch
    layout = choose_layout(
        architecture,
        job.spec,
        batch,
        device,
        job.precision,
        job.source,
        job.layouts,
        job.recipe,
    )
    network = build_network(architecture, job.spec, 0, 0, device, layout)
    # What the last stage trains, and by its optimiser, as training enters it.
    stage = job.spec.stages[-1]
    rule, _ = rules_of(stage, job.recipe)
    parameters = freeze(network, stage, rule)
    optimiser = make_optimiser(rule, parameters, network, architecture)
    training_mode(network)
    model, where = network, Progress(stage.name)
    setting = StepSetting(architecture, job.spec, job.recipe, 0, device, job.precision)
    own = own_steps(setting, network)

    def step(inputs: dict[str, torch.Tensor], labels: dict[str, torch.Tensor]) -> None:
        if own is not None:
            own.go(model, optimiser, parameters, inputs, labels, where)
            return
        targets = architecture.targets(labels, job.spec)
        with autocast(device, job.precision):
            outputs = model(inputs)
            loss, _ = architecture.loss(outputs, targets, where, job.spec)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradient(parameters, job.recipe.clip_gradient)
        optimiser.step()

    flops_step = count_step(architecture, job.spec, stage, 1, rule)
    dummy = drawn_batch(job.spec, batch, device)
    meter = EnergyMeter(device)
    steps = _time(lambda: step(*dummy), device, job, meter)
    full = None
    if job.stores:
        batches = _batches(job, device, architecture)
        full = batch / float(np.median(_time(lambda: step(*next(batches)), device, job)))
    peak = peak_memory(device)
    through_compiler = None
    if job.compile:
        model, graphs = compiled(network)
        seconds = float(np.median(_time(lambda: step(*dummy), device, job)))
        graphs.check()
        through_compiler, model = seconds * 1000, network
    network.eval()
    single = {name: values[:1] for name, values in dummy[0].items()}

    def infer() -> None:
        with torch.inference_mode(), autocast(device, job.precision):
            network(single)

    inference = _time(infer, device, job)
    low, median, high = np.percentile(steps, (25, 50, 75)) * 1000
    return {
        "parameters": cost.parameters,
        "flops_forward": cost.flops_forward,
        "flops_step": flops_step if own is None else own.meter.spent // batch,
        "patch": job.spec.grids[0].shape,
        "voxels": math.prod(job.spec.grids[0].shape),
        "batch": batch,
        "device": device.type,
        "precision": job.precision,
        "threads": job.threads,
        "train_step_ms": float(median),
        "train_step_ms_low": float(low),
        "train_step_ms_high": float(high),
        "inference_ms": float(np.median(inference)) * 1000,
        "patches_per_s_compute": batch * 1000 / float(median),
        "patches_per_s_full": full,
        "peak_memory_bytes": peak,
        "layout": layout_of(network),
        "train_step_ms_compiled": through_compiler,
        "energy_joules": None if meter.joules is None else meter.joules / len(steps),
    }


def _time(
    work: Callable[[], None],
    device: torch.device,
    job: ProfileJob,
    meter: EnergyMeter | None = None,
) -> list[float]:
    """Seconds of each repetition, after some that do not count; the meter runs with those."""
    for _ in range(job.warm):
        work()
    _finish(device)
    # Without the search for convolutions, whose memory no step of training takes.
    reset_peaks(device)
    if meter is not None:
        meter.start()
    found = _on_device(work, device, job) if device.type == "cuda" else _on_host(work, job)
    if meter is not None:
        meter.stop()
    return found


def _on_host(work: Callable[[], None], job: ProfileJob) -> list[float]:
    found: list[float] = []
    end = time.perf_counter() + job.seconds
    while len(found) < job.least or (time.perf_counter() < end and len(found) < MOST):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def _on_device(work: Callable[[], None], device: torch.device, job: ProfileJob) -> list[float]:
    """Seconds between the ends of repetitions, as the device reaches them.

    The host is one repetition ahead at most, as in training: it waits for the one before, and
    never for the last.
    """
    stream = torch.cuda.current_stream(device)
    marks = [torch.cuda.Event(enable_timing=True)]
    marks[0].record(stream)
    end = time.perf_counter() + job.seconds
    while len(marks) <= job.least or (time.perf_counter() < end and len(marks) <= MOST):
        work()
        marks.append(torch.cuda.Event(enable_timing=True))
        marks[-1].record(stream)
        marks[-2].synchronize()
    marks[-1].synchronize()
    return [a.elapsed_time(b) / 1000 for a, b in itertools.pairwise(marks)]


def _finish(device: torch.device) -> None:
    """Wait for what the device has been given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _batches(job: ProfileJob, device: torch.device, plugin: Architecture) -> Iterator[Inputs]:
    """Augmented batches as training sees them."""
    derive = partial(plugin.derive, spec=job.spec)
    stores = grid_stores(job.stores, job.spec, derive, job.source)
    for store in stores.values():
        for case in job.cases:
            store.case(case)  # it makes what is a function of the scan, as before a training
    source = training_source(stores, job.cases, job.spec, job.recipe, job.window, 0, plugin=plugin)
    spacing = stores[job.spec.grids[0].name].spacing
    augment = Augmenter(job.spec.grids, spacing, job.recipe.augmentation, job.window, 0)
    for batch in feed(source, augment, device):
        yield augment(batch.to(device))
