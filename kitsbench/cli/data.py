"""``kitsbench data``: make, check, prepare and describe datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kitsbench.cli.data_exchange import export, split
from kitsbench.cli.progress import counting
from kitsbench.errors import UsageError

FOLDER = click.Path(path_type=Path)


def _triple(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[float, float, float] | None:
    """One length or three, as 4.5 or 3,0.78,0.78, in mm (z, y, x)."""
    if value is None:
        return None
    try:
        numbers = [float(part) for part in value.replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(0 < n < 100 for n in numbers):
        raise click.BadParameter(
            f"'{value}' is no spacing. Give one length or three (z,y,x) in mm, such as 3,0.78,0.78."
        )
    return numbers[0], numbers[1], numbers[2]


layout_option = click.option(
    "--layout",
    type=click.Choice(
        ["kits19", "kits21", "kits21:AND", "kits21:MAJ", "kits21:OR", "kits23", "nnunet"]
    ),
    metavar="NAME",
    help="How the folder is laid out: kits19, kits21 (or kits21:AND, kits21:MAJ, kits21:OR for "
    "one of its masks), kits23 or nnunet; found out by itself if not given.",
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes."
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group("data")
def command() -> None:
    """Make, check, prepare and describe datasets."""


command.add_command(split)
command.add_command(export)


@command.command()
@click.argument("out", type=FOLDER)
@click.option("--cases", type=click.IntRange(min=1), help="How many [default: 20, or every mask].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
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
    "--anatomy", type=FOLDER, help="Draw the body around the real label maps of this dataset."
)
@click.option(
    "--spacing",
    callback=_triple,
    help="With --anatomy: resample the masks first, to mm (z,y,x) such as 4 or 3,0.8,0.8.",
)
@jobs_option
def phantom(
    out: Path,
    cases: int | None,
    seed: int,
    size: str,
    labels: str,
    anatomy: Path | None,
    spacing: tuple[float, float, float] | None,
    jobs: int,
) -> None:
    """Write a phantom dataset to the folder OUT.

    Everything in it is synthetic: scores on it say nothing about clinical performance. The same
    seed gives the same bytes, and case k does not depend on how many are made. Run it again to
    get more cases; those already there are kept.
    """
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.phantom.dataset import masks_of, write_phantom

    if cases is None:
        cases = 20 if anatomy is None else len(masks_of(anatomy))
    with counting("phantom cases") as bar:
        write_phantom(
            out, cases, seed, size, labels, anatomy, progress=bar, jobs=jobs, spacing=spacing
        )
    held = len(open_dataset(out).cases)
    click.echo(f"{held} cases are in {out}", err=True)
    if anatomy is not None:
        click.echo("These are synthetic images on real masks; call them so.", err=True)


@command.command()
@click.argument("name", metavar="kits19|kits21|kits23")
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder for the dataset.")
@click.option("--cases", help="Which, such as 0-9 or 3,17,400-402 [default: all with masks].")
@click.option("--source", help="URL or folder of a copy of the dataset, instead of its home.")
@click.option("--images", help="URL or path of images alone, with {case} for the case id.")
@click.option("--masks", help="URL or path of masks alone, with {case} and {file}.")
@click.option(
    "--jobs", type=click.IntRange(1, 16), default=4, show_default=True, help="Cases at once."
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=5,
    show_default=True,
    help="Failures in a row that a file may have.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
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
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    for finding in result.findings:
        click.echo(f"error: {finding}", err=True)
    click.echo(
        f"{name}: {found['n_complete']} of {found['n_cases']} cases are whole in {result.root}; "
        f"{found['n_fetched']} files fetched ({result.received / 1e6:,.1f} MB), "
        f"{found['n_kept']} were there. {LICENCE}.",
        err=True,
    )
    context.exit(2 if result.findings else 0)


@command.command()
@click.argument("dataset", type=FOLDER)
@layout_option
@click.option("--strict", is_flag=True, help="Count warnings as errors.")
@click.option(
    "-o", "--out", type=FOLDER, help="Also write the findings to this CSV file, one a row."
)
@jobs_option
@json_option
@click.pass_context
def verify(
    context: click.Context,
    dataset: Path,
    layout: str | None,
    strict: bool,
    out: Path | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Read every case of DATASET and list what is wrong with it. Nothing is changed.

    One finding a line: the case, what was found, the file, the rule, and what to do. The exit code
    is 2 if a case cannot be used (with --strict: if there is anything to remark).
    """
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.inspection.verify import verify as run
    from kitsbench.files import write_table
    from kitsbench.scans.findings import FIELDS

    with counting("cases read") as bar:
        result = run(open_dataset(dataset, layout, allow_empty=True), jobs, bar)
    found = result.to_dict()
    if out is not None:
        try:
            write_table(out, found["findings"], FIELDS)
        except OSError as error:
            raise UsageError(
                f"{out} cannot be written: {error.strerror or error}. Name another file."
            ) from error
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for finding in result.findings:
            click.echo(f"{finding.severity}: {finding}")
        click.echo(
            f"{found['dataset']} ({found['layout']}): {found['n_usable']} of {found['n_cases']} "
            f"cases can be used, {found['n_errors']} errors, {found['n_warnings']} warnings."
        )
    context.exit(2 if result.errors or (strict and result.findings) else 0)


