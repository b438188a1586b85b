"""``kitsbench data phantom`` and ``kitsbench data fetch``: where datasets come from."""

from __future__ import annotations

from pathlib import Path

import click

from kitsbench.cli.options import (
    jobs_option,
    json_option,
    out_option,
    seed_option,
    spacing_option,
)
from kitsbench.cli.output import print_json, tell
from kitsbench.cli.values import PATH, Seconds, Whole
from kitsbench.errors import UsageError


@click.command()
@click.argument("out", type=PATH)
@click.option("--cases", type=Whole(1), help="How many [default: 20, or every mask].")
@seed_option
@click.option(
    "--size",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="About 64 voxels a side at 4.5 mm, or 512 x 512 in plane as in KiTS.",
)
@click.option(
    "--labels",
    type=click.Choice(["kits19", "kits23"]),
    default="kits19",
    show_default=True,
    help="Layout and labels; only kits23 labels cysts.",
)
@click.option(
    "--anatomy", type=PATH, help="Draw the body around the real label maps of this dataset."
)
@spacing_option("With --anatomy: resample the masks first, to mm")
@click.option(
    "--tumors",
    type=click.Choice(["all", "large"]),
    default="all",
    show_default=True,
    help="With volumes of all of KiTS19, or of 89 to 310 ml as in the default run.",
)
@jobs_option()
def phantom(
    out: Path,
    cases: int | None,
    seed: int,
    size: str,
    labels: str,
    anatomy: Path | None,
    spacing: tuple[float, float, float] | None,
    tumors: str,
    jobs: int,
) -> None:
    """Write a phantom dataset to the folder OUT.

    Everything in it is synthetic: scores on it say nothing about clinical performance. The same
    seed gives the same bytes, and case k does not depend on how many are made. Run it again to
    get more cases; those already there are kept.
    """
    from kitsbench.cli.progress import counting
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.phantom.dataset import masks_of, write_phantom

    if cases is None:
        cases = 20 if anatomy is None else len(masks_of(anatomy))
    with counting("phantom cases") as bar:
        write_phantom(out, cases, seed, size, labels, anatomy, bar, jobs, spacing, tumors)
    held = len(open_dataset(out).cases)
    tell(f"{held} cases are in {out}")
    if anatomy is not None:
        tell("These are synthetic images on real masks; call them so.")


@click.command()
@click.argument("name", metavar="kits19|kits21|kits23")
@out_option("Folder for the dataset.", required=True)
@click.option("--cases", help="Which, such as 0-9 or 3,17,400-402 [default: all with masks].")
@click.option("--source", help="URL or folder of a copy of the dataset, instead of its home.")
@click.option("--images", help="URL or path of images alone, with {case} for the case id.")
@click.option("--masks", help="URL or path of masks alone, with {case} and {file}.")
@jobs_option("Cases at once.", default=4, most=16)
@click.option(
    "--retries",
    type=Whole(0, 100),
    default=5,
    show_default=True,
    help="Failures in a row that a file may have.",
)
@click.option(
    "--timeout",
    type=Seconds(0.1),
    default=60.0,
    show_default=True,
    help="Seconds without a byte after which a connection is broken.",
)
@json_option
@click.pass_context
def fetch(
    context: click.Context,
    name: str,
    out: Path,
    cases: str | None,
    source: str | None,
    images: str | None,
    masks: str | None,
    jobs: int,
    retries: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Fetch an official KiTS dataset: masks from GitHub, images from Hugging Face.

    Only what is missing is fetched, and what breaks off is continued. A file gets its name when its
    size, its gzip checksum, its header and, for an image, the shape of its mask agree. An image
    takes 15 to 500 MB. The data are CC BY-NC-SA 4.0: not for commercial use.
    """
    from kitsbench.cli.progress import TransferBars
    from kitsbench.data.fetching.attempt import Patience
    from kitsbench.data.fetching.fetch import fetch as run
    from kitsbench.data.fetching.sources import LICENCE, OFFICIAL, find_source, parse_cases

    if name not in OFFICIAL:
        raise UsageError(f"'{name}' is no dataset; there are {', '.join(OFFICIAL)}.")
    official = OFFICIAL[name]
    chosen = parse_cases(cases, official)
    place = find_source(official, source, images, masks)
    patience = Patience(retries=retries, timeout=timeout)
    with TransferBars() as bars:
        result = run(official, out, chosen, place, jobs, bars, patience)
    found = {"dataset": name, **result.to_dict()}
    if as_json:
        print_json(found)
    for finding in result.findings:
        tell(finding, "error")
    tell(
        f"{name}: {found['n_complete']} of {found['n_cases']} cases are whole in {result.root}; "
        f"{found['n_fetched']} files fetched ({result.received / 1e6:,.1f} MB), "
        f"{found['n_kept']} were there. {LICENCE}."
    )
    context.exit(2 if result.findings else 0)
