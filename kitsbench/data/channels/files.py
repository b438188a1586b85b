"""Channels of a scan that lies in a file of its own, beside those of its other channels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kitsbench.data.channels.derived import Derive, wanted_on, with_channels
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.data.preparation.volumes import How, load_case
from kitsbench.errors import DataError
from kitsbench.scans.formats import stem_of
from kitsbench.scans.names import CHANNEL, NIFTI
from kitsbench.spec import Spec

Spacing = tuple[float, float, float]


def channel_file(image: Path, name: str, number: int) -> Path:
    """The image of another channel of a scan, which lies beside it under its number.

    Raises
    ------
    DataError
        There is none.
    """
    if number == 0:
        return image
    stem = stem_of(image)
    if not stem.endswith(CHANNEL):
        raise DataError(
            f"{image}: the network sees the channel '{name}' as well, and nothing tells which file "
            f"that is. Call the scan CASE{CHANNEL}.nii.gz, with CASE_{number:04d}.nii.gz beside it."
        )
    beside = f"{stem.removesuffix(CHANNEL)}_{number:04d}"
    for suffix in NIFTI:
        file = image.with_name(beside + suffix)
        if file.is_file():
            return file
    raise DataError(
        f"{image}: the network sees the channel '{name}' as well, and {beside}.nii.gz is not "
        "there. Put it beside the scan."
    )


def without_channels(images: Sequence[Path], numbers: Collection[int]) -> tuple[Path, ...]:
    """Scans among some images: those that are a further channel of another are left out."""
    given = set(images)
    scans = []
    for image in images:
        stem = stem_of(image)
        ends = [f"_{number:04d}" for number in numbers if number]
        first = {
            image.with_name(stem.removesuffix(end) + CHANNEL + suffix)
            for end in ends
            if stem.endswith(end)
            for suffix in NIFTI
        }
        if not first & given:
            scans.append(image)
    return tuple(scans)


def complete_scan(
    image: Path,
    volumes: Mapping[str, PreparedCase],
    spacings: Mapping[str, Spacing],
    spec: Spec,
    numbers: Mapping[str, Mapping[str, int]],
    derive: Derive,
    how: How,
) -> dict[str, PreparedCase]:
    """The volumes of a scan with all channels of their grids.

    Parameters
    ----------
    image : Path
        The scan.
    volumes, spacings : mapping
        {grid: the scan at its spacing}, {grid: spacing in mm}.
    spec : Spec
    numbers : mapping
        {grid: {further image: its number}}.
    derive : callable
        The plugin's hook, given name and scan.
    how : How
        As the volumes were prepared.

    Raises
    ------
    DataError
        A further image is missing, cannot be read, or lies elsewhere.
    ContractError
        The hook gave what is no channel.
    """
    found = dict(volumes)
    for grid in spec.grids:
        wanted = wanted_on(grid, spec)
        if not wanted.anything:
            continue
        case = volumes[grid.name]
        others = {
            name: load_case(
                case.id,
                channel_file(image, name, numbers.get(grid.name, {}).get(name, 0)),
                None,
                spacings[grid.name],
                how=how,
                ct=image,
            ).case
            for name in wanted.images
        }
        found[grid.name] = with_channels(case, wanted, others, derive)
    return found
