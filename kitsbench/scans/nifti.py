"""Reading NIfTI files with suspicion: the one reader of images, masks, truths and predictions.

Voxels are streamed: the peak memory of reading is the volume in its final type plus a few MB,
whatever the type on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kitsbench.scans.findings import Finding
from kitsbench.scans.geometry import Axes
from kitsbench.scans.header import Header, refuse
from kitsbench.scans.header_checks import interpret
from kitsbench.scans.intensities import allocate, hounsfield, scaled
from kitsbench.scans.label_names import LabelNames, names_of
from kitsbench.scans.labels import HIGHEST, foreign_labels, round_labels
from kitsbench.scans.streams import check_size, open_stream, reading, stored_planes

FOREIGN_LABEL = "the mask holds label "
"""How the finding begins that a mask holds labels which its dataset does not have."""


def read_header(path: Path, case: str = "") -> Header:
    """Read and check the header of a NIfTI file.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``.
    case : str
        Case id for messages.

    Raises
    ------
    Refused
        The file is missing, damaged, no NIfTI, or has no usable geometry.
    """
    path = Path(path)
    with reading(path, case):
        there, size = path.is_file(), path.stat().st_size if path.is_file() else 0
    if not there:
        raise refuse(path, case, "no such file", "A scan is a file.", "Check the path.")
    if size == 0:
        raise refuse(
            path, case, "the file is empty", "A NIfTI file has a header.", "Download it again."
        )
    with open_stream(path, case) as file:
        block = file.read(540)
    header = interpret(path, case, block)
    check_size(header)
    return header


def check_file(path: Path, case: str = "") -> Header:
    """Check the header of a file and read it to its end, where gzip's checksum is.

    Raises
    ------
    Refused
        The header is no good, or the voxels are cut off or corrupt.
    """
    header = read_header(path, case)
    for _ in stored_planes(header):
        pass
    return header


def read_image(header: Header) -> tuple[np.ndarray, list[Finding]]:
    """Read a scan.

    Returns
    -------
    image : ndarray of int16 (z, y, x)
        HU, rounded, held within -1024 to 3071.
    findings : list of Finding
        Warnings about the intensities.

    Raises
    ------
    Refused
        The file is damaged, holds NaN or infinite voxels, or is constant.
    """
    image, findings = hounsfield(header, stored_planes(header))
    return header.axes.to_zyx(image), findings


def read_label(
    header: Header,
    allowed: LabelNames | Mapping[str, int] | None = None,
    axes: Axes | None = None,
) -> np.ndarray:
    """Read a label map.

    Parameters
    ----------
    header : Header
        Of the file.
    allowed : LabelNames, or mapping of str to int, optional
        Labels that the file may hold besides 0; others are refused. Where the dataset numbers them
        in another way than is done here, its values are exchanged.
    axes : Axes, optional
        How its axes on disk become (z, y, x); by default as its own affine says. Whoever lays two
        files on each other turns both by one of them, see
        :func:`~kitsbench.scans.grids.axes_onto`.

    Returns
    -------
    ndarray of uint8 (z, y, x)
        A view of the axes on disk, with the first one fastest in memory.

    Raises
    ------
    Refused
        The file is damaged, or a value is no label (see :mod:`kitsbench.scans.labels`) or not
        among the allowed ones.
    """
    label = allocate(header, np.uint8)
    for where, stored in stored_planes(header):
        odd = round_labels(scaled(header, stored), label[:, :, where])
        if odd is not None:
            raise refuse(
                header.path,
                header.case,
                f"the mask holds the value {odd:.7g}",
                f"Its labels are whole numbers from 0 to {HIGHEST}.",
                "A mask must be resampled with nearest neighbour and saved as integers"
                + (f", not scaled (here by {header.slope:g})." if header.scaled else "."),
            )
    if allowed is not None:
        names = names_of(allowed)
        foreign = foreign_labels(label, names.known)
        if foreign:
            raise refuse(
                header.path,
                header.case,
                FOREIGN_LABEL + ", ".join(map(str, foreign)),
                f"This dataset's labels are 0, {names.told()}.",
                "Name the layout the masks belong to, or map the labels.",
            )
        names.read(label)
    return (axes or header.axes).to_zyx(label)
