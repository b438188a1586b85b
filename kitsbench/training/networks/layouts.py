"""Choose how a network's weights lie on a GPU, by timing steps in both layouts.

Which one is faster depends on the network: convolutions on tensor cores want channels last, while
some of torch's other layers make their input contiguous again in every block. A layout that is
forced on all would cost some of them a quarter of a time budget.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from statistics import median

import torch

from kitsbench.architecture import Architecture
from kitsbench.devices.layout import Layout, Seconds, kept_layout, layout_key, set_layout
from kitsbench.devices.norms import fast_norms
from kitsbench.devices.peaks import reset_peaks
from kitsbench.devices.precision import autocast
from kitsbench.files import digest, plain
from kitsbench.recipe import Optimiser, Recipe, Stage
from kitsbench.spec import Progress, Spec
from kitsbench.training.failures import can_be_smaller, plugin_code
from kitsbench.training.job import Job
from kitsbench.training.meters.clock import DeviceClock
from kitsbench.training.networks.build import seed_everything
from kitsbench.training.networks.rehearsal import drawn_batch, same_randomness
from kitsbench.training.optimisation.stages import freeze, rules_of, training_mode

# Steps that do not count, at least, and device seconds for more of them: a GPU that was idle has
# to find its clock rate, or the layout that is timed first would seem slower.
WARM, SETTLING = 3, 0.5
LEAST, LONGEST = 5, 2.0  # the same of those that count
MOST = 50  # of either


def choose_layout(
    architecture: Architecture,
    spec: Spec,
    batch: int,
    device: torch.device,
    precision: str,
    source: str,
    folder: Path | None,
    recipe: Recipe | None = None,
) -> Layout | None:
    """The layout to train in; None on a CPU, where nothing is timed.

    There a choice by timing would make scores depend on what else the machine does.

    Parameters
    ----------
    architecture, spec : Architecture, Spec
    batch : int
        Patches that go through this device in a step.
    device : torch.device
    precision : {"float32", "bfloat16", "float16"}
    source : str
        Hash of the plugin's source, with its packages' versions.
    folder : Path or None
        Where choices are kept, so that all trials of one kind train alike.
    recipe : Recipe, optional
        Whose groups may freeze weights, which then have no gradient.
    """
    if device.type != "cuda":
        return None
    rule = None if recipe is None else rules_of(_longest(spec), recipe)[0]
    frozen = [plain(group) for group in rule.groups if group.frozen] if rule else []
    # Without such groups it is the name that kept choices have.
    name = digest([source, frozen]) if frozen else source
    key = layout_key(name, spec.digest(), batch, precision, device)
    found = kept_layout(
        key, folder, lambda: time_layouts(architecture, spec, batch, device, precision, rule)
    )
    # The memory of the trial is counted from nothing.
    reset_peaks(device)
    return found.layout


def layout_for(job: Job) -> tuple[Layout | None, float]:
    """The layout of a training, and the seconds of its choice; None on a CPU.

    It is the same in all processes of a team.
    """
    if job.device.type != "cuda":
        return None, 0.0
    began, found = time.perf_counter(), None
    if job.team.leads:
        found = choose_layout(
            job.architecture,
            job.spec,
            len(job.team.samples(job.recipe.batch)),
            job.device,
            job.precision,
            job.source,
            job.layouts,
            job.recipe,
        )
    last = job.team.decide(found == "channels_last_3d")
    return "channels_last_3d" if last else "contiguous", time.perf_counter() - began


def time_layouts(
    architecture: Architecture,
    spec: Spec,
    batch: int,
    device: torch.device,
    precision: str,
    rule: Optimiser | None = None,
) -> tuple[Seconds, int]:
    """Seconds of a step in each layout, and the patches of that step.

    A layout in which the network's code fails has None. Where memory runs out in one, both are
    timed with fewer patches at a time, down to single ones.
    """
    layouts: tuple[Layout, Layout] = ("contiguous", "channels_last_3d")
    samples, found = batch, Seconds()
    while True:
        try:
            for layout in layouts:
                found[layout] = _time(architecture, spec, samples, device, precision, layout, rule)
            return found, samples
        except Exception as error:
            if not can_be_smaller(error):
                raise
        _free(device)  # only here has the failed try let go of its tensors
        samples = next(n for n in range(samples - 1, 0, -1) if batch % n == 0)


def _time(
    architecture: Architecture,
    spec: Spec,
    batch: int,
    device: torch.device,
    precision: str,
    layout: Layout,
    rule: Optimiser | None,
) -> float | None:
    """Median seconds of a step; None where it fails, and with fewer patches would too."""
    try:
        with same_randomness(device):
            return _median(architecture, spec, batch, device, precision, layout, rule)
    except Exception as error:
        if batch > 1 and can_be_smaller(error):
            raise
        return None  # if it fails in the other as well, training will say why
    finally:
        _free(device)


def _median(
    architecture: Architecture,
    spec: Spec,
    batch: int,
    device: torch.device,
    precision: str,
    layout: Layout,
    rule: Optimiser | None,
) -> float:
    seed_everything(0)
    stage = _longest(spec)
    with plugin_code("build"):
        network = architecture.build(spec).to(device)
    fast_norms(network, device)
    set_layout(network, layout)
    freeze(network, stage, rule)
    training_mode(network)
    inputs, labels = drawn_batch(spec, batch, device)
    with plugin_code("targets"):
        targets = architecture.targets(labels, spec)

    clock = DeviceClock(device)

    def step() -> float:
        clock.start()
        with autocast(device, precision), plugin_code("forward"):
            outputs = network(inputs)
        with autocast(device, precision), plugin_code("loss"):
            loss, _ = architecture.loss(outputs, targets, Progress(stage.name), spec)
        with plugin_code("backward"):
            loss.backward()
        network.zero_grad(set_to_none=True)
        clock.stop()
        clock.exact()
        return clock.last_step

    def steps(least: int, longest: float) -> list[float]:
        found = [step() for _ in range(least)]
        while sum(found) < longest and len(found) < MOST:
            found.append(step())
        return found

    steps(WARM, SETTLING)
    return median(steps(LEAST, LONGEST))


def _longest(spec: Spec) -> Stage:
    """The stage in which steps are timed, since in another one other weights may train."""
    return max(spec.stages, key=lambda one: one.share)


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
