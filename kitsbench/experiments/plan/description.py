"""What an experiment's file says of a plan: the request as it was resolved, and who takes part."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from kitsbench import __version__
from kitsbench.architecture import configure
from kitsbench.errors import DataError
from kitsbench.experiments.asked.request import Count
from kitsbench.experiments.plan.entrant import NO_RECIPE, Entrant
from kitsbench.experiments.plan.planner import Planner
from kitsbench.experiments.plan.tuning import describe_tuning
from kitsbench.experiments.plan.until import note_until
from kitsbench.experiments.records import (
    CostsRecord,
    DatasetNote,
    DeviceNote,
    EntrantRecord,
    ExperimentRecord,
    FoldsNote,
    PlannedTrial,
    note,
)
from kitsbench.experiments.trial.folder import now
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files import digest
from kitsbench.isolation import IsolatedFailure, call_isolated, each_isolated
from kitsbench.recipe import SHARED
from kitsbench.registry import load
from kitsbench.spec import Spec, Task
from kitsbench.training.networks.meta import count_cost

COST_VERSION = 1  # raised whenever costs are counted in another way
COST_TIMEOUT = 60.0  # seconds; on a busy machine the first process alone takes ten to start


def describe_experiment(
    planner: Planner,
    folds: tuple[int, ...],
    entrants: tuple[EntrantRecord, ...],
    tasks: Sequence[TrialTask],
) -> ExperimentRecord:
    """Content of ``experiments/<id>.json``, before anything is tuned.

    Parameters
    ----------
    planner : Planner
        With the resolved request, the machine, the dataset and its split.
    folds : tuple of int
        Which are run.
    entrants : tuple of EntrantRecord
    tasks : sequence of TrialTask
    """
    request, resolved, machine = planner.request, planner.resolved, planner.machine
    shown = planner.split.test(folds[0]) if folds else ()
    return ExperimentRecord.of(
        version=__version__,
        created=now(),
        command=_without_paths(request.command, tasks),
        dataset=_note_dataset(planner),
        protocol=resolved.protocol,
        protocols=resolved.protocols,
        endpoint=resolved.endpoint,
        recipe=resolved.matched if request.recipe == "matched" else None,
        recipe_mode=request.recipe,
        budget=note(resolved.budget),
        max_memory=request.max_memory,
        folds=FoldsNote(count=len(planner.split.folds), used=folds, split_id=planner.split.id),
        seeds=resolved.seeds,
        device=DeviceNote(
            kind=machine.kind,
            name=machine.name,
            threads=machine.threads,
            jobs=machine.jobs,
            world_size=request.world_size,
            executor=request.executor,
        ),
        entrants=entrants,
        trials=planned(tasks),
        showcase=tuple(shown[: resolved.showcases]),
        tuning=None if request.tuning is None else describe_tuning(request.tuning, ()),
        until=note_until(request.until, entrants, len(folds), resolved.endpoint),
    )


def _without_paths(command: str, tasks: Sequence[TrialTask]) -> str:
    """A command with the hashes of the files in place of their paths, which are nobody's business.

    It still does what it did where all is trained, or where one gives the paths again.
    """
    hashes = {
        (key, file): f"{key}={dict(task.spec.config)[key]}"
        for task in tasks
        for key, file in task.files.items()
    }
    if not hashes:
        return command

    def hashed(setting: re.Match[str]) -> str:
        path = Path(setting["path"].strip()).expanduser().resolve()
        return hashes.get((setting["key"], path), setting[0])

    words = shlex.split(command)
    return shlex.join(re.sub(r"(?<=[:,])(?P<key>\w+)=(?P<path>[^,]+)", hashed, w) for w in words)


def planned(tasks: Sequence[TrialTask]) -> tuple[PlannedTrial, ...]:
    """The trials as an experiment lists them."""
    return tuple(
        PlannedTrial(id=t.id, name=t.name, fold=t.trial.fold, seed=t.trial.seed) for t in tasks
    )


def _note_dataset(planner: Planner) -> DatasetNote:
    dataset = planner.dataset
    stores = [s for grids in planner.stores.values() for s in grids.values()]
    any_store = stores[0] if stores else None
    excluded = {**dataset.excluded, **{c: why for s in stores for c, why in s.excluded.items()}}
    unlabelled = {case.id for case in dataset.cases if case.label is None}
    excluded |= dict.fromkeys(sorted(unlabelled - set(excluded)), "missing mask")
    return DatasetNote(
        name=dataset.name,
        path=str(Path(dataset.root).resolve()),
        layout=dataset.layout,
        labels=dict(dataset.labels),
        fingerprint=any_store.dataset_fingerprint if any_store else None,
        n_cases=len(planner.split.cases) if stores else len(dataset.cases),
        excluded=excluded,
        synthetic=dataset.synthetic,
        note=dataset.note,
    )


def describe_entrants(
    entrants: Sequence[Entrant], folder: Path | None, jobs: int, count: Count
) -> tuple[EntrantRecord, ...]:
    """Rows of an experiment's file: provenance, size and cost of every entrant.

    Parameters
    ----------
    entrants : sequence of Entrant
    folder : Path or None
        Where costs that were counted once are kept; None where nobody asks for costs.
    jobs : int
        Networks that are counted at a time, each in a process of its own.
    count : callable
        Gets (what, done, total).
    """
    rows = []
    for row in each_isolated(lambda entrant: describe_entrant(entrant, folder), entrants, jobs):
        rows.append(row)
        count("architectures examined", len(rows), len(entrants))
    return _with_members(rows)


def describe_entrant(entrant: Entrant, folder: Path | None) -> EntrantRecord:
    """Provenance, size and cost of one entrant; an ensemble's are not known yet."""
    registered, spec = entrant.registered, entrant.spec
    # What holds for the networks of another row is said there.
    notes = [*(spec.notes if spec and entrant.tta is None else ()), *entrant.notes]
    costs: CostsRecord | None = None
    counted = spec is not None and not spec.members and not spec.trained_on
    if spec is not None and counted and folder is not None:
        try:
            costs = _costs(entrant, spec, folder)
        except IsolatedFailure as error:
            notes.append(f"Parameters and FLOPs could not be counted: {error}")
    own = entrant.recipe not in (None, NO_RECIPE) and entrant.recipe.name != SHARED
    return EntrantRecord(
        name=entrant.name,
        architecture=registered.name,
        title=registered.title,
        paper=registered.paper,
        distribution=registered.distribution,
        version=registered.version,
        source_hash=registered.source_hash,
        status="ok" if entrant.error is None else "broken",
        error=entrant.error,
        config=dict(spec.config) if spec else {},
        size=dict(spec.config).get("size") if spec else None,  # type: ignore[arg-type]
        notes=tuple(notes),
        members=entrant.members,
        combine=spec.combine if spec and spec.members else None,
        asked=entrant.asked,
        tta=entrant.tta,
        recipe=entrant.recipe if own else None,
        patch=spec.grids[0].shape if spec and spec.grids else None,
        parameters=costs.parameters if costs else None,
        flops=costs.flops if costs else None,
        paper_parameters=costs.paper_parameters if costs else None,
        paper_flops=costs.paper_flops if costs else None,
        paper_patch=costs.paper_patch if costs else None,
        elsewhere=entrant.elsewhere,
        planted=registered.planted,
    )


