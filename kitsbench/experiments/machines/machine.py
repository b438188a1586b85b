"""What the trials of an experiment run on: devices of this machine, or nodes of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from kitsbench.devices.choose import choose_devices
from kitsbench.devices.precision import Precision, best_precision, choose_precision
from kitsbench.errors import UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import is_timed
from kitsbench.experiments.machines.environment import (
    device_class,
    device_name,
    usable_cores,
)
from kitsbench.files.documents import Document
from kitsbench.training.networks.compiling import check_compiler

LOCAL_CPU_JOBS = 4


@dataclass(frozen=True)
class Machine:
    """What an experiment runs on.

    Parameters
    ----------
    kind : {"cpu", "cuda"}
    name : str
        Of the processor or the GPU.
    threads : int
        CPU threads of each process.
    device_class : str
        What a second of a time budget is bound to.
    jobs : int or None
        Trials at the same time; None where the cluster decides.
    slots : tuple of tuple of str
        Devices of each trial that runs at the same time; empty on a cluster.
    precision : {"float32", "bfloat16", "float16"}
        What networks are computed in.
    """

    kind: str
    name: str
    threads: int
    device_class: str
    jobs: int | None
    slots: tuple[tuple[str, ...], ...] = ()
    precision: Precision = "float32"

    @property
    def device(self) -> torch.device:
        """The kind of device."""
        return torch.device(self.kind)


def this_machine(request: Request) -> Machine:
    """Share the devices and cores of this machine out among trials.

    On the CPU several trials of few threads get more done than one of many, and a trial of one
    thread is not slowed down by whatever else the machine does on its other cores.

    Raises
    ------
    UsageError
        There are fewer GPUs than a trial asks for, a time budget would be spent on a GPU that two
        trials share, or there is nothing to compile with.
    """
    devices, ranks, cores = choose_devices(request.device), request.world_size, usable_cores()
    if request.compile:
        check_compiler(torch.device(devices[0]).type)
    if devices == ("cpu",):
        jobs = request.jobs or max(1, min(cores, LOCAL_CPU_JOBS) // ranks)
        # Several threads add up in an order of their own. On the phantom every machine shall show
        # the same scores, and its patches are too small for two threads to gain anything.
        threads = 1 if request.phantom else max(1, cores // (jobs * ranks))
        slots = [("cpu",) * ranks] * jobs
    else:
        groups = [devices[i : i + ranks] for i in range(0, len(devices) - ranks + 1, ranks)]
        if not groups:
            raise UsageError(
                f"--world-size {ranks} wants {ranks} GPUs for a trial, and there "
                f"{'is' if len(devices) == 1 else 'are'} {len(devices)}."
            )
        jobs = request.jobs or len(groups)
        if jobs > len(groups) and is_timed(request):
            raise UsageError(
                f"--jobs {jobs} would let trials share a GPU ({len(groups)} can run side by side), "
                "and time that is shared cannot be measured. Use fewer jobs, or a budget in "
                "steps, voxels or FLOPs."
            )
        threads = max(1, cores // (jobs * ranks))
        slots = [groups[index % len(groups)] for index in range(jobs)]
    if is_timed(request):
        _check_equal({device_class(torch.device(name), threads) for name in devices})
    return _machine(devices, threads, jobs, slots, request.precision)


def _check_equal(found: set[str]) -> None:
    if len(found) > 1:
        raise UsageError(
            f"The GPUs differ ({'; '.join(sorted(found))}), so a second on one is not a second on "
            "another. Choose equal ones, for example --device cuda:0."
        )


def _machine(
    devices: Sequence[str],
    threads: int,
    jobs: int | None,
    slots: Sequence[tuple[str, ...]],
    precision: str,
) -> Machine:
    names = {device_name(torch.device(name)) for name in devices}
    _check_equal(names)
    first = torch.device(devices[0])
    return Machine(
        first.type,
        names.pop(),
        threads,
        device_class(first, threads),
        jobs,
        tuple(slots),
        choose_precision(precision, first.type, best_precision(first)),
    )


class Node(Document):
    """What a process of a cluster's node would train on.

    Attributes
    ----------
    kind, name, device_class : str
        Of the GPU, if there is one, else of the processor.
    cpu_name, cpu_class : str
        Of the processor.
    precision : {"float32", "bfloat16", "float16"}
        What the GPU, if there is one, is made for.
    """

    schema_version: Literal[2] = 2
    kind: Literal["cpu", "cuda"]
    name: str
    device_class: str
    cpu_name: str
    cpu_class: str
    precision: Precision


def look_around(threads: int) -> Node:
    """What this process would train on; a probe on a cluster's node."""
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    processor = torch.device("cpu")
    return Node(
        kind="cuda" if device.type == "cuda" else "cpu",
        name=device_name(device),
        device_class=device_class(device, threads),
        cpu_name=device_name(processor),
        cpu_class=device_class(processor, threads),
        precision=best_precision(device),
    )
