"""An experiment: prepare the data, plan the trials, run them, and leave files that tell all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kitsbench import __version__
from kitsbench.data.datasets.dataset import Dataset
from kitsbench.data.splits.split import Split
from kitsbench.experiments.asked.request import (
    DATASET_BUDGET,
    DATASET_SEEDS,
    PHANTOM_BUDGET,
    PHANTOM_SEEDS,
    Count,
    Request,
    Tell,
)
from kitsbench.experiments.executors.choose import choose_machine
from kitsbench.experiments.executors.events import Event, Executor, Notify, ending
from kitsbench.experiments.machines.machine import Machine
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.experiments.plan.entrants import (
    add_up_members,
    choose_entrants,
    describe_entrant,
    read_names,
    shared_recipe,
)
from kitsbench.experiments.plan.materials import (
    Stores,
    choose_split,
    find_dataset,
    prepare_all,
)
from kitsbench.experiments.plan.planner import Planner, check_endpoint, choose_protocols
from kitsbench.experiments.plan.tuning import Study, describe_tuning, make_studies, tune
from kitsbench.experiments.trial.folder import now
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files import write_json
from kitsbench.recipe import Recipe
from kitsbench.spec import Labels
from kitsbench.training.budget import Budget
from kitsbench.training.distributed import check_batch

SHOWCASES = 3
ASK_AGAIN = 5.0  # seconds between two looks at a trial that another process works on


@dataclass(frozen=True)
class Experiment:
    """A planned experiment.

    Attributes
    ----------
    request : Request
    machine : Machine
        What the trials run on.
    dataset : Dataset
    split : Split
    budget : Budget
    entrants : list of Entrant
    tasks : list of TrialTask
        In the order of execution; ensembles last. With tuning they are known when it is done,
        and stand here untuned before.
    planner : Planner
    studies : list of Study
        Searches for settings that come before the trials.
    """

    request: Request
    machine: Machine
    dataset: Dataset
    split: Split
    folds: tuple[int, ...]
    seeds: int
    budget: Budget
    recipe: Recipe
    entrants: list[Entrant]
    tasks: list[TrialTask]
    description: dict[str, Any]
    planner: Planner
    studies: list[Study]

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
) -> Experiment:
    """Prepare data and plan the trials; nothing is trained.

    Parameters
    ----------
    request : Request
    tell : callable
        Gets a line for the user now and then.
    count : callable
        Gets (what, done, total) while data are made or prepared.

    Raises
    ------
    UsageError, DataError
        The request cannot be carried out.
    """
    read_names(request)
    machine = choose_machine(request, tell)
    device = machine.device
    workdir = request.workdir
    dataset = find_dataset(request, tell, count)
    check_endpoint(request, dataset)
    labels: Labels = tuple(sorted(dataset.labels.items(), key=lambda item: item[1]))
    entrants = choose_entrants(request, labels, device, dataset.median_spacing())
    for entrant in entrants:
        if entrant.recipe is not None and not entrant.members:
            check_batch(entrant.recipe.batch, request.world_size, entrant.label)
    stores = prepare_all(request, entrants, dataset, count)
    split, folds = choose_split(request, dataset, stores, count)
    seeds = request.seeds or (PHANTOM_SEEDS if request.phantom else DATASET_SEEDS)
    budget = request.budget or Budget.parse(
        PHANTOM_BUDGET if request.phantom else DATASET_BUDGET[device.type]
    )
    planner = Planner(request, dataset, stores, split, budget, machine)
    tasks = planner.tasks(entrants, folds, seeds)
    studies = make_studies(request.tuning, entrants, folds, planner) if request.tuning else []
    experiment = Experiment(
        request,
        machine,
        dataset,
        split,
        folds,
        seeds,
        budget,
        shared_recipe(request, device),
        entrants,
        tasks,
        {},
        planner,
        studies,
    )
    rows = []
    with ThreadPoolExecutor(experiment.jobs) as pool:  # of threads that wait for processes
        for row in pool.map(lambda entrant: describe_entrant(entrant, workdir / "costs"), entrants):
            rows.append(row)
            count("architectures examined", len(rows), len(entrants))
    add_up_members(rows)
    experiment.description.update(_describe(experiment, stores), architectures=rows)
    write_json(workdir / "splits" / f"{split.id}.json", split.to_dict())
    return experiment


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
    run = None if executor is None else partial(_carry_out, executor=executor, notify=notify)
    complete = tune(studies, experiment.planner, run)
    experiment.description["tuning"] = describe_tuning(request.tuning, studies)
    if not complete:
        return None
    recipes = {(study.entrant.label, study.fold): study.recipe() for study in studies}
    tasks = experiment.planner.tasks(
        experiment.entrants, experiment.folds, experiment.seeds, recipes
    )
    experiment.description["trials"] = [task.id for task in tasks]
    return replace(experiment, tasks=tasks)


def run_experiment(experiment: Experiment, executor: Executor, notify: Notify) -> Experiment:
    """Run the trials that are not finished, ensembles after their members; tuning goes before.

    ``experiment.json`` is written before the first trial begins, so that a report can be made of
    whatever a kill leaves behind.
    """
    file = experiment.request.workdir / "experiment.json"
    if experiment.studies:
        write_json(file, {**experiment.description, "trials": []})
        found = tuned(experiment, executor, notify)
        assert found is not None  # with an executor every study is completed
        experiment = found
    write_json(file, experiment.description)
    open_tasks = [t for t in experiment.tasks if t.folder.read_status()["status"] != "finished"]
    _carry_out([t for t in open_tasks if not t.members], executor, notify)
    ready = []
    for task in open_tasks:
        missing = [m for m in task.members if m.folder.read_status()["status"] != "finished"]
        if missing:
            names = ", ".join(sorted({str(m.trial["label"]) for m in missing}))
            message = f"its member {names} did not finish."
            task.folder.write("trial.json", task.trial)
            task.folder.set_status("failed", "member failed", message)
            notify(Event(task, "failed", message=f"member failed: {message}"))
        elif task.members:
            ready.append(task)
    _carry_out(ready, executor, notify)
    return experiment


def _carry_out(tasks: Sequence[TrialTask], executor: Executor, notify: Notify) -> None:
    """Run trials, and wait for those that another run on this working directory has begun."""
    taken: list[TrialTask] = []

    def listen(event: Event) -> None:
        if event.kind == "taken":
            taken.append(event.task)
        else:
            notify(event)

    executor.execute(tasks, listen)
    while taken:
        for task in taken:
            notify(Event(task, "taken", message="another process works on it; waiting for it"))
        time.sleep(ASK_AGAIN)
        ended, left = [], []
        for task in taken:
            known = ending(task)
            if known is not None and not (task.folder.path / "lease.json").exists():
                ended.append(known)
            else:
                left.append(task)
        for known in ended:
            notify(known)
        taken.clear()
        executor.execute(left, listen)  # takes over where the other process is gone


def _describe(experiment: Experiment, stores: Stores) -> dict[str, Any]:
    """Content of ``experiment.json``."""
    request, dataset = experiment.request, experiment.dataset
    any_store = next((s for grids in stores.values() for s in grids.values()), None)
    shown = experiment.split.test(experiment.folds[0])[:SHOWCASES] if experiment.folds else []
    return {
        "version": __version__,
        "created": now(),
        "command": request.command,
        "dataset": {
            "name": dataset.name,
            "path": str(Path(dataset.root).resolve()),
            "layout": dataset.layout,
            "labels": dict(dataset.labels),
            "fingerprint": any_store.dataset_fingerprint if any_store else None,
            "n_cases": len(dataset.cases),
            "excluded": dict(any_store.excluded) if any_store else {},
            "synthetic": dataset.synthetic,
            "note": dataset.note,
        },
        "protocol": choose_protocols(request, dataset)[0],
        "protocols": list(choose_protocols(request, dataset)),
        "endpoint": request.endpoint,
        # With `paper`, each architecture's own stands in its row.
        "recipe": experiment.recipe.to_dict() if request.recipe == "matched" else {"name": "paper"},
        "recipe_mode": request.recipe,
        "budget": experiment.budget.to_dict(),
        "max_memory": request.max_memory,
        "folds": {
            "count": len(experiment.split.folds),
            "used": list(experiment.folds),
            "split_id": experiment.split.id,
        },
        "seeds": experiment.seeds,
        "device": {
            "kind": experiment.device.type,
            "name": experiment.machine.name,
            "threads": experiment.threads,
            "jobs": experiment.machine.jobs,
            "world_size": request.world_size,
            "executor": request.executor,
        },
        "trials": [task.id for task in experiment.tasks],
        "showcase": list(shown),
    }
