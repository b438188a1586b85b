"""``kitsbench run --dry-run``: the trials, what they will take, and what is already done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import print_json, print_rich, say
from kitsbench.cli.views.run_cost import cost_of, cost_row, disk_of
from kitsbench.cli.views.run_view import begun_late, dataset_content, elsewhere_content
from kitsbench.text.screen import make_table

if TYPE_CHECKING:
    from kitsbench.experiments.experiment import Experiment
    from kitsbench.experiments.plan.estimate import Forecast
    from kitsbench.experiments.records import ExperimentRecord
    from kitsbench.experiments.trial.task import TrialTask

BASES = {
    "budget": "",
    "finished trials": "as finished trials of it took",
    "profile": "by its profile",
    "rough": "a rough guess",
    "none": "unknown until a trial has finished",
    "members": "nothing is trained",
    "elsewhere": "trained elsewhere",
    "scores": "nothing is trained; it is scored again",
    "spared": "looks need it no more",
}


def print_plan(
    experiment: Experiment,
    as_json: bool,
    before: ExperimentRecord | None = None,
    price: float | None = None,
) -> None:
    """Print the plan as a table, or as one JSON document.

    Parameters
    ----------
    experiment : Experiment
    as_json : bool
    before : ExperimentRecord, optional
        What it was added to.
    price : float, optional
        Of an hour of a device.
    """
    from kitsbench.experiments.experiment import check_stored, estimates, forecast, tuned
    from kitsbench.experiments.foreseen import foresee
    from kitsbench.experiments.looks.counting import not_needed
    from kitsbench.experiments.plan.changes import changes

    found = tuned(experiment, None, lambda event: None)
    searching = _searching(experiment, found is not None)
    experiment = found or experiment
    if found is not None:
        check_stored(found)
    known = estimates(experiment)
    states = [_state(task) if found else "pending" for task in experiment.tasks]
    before_looks = dict(known)
    spared = not_needed(experiment.record, experiment.request.workdir)
    for number, task in enumerate(experiment.tasks):
        if task.id in spared:
            states[number] = "spared"
        if states[number] in ("spared", "unscored"):
            basis = {"spared": "spared", "unscored": "scores"}[states[number]]
            known[task.id] = {"device_seconds": 0.0, "basis": basis}
    rows: list[dict[str, Any]] = [
        {
            # What is searched for decides what the trials are.
            "id": task.id if found else None,
            "architecture": task.name,
            "fold": task.trial.fold,
            "seed": task.trial.seed,
            "status": state,
            "budget": str(task.budget) if not task.members else "none",
            "estimate": known[task.id],
        }
        for task, state in zip(experiment.tasks, states, strict=True)
    ]
    left = forecast(experiment)
    width = experiment.request.world_size
    designs = foresee(experiment.record, experiment.tasks, before_looks, width)
    told = changes(experiment.tasks, experiment.request.workdir) if found else []
    if late := begun_late(experiment):
        told.append(late)
    if as_json:
        entrants = experiment.record.entrants
        document = {
            "workdir": str(experiment.request.workdir),
            "experiment": experiment.record.id,
            "adds_to": None if before is None else before.id,
            "executor": experiment.request.executor,
            "dataset": dataset_content(experiment.record),
            "trials": rows,
            "tuning": searching,
            "estimate": {**left.to_dict(), **cost_row(left, price)},
            "notes": {e.name: list(e.notes) for e in entrants if e.notes},
            "changed": told,
            "broken": [{"architecture": e.name, "error": e.error} for e in entrants if e.error],
            **elsewhere_content(experiment.record),
            **({} if designs is None else {"designs": designs.plain()}),
        }
        print_json(document)
    else:
        if aside := experiment.record.dataset.set_aside():
            say(aside)
        _print_table(experiment, rows, left, price)
        for line in [*([] if designs is None else designs.told()), *told]:
            say(line)
        if searching:
            say(
                f"Before that, {searching['open_trials']} of {searching['trials']} trials of the "
                "tuning would run; what they find decides what the other trials are."
            )


def _state(task: TrialTask) -> str:
    """How far a trial came; ``unscored`` where it is trained and lacks scores."""
    from kitsbench.experiments.trial.kept_scores import is_done

    state = task.folder.read_status().status
    return "unscored" if state == "finished" and not is_done(task) else state


def _searching(experiment: Experiment, complete: bool) -> dict[str, Any] | None:
    """How much of the tuning is done."""
    from kitsbench.experiments.trial.kept_scores import is_done

    tuning = experiment.request.tuning
    if tuning is None:
        return None
    finished = sum(is_done(task) for study in experiment.studies for task in study.tasks)
    trials = tuning.trials * len(experiment.studies)
    return {
        "trials": trials,
        "open_trials": 0 if complete else trials - finished,
        "budget": str(experiment.resolved.tuning_budget),
        "space": {name: [one.low, one.high] for name, one in tuning.space.items()},
    }


def _print_table(
    experiment: Experiment, rows: list[dict[str, Any]], left: Forecast, price: float | None
) -> None:
    from kitsbench.reporting.words import duration

    # What is true of all trials stands once, beneath the table.
    bases = {row["estimate"]["basis"] for row in rows}
    common = BASES[bases.pop()] if len(rows) > 1 == len(bases) else ""
    columns = ["trial", "architecture", "fold", "seed", "status", "budget", "training"]
    lines = []
    for row in rows:
        seconds, basis = row["estimate"]["device_seconds"], BASES[row["estimate"]["basis"]]
        basis = "" if basis == common else basis
        cost = " ".join(filter(None, [duration(seconds) if seconds else "", basis]))
        shown = [row[key] for key in ("architecture", "fold", "seed", "status", "budget")]
        # The first letters of an id are enough wherever a trial is named.
        lines.append([(row["id"] or "tuned")[:10], *shown, cost])
    print_rich(make_table(columns, lines))
    if common and common != BASES["rough"]:  # which is said below
        say(f"Times of training: {common}.")
    say(f"{left.open_trials} of {len(rows)} trials would run.")
    for line in [*cost_of(left, price), *disk_of(left)]:
        say(line)
    for entrant in experiment.record.entrants:
        if entrant.elsewhere is not None:
            say(f"{entrant.elsewhere.told()}; no budget", entrant.name)
        for note in entrant.notes:
            say(note, entrant.name)
        if entrant.error:
            say(entrant.error, f"{entrant.name} cannot take part", "red")
