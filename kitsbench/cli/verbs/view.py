"""``kitsbench view``: scans with truth and predictions in the browser, at full resolution."""

from __future__ import annotations

from pathlib import Path

import click

from kitsbench.cli.completion import viewed
from kitsbench.cli.options import experiment_option, workdir_option
from kitsbench.cli.output import say, tell
from kitsbench.cli.values import Whole


@click.command("view")
@click.argument(
    "what",
    nargs=-1,
    required=True,
    metavar="CASE|TRIAL|FOLDER|FILE...",
    shell_complete=viewed,
)
@workdir_option("Where CASE and TRIAL are looked for.")
@experiment_option
@click.option(
    "--predictions",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Label maps to lay over the scans of FOLDER, whoever made them. May be given several "
    "times.",
)
@click.option("--port", type=Whole(1, 65535), help="Port to listen on; by default any free one.")
@click.option("--no-browser", is_flag=True, help="Print the address only, and open no browser.")
def command(
    what: tuple[str, ...],
    workdir: Path,
    experiment: str | None,
    predictions: tuple[str, ...],
    port: int | None,
    no_browser: bool,
) -> None:
    """Look at scans with truth and predictions laid over them, in the browser.

    A CASE of an experiment is shown with what every architecture predicted of it, a TRIAL (its id,
    the first letters, or its folder) with all its held-out cases. FOLDER is a working directory, a
    dataset, or the folder of one case or DICOM series. Of several FILEs the first is the scan and
    the others are label maps on its grid.

    The scans are served whole, to this machine only, under an address that nobody can guess;
    nothing is written and nothing leaves the machine. Ctrl-C ends it. Needs the extra `viewer`.
    """
    from kitsbench.cli.progress import working

    with working("Reading what shall be shown ...") as now:
        from kitsbench.reporting.words import endpoint_name, region_name
        from kitsbench.viewer.library import need_library
        from kitsbench.viewer.server import LocalServer, Site
        from kitsbench.viewer.sources import find_view

        now("Reading NiiVue ...")
        library = need_library()
        now("Looking for scans and label maps ...")
        found = find_view(what, workdir, experiment, predictions, endpoint_name, region_name)
        server = LocalServer(Site(found.shown, found.cases, library), port or 0)
    for problem in found.problems:
        tell(problem, "Left out", "yellow")
    try:
        number = len(found.cases)
        tell(f"{number} case{'s' * (number != 1)} at the address below, until Ctrl-C ends it.")
        say(server.address)
        if not no_browser:
            import webbrowser

            webbrowser.open(server.opening)
        server.serve()
    except KeyboardInterrupt:
        tell("Ended.")
    finally:
        server.close()
