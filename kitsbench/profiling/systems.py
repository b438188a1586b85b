"""Measure a system that was trained elsewhere: seconds and memory of one scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kitsbench.architecture import System
from kitsbench.devices.peaks import peak_memory, reset_peaks
from kitsbench.devices.use import use_device
from kitsbench.errors import ContractError
from kitsbench.inference.systems import NativeScan, ask_system
from kitsbench.profiling.apart import measured_apart
from kitsbench.registry import load
from kitsbench.spec import Spec


@dataclass(frozen=True)
class SystemJob:
    """What is measured, and on what.

    Parameters
    ----------
    name, location : str
        Name in tables, and what the registry finds the plugin by.
    spec : Spec
    case : str
    scan : Path
        Of that case.
    device : str
    threads : int
        CPU threads.
    files : dict of str to Path
        That its settings name.
    """

    name: str
    location: str
    spec: Spec
    case: str
    scan: Path
    device: str = "cpu"
    threads: int = 1
    files: dict[str, Path] = field(default_factory=dict)


def profile_system(job: SystemJob, timeout: float = 1800.0) -> dict[str, Any]:
    """Measure, in a process of its own.

    Parameters
    ----------
    job : SystemJob
    timeout : float
        Seconds after which the process is stopped.

    Returns
    -------
    dict
        ``case``, ``voxels``, ``seconds_first`` of the first scan, in which a library may warm up,
        ``seconds`` of the same once more, and ``peak_memory_bytes``.

    Raises
    ------
    KitsbenchError
        The measurement failed; the message says why.
    """
    return measured_apart(measure_system, job, timeout)


def measure_system(job: SystemJob) -> dict[str, Any]:
    """Measure in this process; see :func:`profile_system`."""
    device = torch.device(job.device)
    use_device(device, job.threads)
    system = load(job.location).architecture
    if not isinstance(system, System):
        raise ContractError(f"{job.name} is no System.")
    scan = NativeScan.read(job.scan, job.case)
    reset_peaks(device)
    system.load(job.files, job.spec, device)
    asked = (system, job.spec, scan.image, scan.spacing, device, job.case)
    _, first = ask_system(*asked)
    _, again = ask_system(*asked)
    return {
        "case": job.case,
        "voxels": int(scan.image.size),
        "seconds_first": first,
        "seconds": again,
        "peak_memory_bytes": peak_memory(device),
        "device": device.type,
        "threads": job.threads,
    }
