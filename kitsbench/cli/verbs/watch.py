"""``kitsbench watch``: look at a run from another terminal or machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitsbench.cli.options import experiment_option, json_option, workdir_argument
from kitsbench.cli.values import Seconds

if TYPE_CHECKING:
    from kitsbench.experiments.workdir.watching import Look


@click.command("watch")
@workdir_argument()
@experiment_option
@click.option("--once", is_flag=True, help="Print how far everything is, and end.")
@click.option(
    "--interval",
    type=Seconds(0.2),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@json_option
def command(
    workdir: Path, experiment: str | None, once: bool, interval: float, as_json: bool
) -> int:
    """Watch the trials of an experiment in WORKDIR (default: kitsbench-work) while they run.

    It only reads the working directory, so it works from another terminal, or from any machine that
    sees that folder, whatever runs the trials. It ends when all trials have ended, or by Ctrl-C,
    which stops nothing else. --json prints one document, as --once does one table. Where stdout is
    no terminal, a line tells what has changed. Exit code 0 if no trial has failed or lost its
    process so far, else 1; 2 for wrong usage or input.
    """
    from kitsbench.cli.output import print_json
    from kitsbench.cli.progress import working
    from kitsbench.cli.views import watched

    with working("Looking ..."):
        from kitsbench.experiments.records import find_experiment
        from kitsbench.experiments.workdir.watching import Watch

        watch = Watch(workdir, find_experiment(workdir, experiment))
        found = watch.settle() if once or as_json else watch.look()
    if as_json:
        print_json(watched.content(watch, found))
    elif once:
        watched.show(watch, found)
    else:
        try:
            found = watched.follow(watch, found, interval)
        except KeyboardInterrupt:
            return 130
    return _code(found)


def _code(found: Look) -> int:
    return int(any(found.counts[state] for state in ("failed", "dead", "damaged")))
