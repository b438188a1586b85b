"""``kitsbench trials retry``: trials of an experiment are run once more, and its report follows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kitsbench.cli.output import tell
from kitsbench.cli.progress import CountBar
from kitsbench.cli.trial_bars import TrialBars
from kitsbench.cli.views.added import kept_request
from kitsbench.cli.views.run_view import conclude
from kitsbench.errors import UsageError
from kitsbench.experiments.accounts.clock import Clock
from kitsbench.experiments.asked.again import go_on_with
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.executors.choose import choose_executor
from kitsbench.experiments.executors.company import Company
from kitsbench.experiments.experiment import (
    Experiment,
    check_stored,
    plan_experiment,
    run_experiment,
    tuned,
)
from kitsbench.experiments.logs import Logs, check_loggers
from kitsbench.experiments.trial.lease import LeaseTaken
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.isolation import stops_at_signals


def run_again(
    workdir: Path,
    name: str,
    ids: Sequence[str],
    how: Mapping[str, Any],
    fresh: bool,
    as_json: bool,
) -> int:
    """Run trials of an experiment once more, and tell what came of it.

    Parameters
    ----------
    workdir : Path
    name : str
        The experiment's id.
    ids : sequence of str
        Of the trials.
    how : mapping
        Where and how they run this once, instead of before, by the names of a request.
    fresh : bool
        Whether their checkpoints are forgotten.
    as_json : bool

    Returns
    -------
    int
        The exit code of a run.
    """
    clock = Clock()
    before, said, design, record = kept_request(workdir, name, how)
    request = replace(go_on_with(before, said, design), command=record.command)
    check_loggers(request.log)
    with stops_at_signals():
        with CountBar() as count:
            experiment = plan_experiment(request, tell, count, clock=clock)
        found = tuned(experiment, None, lambda event: None)
        tasks = [] if found is None else found.tasks
        chosen = [task for task in tasks if task.id in ids]
        if len(chosen) < len(ids):
            missing = sorted({*ids} - {task.id for task in chosen})
            raise UsageError(
                f"Trial {missing[0]} is none of experiment {name} as it would be planned now: its "
                "plugin, its data or kitsbench have changed since, or a search for settings is "
                f"not complete. `kitsbench run --experiment {name}` trains what is asked for now."
            )
        check_stored(found or experiment)
        # An ensemble whose member failed has failed with it, and is tried after it.
        waiting = [t for t in tasks if t not in chosen and {m.id for m in t.members} & {*ids}]
        if fresh:
            _forget_checkpoints(chosen)
        for task in chosen:
            tell(f"{task.id}, {task.name}, fold {task.trial.fold}, seed {task.trial.seed}", "Again")
        return _carry_out(experiment, [*chosen, *waiting], before, as_json, clock)


def _carry_out(
    experiment: Experiment,
    tasks: Sequence[TrialTask],
    asked: Request,
    as_json: bool,
    clock: Clock,
) -> int:
    request = experiment.request
    with Company(request.workdir, experiment.record.id, tell):
        executor = choose_executor(request, experiment.machine)
        record, only = experiment.record, {task.id for task in tasks}
        with (
            Logs(request.log, request.workdir, tell) as logs,
            TrialBars(len(tasks), record.endpoint, record.protocol) as bars,
        ):
            logs.follow(tasks)
            heard = logs.beside(bars)
            experiment = run_experiment(experiment, executor, heard, only, asked, clock)
        return conclude(experiment, as_json, clock)


def _forget_checkpoints(tasks: Sequence[TrialTask]) -> None:
    for task in tasks:
        try:
            with task.folder.lease():
                # What has finished keeps its weights, by which it is scored again.
                if task.folder.read_status().status != "finished":
                    shutil.rmtree(task.folder.checkpoints, ignore_errors=True)
        except LeaseTaken:
            raise UsageError(
                f"Another process works on trial {task.id}; wait until it is done, and say it "
                "again."
            ) from None
