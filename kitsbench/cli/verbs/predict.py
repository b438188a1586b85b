"""``kitsbench predict``: segment scans with a trained architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from kitsbench.cli.completion import architectures_or_trials
from kitsbench.cli.options import (
    device_option,
    experiment_option,
    folds_option,
    out_option,
    plugin_option,
    tta_option,
    workdir_option,
)
from kitsbench.cli.output import tell
from kitsbench.cli.values import PATH
from kitsbench.errors import DataError, UsageError
from kitsbench.scans.names import is_hidden


@click.command("predict")
@click.argument("trial", metavar="TRIAL|ARCH", shell_complete=architectures_or_trials)
@click.argument("images", nargs=-1, required=True, type=PATH)
@out_option("Folder for the label maps.", required=True)
@workdir_option("Where TRIAL is looked for when it is no folder.")
@experiment_option
@folds_option(
    "Which folds' networks are averaged when TRIAL is an architecture: all, or such as 0,2.",
    default="all",
)
@plugin_option
@click.option(
    "--file",
    "weights",
    multiple=True,
    metavar="KEY=PATH",
    help="A file that a system which was trained elsewhere reads, such as its weights.",
)
@tta_option("Test-time augmentation; by default what the recipe says.")
@device_option()
@click.option("--overwrite", is_flag=True, help="Replace label maps that are there already.")
def command(
    trial: str,
    images: tuple[Path, ...],
    out: Path,
    workdir: Path,
    experiment: str | None,
    folds: tuple[int, ...] | Literal["all"],
    plugins: tuple[Path, ...],
    weights: tuple[str, ...],
    tta: str | None,
    device: str,
    overwrite: bool,
) -> int:
    """Segment IMAGES with trained weights.

    TRIAL is an id (or its first letters) from a working directory, or a trial's folder. Or name an
    architecture as the tables of an experiment do, by default of the one that was run last: then
    the probabilities of all its trained networks there, over folds and seeds, are averaged. What
    was trained with a plugin's file wants that file (--plugin): none that a trial's folder names
    is run.

    An image is a NIfTI, NRRD or MetaImage file, any other that torchio reads, or a folder with the
    slices of one DICOM series. Its label map is NIfTI, with the shape, affine and orientation of
    the image. It has the image's name without nnU-Net's _0000, and imaging.nii.gz that of its
    folder, so that `kitsbench evaluate` finds its truth. Labels have the values of the masks that
    were trained on; dataset.json beside the label maps names them for `kitsbench evaluate`.
    """
    from kitsbench.cli.progress import counting
    from kitsbench.devices.choose import choose_device
    from kitsbench.experiments.predict import (
        find_trials,
        open_trials,
        predict_scans,
        record_training,
        training_case,
    )
    from kitsbench.inference.files import output_names
    from kitsbench.isolation import prints_on_stderr
    from kitsbench.scans.label_names import check_named

    chosen = find_trials(trial, workdir, None if folds == "all" else folds, experiment)
    images = _without_hidden(images)
    names = output_names(images)
    there = [name for name in names if (out / name).exists()]
    if there and not overwrite:
        raise UsageError(f"{out / there[0]} exists already; choose another folder, or --overwrite.")
    trained = open_trials(chosen.folders, choose_device(device), tta, plugins, _files(weights))
    for remark in trained.remarks:
        tell(remark, "Warning", "yellow")
    images = trained.channels.scans(images)
    names = output_names(images)
    check_named(out, trained.names)
    if chosen.experiment is not None:
        number = len(chosen.folders)
        of = "The trained network" if number == 1 else f"Mean of {number} trained networks"
        tell(f"{of} of {trial} in experiment {chosen.experiment}.")
    if chosen.unfinished:
        tell(f"{chosen.unfinished} trials of {trial} did not finish and are left out.")
    failed = 0
    with counting("scans") as bar, prints_on_stderr():
        done = predict_scans(trained, images, [out / name for name in names])
        for index, (image, name) in enumerate(zip(images, names, strict=True)):
            bar(index, len(images))
            seen = training_case(trained, image, chosen.folders[0].parent.parent)
            if seen:
                tell(seen.sentence, "Warning", "yellow")
            try:
                found = next(done)
                if isinstance(found, DataError):
                    raise found
                for finding in found:
                    tell(finding, "Warning", "yellow")
                record_training(trained, out / name, seen)
            except DataError as error:
                failed += 1
                tell(error, f"{image} was left out", "red")
        bar(len(images), len(images))
    tell(f"{len(images) - failed} of {len(images)} label maps are in {out}.")
    return 2 if failed else 0


def _files(given: tuple[str, ...]) -> dict[str, Path]:
    found = {}
    for text in given:
        key, sign, path = text.partition("=")
        if not (key and sign and path):
            raise UsageError(f"'{text}' names no file of a system: write --file KEY=PATH.")
        if key in found:
            raise UsageError(f"--file gives '{key}' twice: give each key one file.")
        found[key] = Path(path)
    return found


def _without_hidden(images: tuple[Path, ...]) -> tuple[Path, ...]:
    """Leave out what a pattern such as DIR/.* brings along: macOS puts ._x beside every x."""
    shown = tuple(image for image in images if not is_hidden(image.name))
    hidden = len(images) - len(shown)
    if hidden and not shown:
        raise UsageError(f"{images[0]} is a hidden file, no scan. Name the scans themselves.")
    if hidden:
        tell(f"{hidden} hidden files, such as ._NAME, are no scans and are left out.", "Note")
    return shown
