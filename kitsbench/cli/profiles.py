"""Profiles of an experiment's architectures: known ones are kept, the others measured."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kitsbench.errors import DataError, KitsbenchError

if TYPE_CHECKING:
    from kitsbench.experiments.experiment import Experiment


# A measurement at the end of a run, where many architectures wait: half a second, or three
# repetitions where these take longer.
BRIEFLY: dict[str, Any] = {"seconds": 0.5, "warm": 1, "least": 3}


def profile_entrants(
    experiment: Experiment, after_run: bool = False, compile: bool = False
) -> list[dict[str, Any]]:
    """Measure every architecture of an experiment that can be built; known figures are kept.

    Parameters
    ----------
    experiment : Experiment
    after_run : bool
        Measure briefly, and only architectures that were asked for and of which a trial has
        finished: others may hang or fail here too.
    compile : bool
        Measure the training step through torch.compile as well.

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

    if experiment.device.type == "cuda" and not torch.cuda.is_available():
        return []  # the trials ran on nodes of a cluster
    asked = {entrant.name for entrant in experiment.entrants if entrant.asked}
    chosen = {}
    for name in dict.fromkeys(task.name for task in experiment.tasks):
        own = (t for t in experiment.tasks if t.name == name)
        tasks = [t for t in own if not (t.members or t.elsewhere)]
        finished = [t for t in tasks if t.folder.read_status().status == "finished"]
        if tasks and (not after_run or (finished and name in asked)):
            chosen[name] = (finished or tasks)[0]

    # What runs on a GPU does so in the process that measures: this one would keep a context on the
    # first.
    versions = libraries(experiment.device)
    device = _device(experiment)

    def measure(name: str) -> dict[str, Any]:
        task = chosen[name]
        key = profile_key(
            task.trial.identity,
            experiment.machine.name,
            experiment.threads,
            *versions,
        )
        with contextlib.suppress(DataError):  # damaged, or of before: measured anew
            known = ProfileRecord.find(experiment.request.workdir, name, key)
            # One that was measured without torch.compile says nothing about it.
            if known is not None and (known.train_step_ms_compiled is not None or not compile):
                return known.row()
        job = ProfileJob(
            name=name,
            location=task.location,
            spec=task.spec,
            recipe=task.recipe,
            device=device,
            precision=task.trial.identity.precision,
            threads=experiment.threads,
            stores=task.stores,
            cases=task.train_cases[:8],
            window=task.window,
            compile=compile,
            source=task.trial.identity.code,
            layouts=layouts_of(experiment.request.workdir),
            **(BRIEFLY if after_run else {}),
        )
        try:
            found = ProfileRecord(
                name=name, **profile(job), device_name=experiment.machine.name, key=key
            )
        except KitsbenchError as error:
            return {"architecture": name, "error": str(error)}
        found.keep(experiment.request.workdir)
        return found.row()

    # After a run as many at a time as trials were, which is how the networks were trained.
    at_once = experiment.jobs if after_run and experiment.device.type == "cpu" else 1
    return list(each_isolated(measure, chosen, at_once))


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
