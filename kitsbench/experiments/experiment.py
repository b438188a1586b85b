"""An experiment: prepare the data, plan the trials, run them, and leave files that tell all."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from kitsbench.data.datasets.dataset import Dataset
from kitsbench.data.splits.files import keep_split
from kitsbench.data.splits.split import Split
from kitsbench.errors import UsageError
from kitsbench.experiments.accounts.clock import Clock
from kitsbench.experiments.asked.again import keep_request
from kitsbench.experiments.asked.request import Count, Request, Tell
from kitsbench.experiments.asked.resolve import Resolved, drawn_elsewhere, own_labels, resolve
from kitsbench.experiments.asked.until import check_fixed
from kitsbench.experiments.executors.carry_out import carry_out
from kitsbench.experiments.executors.choose import choose_machine
from kitsbench.experiments.executors.events import Event, Executor, Notify
from kitsbench.experiments.executors.local import speed_of
from kitsbench.experiments.looks.counting import not_needed
from kitsbench.experiments.machines.machine import Machine
from kitsbench.experiments.plan.description import (
    describe_entrants,
    describe_experiment,
    planned,
)
from kitsbench.experiments.plan.elsewhere import check_names, given_entrants, guard
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.experiments.plan.entrants import (
    Known,
    check_batches,
    choose_entrants,
    installed_in,
    named_in,
    read_names,
    with_whole_paths,
)
from kitsbench.experiments.plan.estimate import Forecast, estimate, foresee
from kitsbench.experiments.plan.materials import (
    choose_split,
    find_dataset,
    nobody_has,
    prepare_all,
    with_its_channels,
)
from kitsbench.experiments.plan.members import with_inner_folds
from kitsbench.experiments.plan.planner import Planner
from kitsbench.experiments.plan.pretraining import say_pretraining
from kitsbench.experiments.plan.tuning import Study, describe_tuning, make_studies, tune
from kitsbench.experiments.records import (
    ExperimentRecord,
    LooksRecord,
    experiment_file,
    keep_experiment,
    make_latest,
    request_file,
)
from kitsbench.experiments.rounds import Rounds
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.experiments.trial.kept_scores import is_done
from kitsbench.experiments.trial.remembered import forget
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files import write_out_halves
from kitsbench.isolation import IsolatedFailure, call_isolated
from kitsbench.registry import answers
from kitsbench.spec import Labels
from kitsbench.training.budget import Budget


@dataclass(frozen=True)
class Experiment:
    """A planned experiment.

    Attributes
    ----------
    request : Request
    resolved : Resolved
        What the request comes to on this machine and dataset.
    machine : Machine
        What the trials run on.
    dataset : Dataset
    split : Split
    folds : tuple of int
        Which of its folds are run.
    entrants : list of Entrant
    tasks : list of TrialTask
        In the order of execution; ensembles last. With tuning they are known when it is done,
        and stand here untuned before.
    record : ExperimentRecord
        What was asked for, as ``experiments/<id>.json`` says it.
    planner : Planner
    studies : list of Study
        Searches for settings that come before the trials.
    """

    request: Request
    resolved: Resolved
    machine: Machine
    dataset: Dataset
    split: Split
    folds: tuple[int, ...]
    entrants: list[Entrant]
    tasks: list[TrialTask]
    record: ExperimentRecord
    planner: Planner
    studies: list[Study]

    @property
    def budget(self) -> Budget:
        """What a trial may spend."""
        return self.resolved.budget

    @property
    def seeds(self) -> int:
        """Training runs of each entrant and fold."""
        return self.resolved.seeds

    @property
    def device(self) -> torch.device:
        """The kind of device that trials run on."""
        return self.machine.device

    @property
    def threads(self) -> int:
        """CPU threads of each process."""
        return self.machine.threads

    @property
    def jobs(self) -> int:
        """Trials at the same time; 1 where a cluster decides."""
        return self.machine.jobs or 1


def plan_experiment(
    request: Request,
    tell: Tell = lambda text: None,
    count: Count = lambda what, done, total: None,
    *,
    costs: bool = True,
    clock: Clock | None = None,
) -> Experiment:
    """Prepare data and plan the trials; nothing is trained.

    Parameters
    ----------
    request : Request
    tell : callable
        Gets a line for the user now and then.
    count : callable
        Gets (what, done, total) while data are made or prepared.
    costs : bool
        Whether the record shall say what the networks cost. Each is counted in a process of its
        own that imports what the network is made of, so who keeps no record does without.
    clock : Clock, optional
        Is told what the time is spent on.

    Raises
    ------
    UsageError, DataError
        The request cannot be carried out.
    """
    clock = clock or Clock()
    clock.enter("planning")
    check_place(request.workdir)
    check_fixed(request.until, request.seeds, request.max_hours)
    answers.keep_in(request.workdir / "answers")
    known: Known = {}
    read_names(request, known)  # so that a typing error is told before any data are made
    machine = choose_machine(request, tell)
    with clock.spend("data"):
        dataset = find_dataset(request, tell, count)
    resolved = resolve(request, dataset.labels, machine.kind)
    if remark := own_labels(dataset.labels, resolved):
        tell(remark)
    if request.recipe == "matched" and (
        remark := drawn_elsewhere(resolved.matched.sampling, dataset.labels)
    ):
        tell(remark)
    labels: Labels = tuple(sorted(dataset.labels.items(), key=lambda item: item[1]))
    entrants = choose_entrants(request, resolved, labels, dataset.voxels(), known)
    entrants = [with_its_channels(entrant, dataset) for entrant in entrants]
    installed = installed_in(request)
    entrants = with_inner_folds(entrants, installed, resolved.split, tell)
    entrants += given_entrants(request.predictions, dataset, labels)
    check_names(request.predictions, (e.name for e in entrants if e.given is None))
    check_batches(entrants, request.world_size)
    with clock.spend("preparation"):
        stores = prepare_all(request, entrants, dataset, resolved.matched, count)
    if remark := nobody_has(resolved, dataset, stores):
        tell(remark)
    split, folds = choose_split(resolved.split, resolved.folds, dataset, stores, count)
    entrants = with_inner_folds(entrants, installed, split, tell)
    tested = [case for fold in folds for case in split.test(fold)]
    entrants = [say_pretraining(entrant, dataset, tested, tell) for entrant in entrants]
    entrants = guard(entrants, dataset, tested, request.allow_leak, tell)
    planner = Planner(request, resolved, machine, dataset, stores, split)
    tasks = planner.tasks(entrants, folds)
    lay = {held: path for path, held in request.contents.items()}
    for task in tasks:
        task.check_files(lay)
    folder = request.workdir / "costs" if costs else None
    rows = describe_entrants(entrants, folder, machine.jobs or 1, count)
    keep_split(split, request.workdir / "splits")
    return Experiment(
        request,
        resolved,
        machine,
        dataset,
        split,
        folds,
        entrants,
        tasks,
        record=describe_experiment(planner, folds, rows, tasks),
        planner=planner,
        studies=make_studies(request.tuning, entrants, folds, planner),
    )


def check_place(workdir: Path) -> None:
    """Refuse a working directory whose path is no text: half of its files could not be opened.

    Raises
    ------
    UsageError
        It has a byte that is no UTF-8.
    """
    path = str(workdir.absolute())
    if path != write_out_halves(path):
        raise UsageError(
            f"The working directory {path} has a byte in its path that is no UTF-8; tables and "
            "weights cannot be opened there. Choose another --workdir."
        )


def check_stored(experiment: Experiment) -> None:
    """See that what is stored of the planned trials can be read back and is theirs.

    What cannot is told before hours are spent on the others, and before anything is written.

    Raises
    ------
    DataError
        A file is damaged or another trial's.
    """
    for trial in experiment.record.trials:
        StoredTrial.read(experiment.request.workdir, trial, experiment.record)


def tuned(experiment: Experiment, executor: Executor | None, notify: Notify) -> Experiment | None:
    """Search for the settings of every architecture, and plan its trials with them.

    Parameters
    ----------
    experiment : Experiment
    executor : Executor or None
        None to use only what has been searched already.
    notify : callable

    Returns
    -------
    Experiment or None
        With the trials that follow from the search; None while it is not complete.
    """
    request, studies = experiment.request, experiment.studies
    if request.tuning is None:
        return experiment
    run = None if executor is None else partial(carry_out, executor=executor, notify=notify)
    complete = tune(studies, experiment.planner, run)
    if not complete:
        return None
    recipes = {(study.entrant.name, study.fold): study.recipe() for study in studies}
    tasks = experiment.planner.tasks(experiment.entrants, experiment.folds, recipes)
    record = experiment.record.model_copy(
        update={"trials": planned(tasks), "tuning": describe_tuning(request.tuning, studies)}
    )
    return replace(experiment, tasks=tasks, record=record)


def forecast(experiment: Experiment) -> Forecast:
    """What is left to do, tuning included; the experiment's own studies are not asked."""
    request = experiment.request
    studies = make_studies(
        request.tuning, experiment.entrants, experiment.folds, experiment.planner
    )
    found = tuned(replace(experiment, studies=studies), None, lambda event: None)
    spared = not_needed(experiment.record, request.workdir)
    return foresee(
        [task for task in (found or experiment).tasks if task.id not in spared],
        studies if found is None else [],
        experiment.resolved.tuning_budget,
        request.world_size,
        experiment.machine.jobs,
        _flops(experiment),
        {entrant.name: entrant.parameters for entrant in experiment.record.entrants},
        partial(_speed, experiment),
    )


