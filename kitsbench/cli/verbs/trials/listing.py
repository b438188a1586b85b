"""``kitsbench trials list``, ``experiments`` and ``log``: what a working directory holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kitsbench.cli.completion import trials
from kitsbench.cli.options import (
    experiment_option,
    json_option,
    state_option,
    workdir_argument,
    workdir_option,
    yes_option,
)
from kitsbench.cli.output import print_json, say
from kitsbench.cli.values import Whole
from kitsbench.cli.verbs.trials.changes import take_away, take_maps


@click.command("list")
@workdir_argument()
@state_option
@experiment_option
@click.option(
    "--prune",
    type=click.Choice(["unused", "orphans", "failed", "interrupted", "damaged", "predictions"]),
    help="Instead of listing, delete these, as `kitsbench trials delete` does: told only, unless "
    "--yes is given. Orphans are unused; predictions: of finished trials the label maps alone.",
)
@yes_option
@json_option
@click.pass_context
def list_(
    context: click.Context,
    workdir: Path,
    state: str | None,
    experiment: str | None,
    prune: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """List the trials and experiments in WORKDIR (default: kitsbench-work).

    Of each trial its size on disk, its state and why it failed, its age, and the experiments that
    use it; of each experiment when it was planned, what it asks and how far it is. A damaged trial
    is a row, too, and below stands what is wrong and what to do. With --experiment only the trials
    of that one are listed.
    """
    from kitsbench.cli.views import kept_trials as views
    from kitsbench.experiments.records import find_experiment
    from kitsbench.experiments.workdir.inventory import take_inventory

    if prune == "predictions":
        context.exit(take_maps(workdir, yes, as_json))
    if prune is not None:
        unused = prune in ("unused", "orphans")
        context.exit(take_away(workdir, (), None if unused else prune, None, unused, yes, as_json))
    inventory = take_inventory(workdir)
    only = None if experiment is None else find_experiment(workdir, experiment).id
    trials = [
        trial
        for trial in inventory.trials
        if state in (None, trial.state) and (only is None or only in trial.experiments)
    ]
    if as_json:
        print_json(views.inventory_content(inventory, trials))
        return
    if trials:
        views.show_trials(trials)
    say(views.summary(trials))
    if inventory.experiments:
        say("")
        views.show_experiments(inventory.experiments)


@click.command()
@workdir_argument()
@json_option
def experiments(workdir: Path, as_json: bool) -> None:
    """List the experiments in WORKDIR (default: kitsbench-work): date, question and state.

    `run`, `report`, `compare`, `claims`, `predict` and `leaderboard add` take one of them by
    --experiment with the first letters of its id.
    """
    from kitsbench.cli.views import kept_trials as views
    from kitsbench.experiments.workdir.inventory import take_inventory

    found = take_inventory(workdir).experiments
    if as_json:
        print_json([views.experiment_content(one) for one in found])
    elif found:
        views.show_experiments(found)
    else:
        say(f"{workdir} holds no experiment.")


@click.command()
@click.argument("trial", shell_complete=trials)
@workdir_option("Where TRIAL is looked for.")
@click.option(
    "--tail", type=Whole(1), metavar="N", help="Only the last N lines of what it printed."
)
@json_option
def log(trial: str, workdir: Path, tail: int | None, as_json: bool) -> None:
    """Show what TRIAL printed while it ran, and why it failed, in full.

    TRIAL is an id, the first letters of it, or the path of its folder.
    """
    from kitsbench.cli.views import kept_trials as views
    from kitsbench.experiments.workdir.choose import find_trial
    from kitsbench.experiments.workdir.inventory import take_inventory

    found = find_trial(take_inventory(workdir), trial)
    texts: dict[str, Any] = {
        "log": _text(found.folder.log, tail),
        "hang": _text(found.folder.hang, None),
    }
    if as_json:
        print_json({**views.trial_content(found), **texts})
        return
    views.show_log(found, texts["log"], texts["hang"])


def _text(file: Path, tail: int | None) -> str | None:
    """What foreign code has printed into a file; None where there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text if tail is None else "".join(text.splitlines(keepends=True)[-tail:])