@command.command()
@click.argument("dataset", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder for prepared datasets.")
@click.option(
    "--spacing",
    callback=_triple,
    help="mm (z,y,x), such as 4.5 or 3,0.78,0.78 [default: the dataset's median].",
)
@layout_option
@click.option("--strict", is_flag=True, help="Stop if a case cannot be used.")
@jobs_option
@json_option
def prepare(
    dataset: Path,
    out: Path,
    spacing: tuple[float, float, float] | None,
    layout: str | None,
    strict: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Turn and resample every case of DATASET into OUT, ready for training.

    A run that was stopped is continued. Cases that cannot be used are left out and listed.
    """
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.inspection.describe import describe_store
    from kitsbench.data.preparation.prepare import prepare as run

    opened = open_dataset(dataset, layout)
    with counting("cases prepared") as bar:
        store = run(opened, spacing or opened.median_spacing(), out, jobs, bar, strict)
    if as_json:
        click.echo(json.dumps(describe_store(store), indent=2, ensure_ascii=False))
    for case, reason in store.excluded.items():
        click.echo(f"left out {case}: {reason}", err=True)
    size = " x ".join(f"{s:g}" for s in store.spacing)
    click.echo(f"{len(store.cases)} cases at {size} mm are in {store.folder}", err=True)


@command.command()
@click.argument("folder", type=FOLDER)
@layout_option
@click.option(
    "-o",
    "--out",
    type=FOLDER,
    help="Folder for figures (PNG, and a page that shows them) and a table of cases.",
)
@click.option("--hu", is_flag=True, help="Read the images too, for the HU of every label.")
@jobs_option
@json_option
def info(
    folder: Path, layout: str | None, out: Path | None, hu: bool, jobs: int, as_json: bool
) -> None:
    """Describe the dataset or the prepared store in FOLDER.

    Spacings, sizes and label volumes take the headers and the masks. With -o they are drawn beside
    those of the public KiTS data, HU included.
    """
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.inspection.describe import describe_store, measure
    from kitsbench.data.preparation.store import MANIFEST, PreparedStore

    if (folder / MANIFEST).is_file():
        if out is not None or hu:
            raise UsageError(
                "-o and --hu describe a dataset; this is a prepared store. Name the dataset itself."
            )
        found = describe_store(PreparedStore.open(folder))
    else:
        with counting("cases read") as bar:
            opened = open_dataset(folder, layout, masks_only=True)
            figures = measure(opened, hu or out is not None, jobs, bar)
        found = figures.to_dict()
        if out is not None:
            from kitsbench.data.inspection.figures import write_figures

            page = write_figures(figures, out)
            click.echo(f"Figures are in {page}.", err=True)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _print(found)


def _print(value: dict[str, Any], indent: str = "") -> None:
    """Print nested plain data, one line a value."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            click.echo(f"{indent}{key}:")
            _print(item, indent + "  ")
        elif item not in ("", {}, []):
            text = ", ".join(map(str, item)) if isinstance(item, list) else item
            click.echo(f"{indent}{key}: {text}")
