"""``kitsbench report``: rebuild the report from stored trials."""

from __future__ import annotations

from pathlib import Path

import click

from kitsbench.cli.options import WORKDIR, out_option
from kitsbench.cli.values import PATH


@click.command("report")
@click.argument("workdir", default=WORKDIR, type=PATH)
@out_option("Folder for the report; WORKDIR/report by default.")
def command(workdir: Path, out: Path | None) -> None:
    """Rebuild the report of WORKDIR (default: kitsbench-work) from its stored trials.

    Nothing is trained or predicted; the working directory is only read. The page index.html
    holds everything and needs no network; tables as CSV, Markdown and LaTeX lie beside it.
    """
    from kitsbench.reporting import build_report

    click.echo(build_report(workdir, out))
