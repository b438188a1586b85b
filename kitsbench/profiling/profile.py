"""Measure one configured architecture in a process of its own.

A process of its own, because on the CPU peak memory is a figure of the whole process, and
because an architecture that runs out of memory must not take the others along.
"""

from __future__ import annotations

import math
import platform
from typing import Any

import torch

from kitsbench.architecture import Architecture
from kitsbench.devices.layout import layout_of
from kitsbench.devices.nvml import gpu_state
from kitsbench.devices.peaks import peak_memory
from kitsbench.devices.precision import autocast
from kitsbench.devices.use import use_device
from kitsbench.errors import KitsbenchError
from kitsbench.profiling.apart import measured_apart
from kitsbench.profiling.company import Company, is_busy
from kitsbench.profiling.job import ProfileJob
from kitsbench.profiling.reading import impossible
from kitsbench.profiling.repeat import milliseconds, named, quartiles, repeat, wholes
from kitsbench.profiling.roofline import count_bytes, place
from kitsbench.profiling.step import (
    TrainingStep,
    measure_compute,
    measure_with_data,
    step_on_device,
)
from kitsbench.registry import load
from kitsbench.training.failures import TrialFailure
from kitsbench.training.meters.energy import EnergyMeter
from kitsbench.training.networks.meta import count_cost, count_step
from kitsbench.training.networks.rehearsal import drawn_batch
from kitsbench.training.networks.sizes import size_rule_is_told


def profile(job: ProfileJob, timeout: float = 180.0) -> dict[str, Any]:
    """Measure, in a process of its own; once more where the machine was busy, or changed its speed.

    Parameters
    ----------
    job : ProfileJob
    timeout : float
        Seconds after which the process is stopped.

    Returns
    -------
    dict
        ``parameters``; ``flops_forward`` and ``flops_step`` of one patch; ``train_step_ms``
        (median over steps of a whole batch, in the last stage, on data that lie on the device) with
        quartiles ``_low`` and ``_high``; ``train_step_ms_compiled``, or None; ``inference_ms`` of
        one patch, with quartiles; ``patches_per_s_compute`` on data that lie on the device;
        ``peak_memory_bytes``; ``energy_joules`` of a step on data that lie on the device, where
        that tells; with stores what :func:`~kitsbench.profiling.step.measure_with_data` says, else
        None; ``company``, the shares that others had of the machine, and whether it was ``busy``;
        ``measured``, how often; ``roofline``, where the step lies under the peaks of the job, as of
        :func:`~kitsbench.profiling.roofline.place`; ``conditions``, on which figures depend too.

    Raises
    ------
    KitsbenchError
        The measurement failed; the message says why.
    """
    found = measured_apart(measure, job, timeout)
    if not (job.again and (found["busy"] or impossible(found))):
        return found
    second = measured_apart(measure, job, timeout)
    calmer = min((found, second), key=_doubt)
    return {**calmer, "measured": 2}


def _doubt(found: dict[str, Any]) -> tuple[bool, bool, float]:
    """What is least for the row that can be trusted most."""
    during = float(found["company"]["during"])
    return bool(found["busy"]), impossible(found) is not None, during


def measure(job: ProfileJob) -> dict[str, Any]:
    """Measure in this process; see :func:`profile`."""
    device = torch.device(job.device)
    use_device(device, job.threads)
    architecture = load(job.location).architecture
    company = Company(device, job.looks)
    try:
        with size_rule_is_told(architecture, job.spec):
            found = _measured(job, architecture, device)
    except TrialFailure as failure:
        raise KitsbenchError(str(failure)) from failure
    conditions = conditions_of(device)
    shares = company.leave()
    busy = is_busy(shares, job.beside)
    return {**found, "company": shares, "busy": busy, "measured": 1, "conditions": conditions}


def conditions_of(device: torch.device) -> dict[str, str | int]:
    """What figures depend on beside the network: versions, and what a GPU tells of itself."""
    found: dict[str, str | int] = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "interop_threads": torch.get_num_interop_threads(),
    }
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())
    return {**found, **gpu_state(device)}


def _measured(job: ProfileJob, architecture: Architecture, device: torch.device) -> dict[str, Any]:
    cost = count_cost(architecture, job.spec)
    step = TrainingStep(job, architecture, device)
    flops_step = count_step(architecture, job.spec, step.stage, 1, step.rule)
    meter = EnergyMeter(device)
    laps = measure_compute(step, meter)
    own_flops, energy = step.own_flops, meter.joules
    peak = peak_memory(device)
    data: dict[str, Any] = dict.fromkeys(WITH_DATA)
    samples = {"step": milliseconds(wholes(laps))}
    if job.stores:
        data = measure_with_data(step, architecture)
        peak = data.pop("peak_memory_bytes")
        samples |= data.pop("samples_ms")
    moved = count_bytes(step_on_device(step)) if job.peaks else None
    through_compiler = None
    if job.compile:
        step.compile()
        _, through_compiler, _ = quartiles(wholes(measure_compute(step)))
        step.model = step.network
    latency = _latency(job, step.network, device)
    samples["inference"] = milliseconds(latency)
    own_step = named("train_step_ms", wholes(laps))
    flops = flops_step if own_flops is None else own_flops
    roof = None
    if job.peaks:
        whole = None if flops is None else flops * job.recipe.batch
        roof = place(whole, moved, own_step["train_step_ms"] / 1000, job.peaks)
    found: dict[str, Any] = {
        "parameters": cost.parameters,
        "flops_forward": cost.flops_forward,
        "flops_step": flops,
        "patch": job.spec.grids[0].shape,
        "voxels": math.prod(job.spec.grids[0].shape),
        "output_voxels": math.prod(job.spec.primary.shape),
        "batch": job.recipe.batch,
        "device": device.type,
        "precision": job.precision,
        "threads": job.threads,
        **own_step,
        **named("inference_ms", latency),
        "patches_per_s_compute": job.recipe.batch * 1000 / own_step["train_step_ms"],
        "peak_memory_bytes": peak,
        "layout": layout_of(step.network),
        "train_step_ms_compiled": through_compiler,
        "energy_joules": None if energy is None else energy / len(laps),
        "steps": len(laps),
        "roofline": roof,
        "peaks": job.peaks or None,
        **data,
        "samples_ms": samples,
    }
    for kind in ("compute", "full", "loader"):
        rate = found[f"patches_per_s_{kind}"]
        found[f"voxels_per_s_{kind}"] = None if rate is None else rate * found["voxels"]
    forward = found["flops_forward"]
    found["flops_per_voxel"] = None if forward is None else forward / found["output_voxels"]
    return found


WITH_DATA = (
    "full_step_ms",
    "full_step_ms_low",
    "full_step_ms_high",
    "parts",
    "patches_per_s_full",
    "loader_ms",
    "loader_ms_low",
    "loader_ms_high",
    "patches_per_s_loader",
    "loader_wait",
)
"""What is None without prepared stores."""


def _latency(job: ProfileJob, network: torch.nn.Module, device: torch.device) -> list[float]:
    """Seconds of each forward pass of one patch in evaluation mode."""
    network.eval()
    single, _ = drawn_batch(job.spec, 1, device)

    def infer() -> None:
        with torch.inference_mode(), autocast(device, job.precision):
            network(single)

    return wholes(repeat(infer, device, job))
