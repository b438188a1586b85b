"""``kitsbench trials retry``, ``delete`` and ``merge``: what changes a working directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kitsbench.cli import completion
from kitsbench.cli.options import (
    experiment_option,
    json_option,
    log_option,
    reason_option,
    state_option,
    workdir_option,
    yes_option,
)
from kitsbench.cli.output import stopped, tell
from kitsbench.cli.values import PATH, Memory, Seconds, Whole
from kitsbench.errors import UsageError

if TYPE_CHECKING:
    from kitsbench.experiments.workdir.inventory import Inventory, KeptTrial

AGAIN = ("failed", "interrupted", "unscored")  # states of trials that can be tried again


@click.command()
@click.argument("trials", nargs=-1, metavar="[TRIAL]...", shell_complete=completion.trials)
@workdir_option("Where the trials are, and are run again.")
@reason_option
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Every trial of the experiment that failed or was interrupted.",
)
@experiment_option
@click.option(
    "--fresh", is_flag=True, help="Train from the beginning, not on from the last checkpoint."
)
@click.option("--jobs", type=Whole(1, 1024), help="Trials at the same time, instead of before.")
@click.option("--timeout", type=Seconds(1), help="Seconds a trial may take, instead of before.")
@click.option("--max-memory", type=Memory(), help="Most memory a trial may use, instead of before.")
@log_option
@json_option
@click.pass_context
def retry(
    context: click.Context,
    /,
    trials: tuple[str, ...],
    workdir: Path,
    reason: str | None,
    every: bool,
    experiment: str | None,
    fresh: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Run failed trials again: TRIAL by the first letters of its id, --reason, or --all.

    They are run as their experiment asked for, from their last checkpoint, and ensembles of theirs
    after them; all others are left alone. Then the report is brought up to date. Exit code 0 if all
    trials of the experiment have finished, else 1.
    """
    from kitsbench.cli.progress import working

    if not (trials or reason or every):
        raise UsageError("Name the trials to run again, or say --reason REASON or --all.")
    with working("Starting ..."):
        from kitsbench.cli.views.retried import run_again
        from kitsbench.experiments.workdir.choose import Choice, choose_trials, find_trial
        from kitsbench.experiments.workdir.inventory import take_inventory

    inventory = take_inventory(workdir)
    choice = Choice("failed", reason) if reason or every else Choice()
    chosen = choose_trials(inventory, trials, choice)
    if every and not reason:
        interrupted = choose_trials(inventory, (), Choice("interrupted"))
        chosen += [trial for trial in interrupted if trial not in chosen]
    own = _experiment_of(inventory, chosen, experiment, bool(trials))
    named = {find_trial(inventory, name).id for name in trials}
    for trial in chosen:
        if trial.id in named and own not in trial.experiments:
            users = ", ".join(trial.experiments) or "none"
            raise UsageError(
                f"Trial {trial.id} is none of experiment {own}, so that does not say how to run "
                f"it; experiments that plan it: {users}. Leave --experiment out, or name another."
            )
    chosen = [trial for trial in chosen if own in trial.experiments]
    for trial in chosen:
        if trial.state not in AGAIN:
            raise UsageError(
                f"Trial {trial.id} is {trial.state}; only those that failed, were interrupted or "
                f"lack scores can be run again. {trial.message}".rstrip()
            )
    if not chosen:
        why = f" for the reason '{reason}'" if reason else ""
        what = "failed" if reason else "failed or was interrupted"
        tell(f"No trial of experiment {own} has {what}{why}; nothing is run.")
        if not as_json:  # whose document tells of the experiment
            context.exit(0)
    given = {key: value for key, value in how.items() if value not in (None, ())}
    try:
        ids = [trial.id for trial in chosen]
        context.exit(run_again(workdir, own, ids, given, fresh, as_json))
    except KeyboardInterrupt as error:
        context.exit(stopped(error))


def _experiment_of(
    inventory: Inventory, chosen: Sequence[KeptTrial], name: str | None, named: bool
) -> str:
    """Id of the experiment that says how trials are run: the latest of those that plan them."""
    from kitsbench.experiments.records import find_experiment

    if name is not None or not chosen or not named:
        return find_experiment(inventory.workdir, name).id
    for one in sorted(inventory.experiments, key=lambda one: not one.latest):
        if one.record and all(one.id in trial.experiments for trial in chosen):
            return one.id
    raise UsageError(
        f"No experiment plans all {len(chosen)} of these trials, so nothing says how to run them. "
        "Name those of one experiment at a time; `kitsbench trials` lists which use them."
    )