def _costs(entrant: Entrant, spec: Spec, folder: Path) -> CostsRecord:
    """Parameters and FLOPs, counted once and kept."""
    registered = entrant.registered
    # The name, because several architectures of one source may have equal specs.
    known = [registered.name, registered.source_hash, spec.digest(), COST_VERSION]
    key = digest([*known, *registered.packages.items()])
    file = folder / f"{key}.json"
    with contextlib.suppress(DataError):  # missing or damaged: it is counted again
        return CostsRecord.read(file)
    # The plugin's own code runs here, so it may hang or die.
    found: CostsRecord = call_isolated(count_costs, registered.location, spec, timeout=COST_TIMEOUT)
    found.write(file)
    return found


def _with_members(rows: Sequence[EntrantRecord]) -> tuple[EntrantRecord, ...]:
    """Give each ensemble's row the summed sizes of its members' rows, where all are known."""
    known = {row.name: row for row in rows}

    def summed(row: EntrantRecord) -> EntrantRecord:
        members = [known[name] for name in row.members if name in known]
        if row.parameters is not None or len(members) < max(len(row.members), 1):
            return row
        sums = {}
        for key in ("parameters", "flops", "paper_parameters", "paper_flops"):
            values = [getattr(member, key) for member in members]
            if None not in values:
                sums[key] = sum(values)
        return row.model_copy(update=sums)

    return tuple(summed(row) for row in rows)


def count_costs(location: str, spec: Spec) -> CostsRecord:
    """Parameters and FLOPs of a patch, as configured and at the paper's size and patch."""
    architecture = load(location).architecture
    cost = count_cost(architecture, spec)
    # Everything that a size preset may set goes back to the paper's value.
    scaled = {"size", "width", "depth"}
    scaled |= {key for preset in architecture.sizes.values() for key in preset}
    settings = {key: value for key, value in spec.config if key not in scaled}
    task = Task(spec.labels, architecture.paper_patch)
    paper = architecture.spec(configure(architecture, settings), task)
    at_paper_size = cost if paper == spec else count_cost(architecture, paper)
    return CostsRecord(
        parameters=cost.parameters,
        flops=cost.flops_forward,
        paper_parameters=at_paper_size.parameters,
        paper_flops=at_paper_size.flops_forward,
        paper_patch=paper.grids[0].shape,
    )
