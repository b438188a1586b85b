"""``kitsbench report``: rebuild the report from stored trials."""

from __future__ import annotations

from pathlib import Path

import click

from kitsbench.cli.options import WORKDIR, experiment_option, out_option
from kitsbench.cli.output import say, tell
from kitsbench.cli.values import PATH


@click.command("report")
@click.argument("workdir", default=WORKDIR, type=PATH)
@out_option("Folder for the report; by default the experiment's own: WORKDIR/report leads there.")
@experiment_option
def command(workdir: Path, out: Path | None, experiment: str | None) -> None:
    """Rebuild the report of WORKDIR (default: kitsbench-work) from its stored trials.

    Nothing is trained or predicted, and no trial is changed. The page index.html holds everything
    and needs no network; tables as CSV, Markdown and LaTeX lie beside it.
    """
    from kitsbench.reporting import build_report

    say(build_report(workdir, out, experiment, tell))