def estimates(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Device seconds that training takes by trial, as of :func:`estimate`; those that ended too."""
    return estimate(experiment.tasks, _flops(experiment), partial(_speed, experiment))


def _flops(experiment: Experiment) -> dict[str, int | None]:
    """Of a forward pass of one patch, by the entrant's name."""
    return {entrant.name: entrant.flops for entrant in experiment.record.entrants}


def _speed(experiment: Experiment) -> float | None:
    """GFLOP/s of the device that trials run on here; None on a cluster, or where it fails."""
    machine = experiment.machine
    if not machine.slots:
        return None
    return _device_speed(
        machine.slots[0][0], machine.threads, experiment.request.workdir / "devices"
    )


@cache
def _device_speed(device: str, threads: int, folder: Path) -> float | None:
    """The same of a device; asked once, since another process has to be started for it."""
    try:
        # What the first run would measure before its first trial; it finds what is kept.
        found: float = call_isolated(speed_of, device, threads, folder)
    except IsolatedFailure:
        return None
    return found


def run_experiment(
    experiment: Experiment,
    executor: Executor,
    notify: Notify,
    only: Container[str] | None = None,
    asked: Request | None = None,
    clock: Clock | None = None,
    tell: Tell = lambda text: None,
) -> Experiment:
    """Run the trials that are not finished, ensembles after their members; tuning goes before.

    The experiment's file is written before the first trial begins, so that a report can be made of
    whatever a kill leaves behind.

    Parameters
    ----------
    experiment : Experiment
    executor : Executor
    notify : callable
    only : container of str, optional
        Ids of the trials that are run; by default all.
    asked : Request, optional
        What is written down as asked for, where this call alone runs them otherwise.
    clock : Clock, optional
        Is told what the time is spent on.
    tell : callable
        Gets a line after each look of a run that stops by itself.
    """
    if clock is not None:
        clock.enter("planning")
        executor = clock.watch(executor)
    workdir = experiment.request.workdir
    _keep_request(experiment, experiment.request if asked is None else asked)
    if experiment.studies:
        # What an earlier call found stays until this one has found the same again.
        if not experiment_file(workdir, experiment.record.id).is_file():
            keep_experiment(workdir, experiment.record.model_copy(update={"trials": ()}))
        make_latest(workdir, experiment.record.id)
        found = tuned(experiment, executor, notify)
        assert found is not None  # with an executor every study is completed
        experiment = found
    check_stored(experiment)
    keep_experiment(workdir, experiment.record)
    if only is not None and experiment.record.until is not None:
        _check_uncounted(experiment, only)
    if experiment.record.until is None or only is not None:
        chosen = [task for task in experiment.tasks if only is None or task.id in only]
        _run_all(chosen, executor, notify)
    else:
        rounds = Rounds(
            workdir.resolve(),
            experiment.record,
            experiment.tasks,
            experiment.request.world_size,
            experiment.request.max_hours,
            tell,
        )
        rounds.run(partial(_run_all, executor=executor, notify=notify))
    forget(experiment.tasks)
    return experiment


def _check_uncounted(experiment: Experiment, only: Container[str]) -> None:
    """Refuse to run what a look has counted as failed: it would change what was seen."""
    looks = LooksRecord.find(experiment.request.workdir, experiment.record.id)
    counted = [name for name in (looks.missed if looks else ()) if name in only]
    if counted:
        raise UsageError(
            f"Trial {min(counted)} had failed when a look counted it, and stays a failure of "
            f"experiment {experiment.record.id}. `kitsbench run --add --seeds "
            f"{experiment.record.seeds}` makes the fixed design of the same trials, of which it "
            "can be tried again."
        )


def _run_all(tasks: Sequence[TrialTask], executor: Executor, notify: Notify) -> None:
    """Run trials that are not done, ensembles after their members."""
    open_tasks = [task for task in tasks if not is_done(task)]
    carry_out([t for t in open_tasks if not t.members], executor, notify)
    ready = []
    for task in open_tasks:
        missing = [m for m in task.members if m.folder.read_status().status != "finished"]
        if missing and task.folder.read_status().status != "finished":
            names = ", ".join(sorted({m.name for m in missing}))
            message = f"its member {names} did not finish."
            task.trial.write(task.folder.trial)
            task.folder.set_status("failed", "member failed", message)
            notify(Event(task, "failed", message=f"member failed: {message}"))
        elif task.members:
            ready.append(task)
    carry_out(ready, executor, notify)


def _keep_request(experiment: Experiment, request: Request) -> None:
    """Write down what was asked for, so that more can be added to it."""
    own = experiment.record.id
    # What the split does not allow of everything that is installed was not asked for.
    there = {entrant.registered.name for entrant in experiment.entrants}
    left_out = set(installed_in(request)) - there
    asked = [(name, settings) for name, settings in named_in(request) if name not in left_out]
    named = with_whole_paths(asked, experiment.entrants)
    contents = {
        str(file): str(dict(entrant.spec.config)[key])
        for entrant in experiment.entrants
        if entrant.spec is not None
        for key, file in entrant.files.items()
    }
    keep_request(request_file(request.workdir, own), own, request, named, contents)
