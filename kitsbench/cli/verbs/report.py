"""``kitsbench report``: rebuild the report from stored trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitsbench.cli.options import WORKDIR, experiment_option, out_option
from kitsbench.cli.output import say, tell
from kitsbench.cli.values import PATH, Whole

if TYPE_CHECKING:
    from kitsbench.viewer.choice import Which


@click.command("report")
@click.argument("workdir", default=WORKDIR, type=PATH)
@out_option("Folder for the report; by default the experiment's own: WORKDIR/report leads there.")
@experiment_option
@click.option(
    "--viewer",
    type=click.Choice(["none", "few", "all"]),
    default="few",
    show_default=True,
    help="Scans beside the page that can be leafed through: none, the most telling ones, or all "
    "held-out cases of which a prediction was kept. Needs the extra `viewer`.",
)
@click.option(
    "--viewer-limit",
    type=Whole(1, 1_000_000),
    metavar="MIB",
    default=200,
    show_default=True,
    help="Size of the viewer's files; the most telling cases come first, and what does not fit is "
    "named.",
)
def command(
    workdir: Path,
    out: Path | None,
    experiment: str | None,
    viewer: Which,
    viewer_limit: int,
) -> None:
    """Rebuild the report of WORKDIR (default: kitsbench-work) from its stored trials.

    Nothing is trained or predicted, and no trial is changed. The page index.html holds everything
    and needs no network; tables as CSV, Markdown and LaTeX lie beside it, and scans for its viewer.
    """
    from kitsbench.reporting import build_report
    from kitsbench.reporting.viewer_part import ViewerAsked

    asked = ViewerAsked(viewer, viewer_limit)
    say(build_report(workdir, out, experiment, tell, asked))
