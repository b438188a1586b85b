"""Label maps of scans that lie in files of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kitsbench.data.preparation.store import PreparedCase
from kitsbench.data.preparation.volumes import PLAIN, How, Loaded, load_case
from kitsbench.errors import DataError, UsageError
from kitsbench.inference.case import Predicted, Trained, label_map, predict
from kitsbench.inference.pipeline import one_by_one
from kitsbench.scans.findings import Finding
from kitsbench.scans.formats import stem_of
from kitsbench.scans.label_names import LabelNames, name_labels
from kitsbench.scans.names import TRUTHS, case_of_scan, folded, nifti_stem
from kitsbench.scans.writing import write_label

Files = tuple[Path, Path]
Spacing = tuple[float, float, float]
Volumes = dict[str, PreparedCase]
# Adds the channels of a scan to the volumes of one of the networks, by its place among them.
Complete = Callable[[Path, int, Volumes], Volumes]
Result = TypeVar("Result")


@dataclass(frozen=True)
class ScanFile:
    """A scan as each network wants it, and what was noticed on the way."""

    volumes: Sequence[Volumes]
    native: dict[str, Any]
    findings: list[Finding]


def segment_files(
    trained: Trained,
    spacings: Sequence[Mapping[str, Spacing]],
    names: LabelNames,
    files: Sequence[Files],
    overlap: bool,
    complete: Complete = lambda image, place, volumes: volumes,
    hows: Sequence[How] = (),
) -> Generator[list[Finding] | DataError]:
    """Segment scans and write label maps with their shape, affine and orientation.

    Parameters
    ----------
    trained : Trained
    spacings : sequence of mapping
        For each predictor {grid: spacing in mm}.
    names : LabelNames
        The values that labels get in the files.
    files : sequence of (Path, Path)
        Each scan and its label map.
    overlap : bool
        As of :func:`~kitsbench.inference.pipeline.one_by_one`.
    complete : callable
        Adds to the volumes of a network what its grids show beside the CT.
    hows : sequence of How
        For each predictor how its scans are prepared; plainly by default, as the spec of its
        decider says.

    Yields
    ------
    list of Finding, or DataError
        For each scan what is remarkable about it, or why it has no label map.
    """
    hows = hows or [How(spec.fit) for _, spec in trained.deciders]

    def load(pair: Files) -> ScanFile | DataError:
        return _unless_refused(lambda: load_scan(pair[0], spacings, complete, hows))

    def compute(pair: Files, scan: ScanFile | DataError) -> tuple[ScanFile, Predicted] | DataError:
        if isinstance(scan, DataError):
            return scan
        # Its volumes are not needed any more, and those of two other scans are in memory.
        rest = replace(scan, volumes=())
        return _unless_refused(lambda: (rest, predict(trained, scan.volumes)))

    def finish(
        pair: Files, found: tuple[ScanFile, Predicted] | DataError
    ) -> list[Finding] | DataError:
        if isinstance(found, DataError):
            return found
        return _unless_refused(lambda: write(pair[1], *found))

    def write(output: Path, scan: ScanFile, predicted: Predicted) -> list[Finding]:
        write_label(output, names.write(label_map(trained, predicted)), scan.native)
        name_labels(output.parent, names)
        return scan.findings

    return one_by_one(files, load, compute, finish, overlap)


def load_scan(
    image: Path,
    spacings: Sequence[Mapping[str, Spacing]],
    complete: Complete = lambda image, place, volumes: volumes,
    hows: Sequence[How] = (),
) -> ScanFile:
    """Read a scan and prepare it at every spacing that is asked for.

    Raises
    ------
    DataError
        The scan cannot be read or is no CT volume.
    """
    made: dict[tuple[Spacing, How], Loaded] = {}
    volumes = []
    for place, grids in enumerate(spacings):
        how = hows[place] if hows else PLAIN
        for spacing in grids.values():
            if (spacing, how) not in made:
                made[spacing, how] = load_case(stem_of(image), image, None, spacing, how=how)
        own = {name: made[spacing, how].case for name, spacing in grids.items()}
        volumes.append(complete(image, place, own))
    first = next(iter(made.values()))
    return ScanFile(volumes, first.case.native, first.findings)


def _unless_refused(work: Callable[[], Result]) -> Result | DataError:
    """What is wrong with one scan is no reason to leave out the others."""
    try:
        return work()
    except DataError as error:
        return error


def output_name(image: Path) -> str:
    """File name of an image's label map: its case, as NIfTI, so that `evaluate` finds its truth.

    An image that is called as scans are in the folder of one case has that folder's name; nnU-Net's
    ``_0000`` is left out.
    """
    folder = Path(os.path.abspath(image)).parent  # by its name, also where it is "." or a link
    return f"{case_of_scan(stem_of(image), folder, _of_one_case(folder))}.nii.gz"


def _of_one_case(folder: Path) -> bool:
    """Whether a folder holds a label map that is called as in the folder of one case."""
    try:
        stems = [nifti_stem(name) for name in os.listdir(folder)]
    except OSError:  # whoever reads the scan reports it
        return False
    known = set(map(folded, TRUTHS))
    return any(stem is not None and folded(stem) in known for stem in stems)


def output_names(images: Sequence[Path]) -> list[str]:
    """File name of every image's label map; see :func:`output_name`.

    Raises
    ------
    UsageError
        Two label maps would be one file, if only where capitals do not count.
    """
    names = [output_name(image) for image in images]
    seen: dict[str, Path] = {}
    for image, name in zip(images, names, strict=True):
        other = seen.setdefault(folded(name), image)
        if other is not image:
            raise UsageError(
                f"The label maps of {other} and {image} would be one file, {name}. Predict them "
                "into different folders, or give each scan the name of its case."
            )
    return names
