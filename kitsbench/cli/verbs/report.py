"""``kitsbench report``: rebuild the report from stored trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitsbench.cli.options import experiment_option, out_option, workdir_argument
from kitsbench.cli.output import say, tell
from kitsbench.cli.values import EndpointName, Number, Whole

if TYPE_CHECKING:
    from kitsbench.viewer.choice import Which


@click.command("report")
@workdir_argument(several=True)
@out_option(
    "Folder for the report; by default the experiment's own, to which WORKDIR/report leads; of "
    "several working directories kitsbench-report."
)
@experiment_option
@click.option(
    "--architectures",
    multiple=True,
    metavar="NAME[,...]",
    help="Only these, by the names of the report. Repeatable.",
)
@click.option(
    "--endpoint",
    type=EndpointName(),
    metavar="REGION:METRIC",
    help="Rank and judge by this one instead of the experiment's own.",
)
@click.option("--baseline", metavar="ARCH", help="Compare with this architecture only.")
@click.option(
    "--margin",
    type=Number(0),
    help="Differences of the endpoint below it do not matter; kitsbench's own if not given.",
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    help="Show only the scores of this region, such as tumor. Repeatable.",
)
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
    workdirs: tuple[Path, ...],
    out: Path | None,
    experiment: str | None,
    architectures: tuple[str, ...],
    endpoint: str | None,
    baseline: str | None,
    margin: float | None,
    regions: tuple[str, ...],
    viewer: Which,
    viewer_limit: int,
) -> None:
    """Rebuild the report of WORKDIR (default: kitsbench-work) from its stored trials.

    Nothing is trained or predicted, and no trial is changed. The page index.html holds everything
    and needs no network; figures and tables for papers, spreadsheets and programs lie beside it,
    and scans for its viewer.

    Several working directories that were made under the same conditions are put together into one
    report; others stand side by side, with what differs, and no number is over both.

    What is narrowed by the options below has a folder of its own and says so: verdicts of a family
    that was chosen after the results had been seen are not the planned ones.
    """
    from kitsbench.reporting import build_reports
    from kitsbench.reporting.asked.narrowing import Narrowing
    from kitsbench.reporting.viewer_part import ViewerAsked

    asked = Narrowing(architectures, endpoint, baseline, margin, regions)
    scans = ViewerAsked(viewer, viewer_limit)
    say(build_reports(workdirs, out, experiment, tell, asked, scans))
