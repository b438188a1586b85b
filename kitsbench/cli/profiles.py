"""Profiles of an experiment's architectures: known ones are kept, the others measured."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from kitsbench.errors import DataError, KitsbenchError

if TYPE_CHECKING:
    from kitsbench.experiments.experiment import Experiment
    from kitsbench.experiments.records import ProfileRecord
    from kitsbench.profiling import ProfileJob


# A measurement at the end of a run, where many architectures wait: half a second, or three
# repetitions where these take longer. Who waits for a report does not wait for a calm machine.
BRIEFLY: dict[str, Any] = {"seconds": 0.5, "warm": 1, "least": 3, "looks": 0.1, "again": False}


@dataclass(frozen=True)
class Asked:
    """What is measured beside a training step and a patch.

    Parameters
    ----------
    compile : bool
        Measure the training step through torch.compile as well.
    scans : tuple of str
        Sizes of scans that are predicted, by their names in :mod:`kitsbench.profiling.scan`.
    memory : bool
        Measure peak memory against patch and batch.
    max_memory : int or None
        Bytes for which the largest batch and patch are searched.
    also : tuple of str
        Precisions beside that of the experiment, a row each.
    fresh : bool
        Measure again what is known.
    after_run : bool
        Measure briefly, and only architectures that were asked for and of which a trial has
        finished: others may hang or fail here too.
    """

    compile: bool = False
    scans: tuple[str, ...] = ()
    memory: bool = False
    max_memory: int | None = None
    also: tuple[str, ...] = ()
    fresh: bool = False
    after_run: bool = False


AFTER_RUN = Asked(after_run=True)


def profile_entrants(experiment: Experiment, asked: Asked) -> list[dict[str, Any]]:
    """Measure every architecture of an experiment that can be built; known figures are kept.

    Parameters
    ----------
    experiment : Experiment
    asked : Asked

    Returns
    -------
    list of dict
        A profile each, or ``architecture`` and ``error``. They are stored in
        ``WORKDIR/profiles``.
    """
    import torch

    from kitsbench.devices.layout import layouts_of
    from kitsbench.experiments.machines.environment import libraries
    from kitsbench.experiments.records import ProfileRecord, profile_key
    from kitsbench.isolation import each_isolated
    from kitsbench.profiling import ProfileJob, profile
    from kitsbench.profiling.roofline import PeaksJob, peaks_of

    if experiment.device.type == "cuda" and not torch.cuda.is_available():
        return []  # the trials ran on nodes of a cluster
    after_run = asked.after_run
    wanted = {entrant.name for entrant in experiment.entrants if entrant.asked}
    chosen = {}
    for name in dict.fromkeys(task.name for task in experiment.tasks):
        own = (t for t in experiment.tasks if t.name == name)
        tasks = [t for t in own if not (t.members or t.elsewhere)]
        finished = [t for t in tasks if t.folder.read_status().status == "finished"]
        if tasks and (not after_run or (finished and name in wanted)):
            chosen[name] = (finished or tasks)[0]

    # What runs on a GPU does so in the process that measures: this one would keep a context on the
    # first.
    versions = libraries(experiment.device)
    device = _device(experiment)

    # After a run as many at a time as trials were, which is how the networks were trained.
    at_once = experiment.jobs if after_run and experiment.device.type == "cpu" else 1
    at_once = max(min(at_once, len(chosen)), 1)

    one_at_a_time = threading.Lock()

    @cache
    def measured_peaks(precision: str) -> dict[str, float]:
        return peaks_of(PeaksJob(device, precision, experiment.threads))

    def peaks(precision: str) -> dict[str, float]:
        with one_at_a_time:
            return measured_peaks(precision)

    def measure(one: tuple[str, str]) -> dict[str, Any]:
        name, precision = one
        task = chosen[name]
        key = profile_key(
            task.trial.identity.model_copy(update={"precision": precision}),
            experiment.machine.name,
            experiment.threads,
            *versions,
        )
        with contextlib.suppress(DataError):  # damaged, or of before: measured anew
            known = ProfileRecord.find(experiment.request.workdir, name, key)
            if known is not None and not asked.fresh and (after_run or _is_whole(known, asked)):
                return known.row()
        job = ProfileJob(
            name=name,
            location=task.location,
            spec=task.spec,
            recipe=task.recipe,
            device=device,
            precision=precision,
            threads=experiment.threads,
            stores=task.stores,
            cases=task.train_cases[:8],
            window=task.window,
            compile=asked.compile,
            source=task.trial.identity.code,
            layouts=layouts_of(experiment.request.workdir),
            beside=1 - 1 / at_once,
            peaks=peaks(precision),
            **(BRIEFLY if after_run else {}),
        )
        try:
            figures = {
                "name": name,
                **profile(job),
                "device_name": experiment.machine.name,
                "scans": [_scan(job, size, task.protocols[0]) for size in asked.scans] or None,
                "memory": _memory(job, asked) if asked.memory else None,
                "brief": after_run,
                "key": key,
            }
        except KitsbenchError as error:
            return {"architecture": name, "precision": precision, "error": str(error)}
        found = ProfileRecord.of_plain(figures)
        found.keep(experiment.request.workdir)
        return found.row()

    rows = [
        (name, precision)
        for name, task in chosen.items()
        for precision in dict.fromkeys([task.trial.identity.precision, *asked.also])
    ]
    return list(each_isolated(measure, rows, at_once))


def members_of(experiment: Experiment) -> dict[str, list[str]]:
    """Names of the networks that each ensemble of an experiment predicts with."""
    return {
        task.name: list(dict.fromkeys(member.name for member in task.members))
        for task in experiment.tasks
        if task.members
    }


def _is_whole(known: ProfileRecord, asked: Asked) -> bool:
    """Whether a profile that was kept says all that is asked for, and can be trusted.

    One that was measured without torch.compile says nothing about it, one of before nothing about
    the parts of a step.
    """
    if known.parts is None or known.brief or known.busy:
        return False
    # A scan that failed, or that was predicted beside others, is predicted again.
    scans = {one.size for one in known.scans or () if one.error is None and not one.busy}
    compiled = known.train_step_ms_compiled is not None
    if asked.memory and not _knows_memory(known, asked.max_memory):
        return False
    return (compiled or not asked.compile) and scans >= set(asked.scans)


def _knows_memory(known: ProfileRecord, limit: int | None) -> bool:
    found = known.memory
    if found is None or found.error is not None:
        return False
    # One of before has searched for training alone.
    return limit is None or (limit == found.limit and found.inference_patch is not None)


def _memory(job: ProfileJob, asked: Asked) -> dict[str, Any]:
    """Peak memory, or ``error``: the other figures stand."""
    from kitsbench.cli.output import tell
    from kitsbench.profiling.memory import profile_memory

    try:
        return profile_memory(job, asked.max_memory, lambda text: tell(text, job.name))
    except KitsbenchError as error:
        return {"error": str(error)}


def _scan(job: ProfileJob, size: str, protocol: str) -> dict[str, Any]:
    """What predicting a scan takes, or ``size`` and ``error``: the other figures stand."""
    from kitsbench.profiling.scan import SIZES, ScanJob, profile_scan

    try:
        return profile_scan(ScanJob(job, size, SIZES[size], protocol))
    except KitsbenchError as error:
        return {"size": size, "error": str(error)}


def _device(experiment: Experiment) -> str:
    """What is measured on."""
    if experiment.device.type != "cuda":
        return "cpu"
    return str((experiment.machine.slots or (("cuda:0",),))[0][0])


def profile_systems(experiment: Experiment) -> list[dict[str, Any]]:
    """Measure every system of an experiment that was trained elsewhere, on its first test case.

    Returns
    -------
    list of dict
        What :func:`kitsbench.profiling.systems.profile_system` says of each, with
        ``architecture``; or that and ``error``.
    """
    from kitsbench.profiling.systems import SystemJob, profile_system

    rows: dict[str, dict[str, Any]] = {}
    for task in experiment.tasks:
        if not task.elsewhere or task.given is not None or task.name in rows:
            continue
        case = task.test_cases[0]
        scan = task.cases[case].image
        assert scan is not None
        job = SystemJob(
            task.name,
            task.location,
            task.spec,
            case,
            scan,
            _device(experiment),
            experiment.threads,
            task.files,
        )
        try:
            found = {**profile_system(job), "device_name": experiment.machine.name}
        except KitsbenchError as error:
            found = {"error": str(error)}
        rows[task.name] = {"architecture": task.name, **found}
    return list(rows.values())
