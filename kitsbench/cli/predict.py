"""``kitsbench predict``: segment scans with a trained architecture."""

from __future__ import annotations

from pathlib import Path

import click

from kitsbench.errors import DataError, UsageError


@click.command("predict")
@click.argument("trial", metavar="TRIAL|ARCH")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the label maps.",
)
@click.option(
    "--workdir",
    type=click.Path(path_type=Path),
    default=Path("kitsbench-work"),
    show_default=True,
    help="Where TRIAL is looked for when it is no folder.",
)
@click.option(
    "--folds",
    default="all",
    show_default=True,
    help="Which folds' networks are averaged when TRIAL is an architecture: all, or such as 0,2.",
)
@click.option(
    "--tta",
    type=click.Choice(["none", "mirror"]),
    help="Test-time augmentation; by default what the recipe says.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option("--overwrite", is_flag=True, help="Replace label maps that are there already.")
def command(
    trial: str,
    images: tuple[Path, ...],
    output: Path,
    workdir: Path,
    folds: str,
    tta: str | None,
    device: str,
    overwrite: bool,
) -> int:
    """Segment IMAGES with trained weights.

    TRIAL is an id (or its first letters) from a working directory, or a trial's folder. Or name an
    architecture as the tables of the last run do: then the probabilities of all its trained
    networks, over folds and seeds, are averaged.

    An image is a NIfTI, NRRD or MetaImage file, any other that torchio reads, or a folder with the
    slices of one DICOM series. Its label map is NIfTI, with the shape, affine and orientation of
    the image, and the image's name.
    """
    from kitsbench.cli.progress import CountBar, console
    from kitsbench.experiments.asked.request import parse_folds
    from kitsbench.experiments.machines.environment import choose_device
    from kitsbench.experiments.predict import (
        find_trials,
        open_trials,
        output_name,
        predict_scan,
        record_training,
        training_case,
    )

    wanted = parse_folds(folds)
    chosen = find_trials(trial, workdir, None if wanted == "all" else wanted)
    names = [output_name(image) for image in images]
    if len(set(names)) < len(names):
        raise UsageError("Two images have the same name; predict them into different folders.")
    there = [name for name in names if (output / name).exists()]
    if there and not overwrite:
        raise UsageError(
            f"{output / there[0]} exists already; choose another folder, or --overwrite."
        )
    trained = open_trials(chosen.folders, choose_device(device), tta)
    if len(chosen.folders) > 1:
        console.print(f"Mean of {len(chosen.folders)} trained networks of {trial}.")
    if chosen.unfinished:
        console.print(f"{chosen.unfinished} trials of {trial} did not finish and are left out.")
    failed = 0
    with CountBar() as count:
        for index, (image, name) in enumerate(zip(images, names, strict=True)):
            count("scans", index, len(images))
            seen = training_case(trained, image, chosen.folders[0].parent.parent)
            if seen:
                console.print(f"[yellow]Warning[/yellow]: {seen.sentence}", highlight=False)
            try:
                for finding in predict_scan(trained, image, output / name):
                    console.print(f"[yellow]Warning[/yellow]: {finding}", highlight=False)
                record_training(trained, output / name, seen)
            except DataError as error:
                failed += 1
                console.print(f"[red]{image} was left out[/red]: {error}", highlight=False)
        count("scans", len(images), len(images))
    console.print(f"{len(images) - failed} of {len(images)} label maps are in {output}.")
    return 2 if failed else 0