@click.command()
@click.argument("trials", nargs=-1, metavar="[TRIAL]...", shell_complete=completion.trials)
@workdir_option("Where the trials are.")
@state_option
@reason_option
@click.option("--unused", is_flag=True, help="Only trials that no experiment uses.")
@yes_option
@json_option
@click.pass_context
def delete(
    context: click.Context,
    trials: tuple[str, ...],
    workdir: Path,
    state: str | None,
    reason: str | None,
    unused: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete trials: TRIAL by the first letters of its id, or by --state, --reason, --unused.

    Without --yes it only says what would go, how much that is, and which experiments would lose
    trials. What a process works on is never deleted, nor what a run that goes on will need. Exit
    code 1 if a trial that was chosen is still there.
    """
    context.exit(take_away(workdir, trials, state, reason, unused, yes, as_json))


def take_away(
    workdir: Path,
    names: Sequence[str],
    state: str | None,
    reason: str | None,
    unused: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Tell what would be deleted, or delete it; returns the exit code."""
    from kitsbench.cli.views.changes import show_deletion
    from kitsbench.experiments.trial.lease import STALE_AFTER
    from kitsbench.experiments.workdir.choose import Choice, choose_trials, find_trial
    from kitsbench.experiments.workdir.delete import delete as remove
    from kitsbench.experiments.workdir.delete import plan_deletion
    from kitsbench.experiments.workdir.inventory import take_inventory

    choice = Choice(state, reason, unused)
    if not (names or choice):
        raise UsageError("Name the trials to delete, or choose by --state, --reason or --unused.")
    inventory = take_inventory(workdir, STALE_AFTER if yes else 0.0)
    named = {find_trial(inventory, name).id for name in names}
    plan = plan_deletion(inventory, choose_trials(inventory, names, choice), named)
    faults = remove(plan) if yes else []
    show_deletion(plan, faults, yes, as_json)
    return 1 if yes and (faults or plan.kept) else 0


def take_maps(workdir: Path, yes: bool, as_json: bool) -> int:
    """Tell whose label maps would go, or remove them; returns the exit code."""
    from kitsbench.cli.views.changes import show_pruning
    from kitsbench.experiments.trial.lease import STALE_AFTER
    from kitsbench.experiments.workdir.inventory import take_inventory
    from kitsbench.experiments.workdir.label_maps import gone, plan_pruning, prune

    plan = plan_pruning(take_inventory(workdir, STALE_AFTER if yes else 0.0))
    faults = prune(plan) if yes else []
    show_pruning(gone(plan, faults), yes, as_json)
    return 1 if faults else 0


@click.command()
@click.argument("other", type=PATH)
@workdir_option("Where the trials come to.")
@click.option(
    "--light",
    is_flag=True,
    help="Finished trials only, without weights, label maps and losses of single steps: little "
    "enough to be committed, and all that reports and boards need.",
)
@yes_option
@json_option
@click.pass_context
def merge(
    context: click.Context, other: Path, workdir: Path, light: bool, yes: bool, as_json: bool
) -> None:
    """Take over the trials and experiments of another working directory, OTHER.

    Each is checked first: a trial's id is worked out again from what it is. What has finished here
    stays, and where both have trained the same it is told whether their scores agree. OTHER is only
    read. Without --yes it only says what would come. Exit code 1 if something could not be taken.
    """
    from kitsbench.cli.views.changes import show_merge
    from kitsbench.experiments.trial.lease import STALE_AFTER
    from kitsbench.experiments.workdir.merge import merge as take_over
    from kitsbench.experiments.workdir.merge import plan_merge

    plan = plan_merge(workdir, other, STALE_AFTER if yes else 0.0, light)
    faults = take_over(plan) if yes else []
    show_merge(plan, faults, yes, as_json)
    left_out = [one for one in (*plan.trials, *plan.experiments) if one.what == "left out"]
    context.exit(1 if yes and (faults or left_out) else 0)
