"""``kitsbench data verify``, ``prepare`` and ``info``: datasets read, made ready and described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kitsbench.cli.options import (
    jobs_option,
    json_option,
    layout_option,
    out_option,
    spacing_option,
    strict_option,
)
from kitsbench.cli.output import print_json, say, tell
from kitsbench.cli.values import PATH
from kitsbench.errors import UsageError


@click.command()
@click.argument("dataset", type=PATH)
@layout_option
@strict_option("Count warnings as errors.")
@out_option("Also write the findings to this CSV file, one a row.")
@jobs_option()
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
    from kitsbench.cli.progress import counting
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
        print_json(found)
    else:
        for finding in result.findings:
            say(f"{finding.severity}: {finding}")
        say(
            f"{found['dataset']} ({found['layout']}): {found['n_usable']} of {found['n_cases']} "
            f"cases can be used, {found['n_errors']} errors, {found['n_warnings']} warnings."
        )
    context.exit(2 if result.errors or (strict and result.findings) else 0)


@click.command()
@click.argument("dataset", type=PATH)
@out_option("Folder for prepared datasets.", required=True)
@spacing_option(default="the dataset's median")
@layout_option
@strict_option("Stop if a case cannot be used.")
@jobs_option()
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
    from kitsbench.cli.progress import counting
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.inspection.describe import describe_store
    from kitsbench.data.preparation.prepare import prepare as run

    opened = open_dataset(dataset, layout)
    with counting("cases prepared") as bar:
        store = run(opened, spacing or opened.voxels().median(), out, jobs, bar, strict)
    if as_json:
        print_json(describe_store(store))
    for case, reason in store.excluded.items():
        tell(reason, f"left out {case}")
    size = " x ".join(f"{s:g}" for s in store.spacing)
    tell(f"{len(store.cases)} cases at {size} mm are in {store.folder}")


@click.command()
@click.argument("folder", type=PATH)
@layout_option
@out_option("Folder for figures (PNG, and a page that shows them) and a table of cases.")
@click.option("--hu", is_flag=True, help="Read the images too, for the HU of every label.")
@jobs_option()
@json_option
def info(
    folder: Path, layout: str | None, out: Path | None, hu: bool, jobs: int, as_json: bool
) -> None:
    """Describe the dataset or the prepared store in FOLDER.

    Spacings, sizes and label volumes take the headers and the masks. With -o they are drawn beside
    those of the public KiTS data, HU included.
    """
    from kitsbench.cli.progress import counting
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
            tell(f"Figures are in {page}.")
    if as_json:
        print_json(found)
        return
    _print(found)


def _print(value: dict[str, Any], indent: str = "") -> None:
    """Print nested plain data, one line a value."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            say(f"{indent}{key}:")
            _print(item, indent + "  ")
        elif item not in ("", {}, []):
            text = ", ".join(map(str, item)) if isinstance(item, list) else item
            say(f"{indent}{key}: {text}")
