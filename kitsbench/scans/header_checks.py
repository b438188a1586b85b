"""What the bytes of a NIfTI header mean, and whether they make sense.

Where a header is odd, it means what nibabel takes it to mean, so that every tool of that family
sees the same voxels in the same place:

* The affine is chosen as :mod:`kitsbench.scans.header_affine` says.
* A slope of 0 or NaN means that the numbers are not scaled.
* The voxels begin at ``vox_offset``; ``bitpix`` and the units are not looked at.
* Axes of length one after the third are dropped.

What matters for the voxels or their place is told as a warning. A file is refused where nibabel has
no answer (an unknown data type, voxels inside the header, no intercept), and where its answer is
none that can be measured with (no grid, an infinite slope). In one point nibabel is not followed:
an offset of 0 stands for the end of the header, whose bytes nibabel would take for voxels.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.scans.findings import Finding
from kitsbench.scans.geometry import is_sheared, spacing_of
from kitsbench.scans.header import Header, refuse
from kitsbench.scans.header_affine import choose_affine

METRE, MICRON = 1, 3
_SILENT = logging.getLogger(f"{__name__}.nibabel")  # what nibabel repairs is told as a warning
_SILENT.disabled = True
_CONVERT = "Convert it, for DICOM for example with dcm2niix."
# Where and how files begin that are taken for NIfTI, in small letters.
FOREIGN = (
    (0, b"version https://git-lfs", "it is a pointer of Git LFS", "Run `git lfs pull` there."),
    (0, b"<!doctype html", "it is a web page", "Download the file itself, not the page about it."),
    (0, b"<html", "it is a web page", "Download the file itself, not the page about it."),
    (128, b"dicm", "it is a DICOM file", _CONVERT),
    (0, b"nrrd", "it is an NRRD file", _CONVERT),
    (0, b"objecttype", "it is a MetaImage file", _CONVERT),
    (0, b"pk\x03\x04", "it is a ZIP archive", "Unpack it."),
    (0, b"\x1f\x8b", "it is packed twice", "Unpack it once with gunzip."),
)


def interpret(path: Path, case: str, block: bytes) -> Header:
    """Turn the first 540 bytes of a file into a :class:`~kitsbench.scans.header.Header`.

    Raises
    ------
    Refused
        The bytes are no NIfTI header, or the image they describe cannot be used.
    """
    raw = _parse(path, case, block)
    repaired = raw.copy()
    findings: list[Finding] = []

    def warn(what: str, rule: str, remedy: str) -> None:
        findings.append(Finding(case, str(path), what, rule, remedy, "warning"))

    shape = _shape(path, case, raw, warn)
    dtype = _dtype(path, case, raw)
    offset = _offset(path, case, raw, warn)
    _repair(path, case, repaired)
    affine, codes = choose_affine(path, case, raw, repaired, warn)
    _check_spacing(raw, affine, warn)
    units = int(raw["xyzt_units"]) & 0x07
    if units in (METRE, MICRON):
        warn(
            f"the header gives lengths in {'metres' if units == METRE else 'micrometres'}",
            "kitsbench takes the affine as mm.",
            "Check the voxel size; write the header again if it is wrong.",
        )
    slope, intercept = _scaling(path, case, raw)
    return Header(
        path=path,
        case=case,
        shape=shape,
        affine=affine,
        dtype=dtype,
        slope=slope,
        intercept=intercept,
        offset=offset,
        codes=codes,
        units=int(raw["xyzt_units"]),
        findings=findings,
    )


def _parse(path: Path, case: str, block: bytes) -> Any:
    import nibabel

    problem = "it does not start like one"
    kinds: tuple[tuple[type[nibabel.Nifti1Header], int, bytes], ...] = (
        (nibabel.Nifti1Header, 348, b"n+1\0"),
        (nibabel.Nifti2Header, 540, b"n+2\0"),
    )
    for kind, size, magic in kinds:
        if len(block) < size:
            problem = f"only {len(block)} bytes"
            continue
        start = 344 if size == 348 else 4
        if block[start : start + 4] == magic:
            # check=False: nibabel would silently repair what is to be reported here.
            return kind(block[:size], check=False)
        if block[344:348] == b"ni1\0":
            problem = "it is the header of a .hdr/.img pair"
    remedy = _CONVERT
    for start, mark, what, advice in FOREIGN:
        if block[start : start + len(mark)].lower() == mark:
            problem, remedy = what, advice
            break
    raise refuse(
        path,
        case,
        f"this is not a NIfTI file ({problem})",
        "Scans and masks are single-file NIfTI (.nii or .nii.gz).",
        remedy,
    )


def _repair(path: Path, case: str, header: Any) -> None:
    """Put a header right as nibabel does before it reads a file.

    Raises
    ------
    Refused
        Nibabel cannot.
    """
    import nibabel

    try:
        header.check_fix(logger=_SILENT, error_level=40)
    except nibabel.spatialimages.HeaderDataError as error:
        raise refuse(
            path,
            case,
            f"the header is damaged: {error}",
            "A header follows the definition of NIfTI.",
            "Write the file again, or copy it from its source.",
        ) from error


def _offset(path: Path, case: str, raw: Any, warn: Any) -> int:
    """First byte of the voxels; 0 stands for the end of the header."""
    first = int(raw.single_vox_offset)
    offset = float(raw["vox_offset"])
    if offset == 0:
        return first
    # Extensions between header and voxels are some kB; a real file has none of a GB.
    if not (np.isfinite(offset) and first <= offset < 1e9):
        raise refuse(
            path,
            case,
            f"the header says that the voxels begin at byte {offset:g}",
            f"They follow the header, which ends at byte {first}.",
            "Write the file again.",
        )
    if offset % 16:
        warn(
            f"the header says that the voxels begin at byte {offset:g}",
            "They begin at a multiple of 16 bytes.",
            "They are read from there; other programs may refuse the file.",
        )
    return int(offset)


def _shape(path: Path, case: str, raw: Any, warn: Any) -> tuple[int, int, int]:
    dims = [int(v) for v in raw["dim"]]
    count = dims[0]
    sizes = dims[1 : 1 + count] if 1 <= count <= 7 else []
    text = " x ".join(str(v) for v in sizes) or f"dim {dims}"
    if len(sizes) < 3 or min(sizes) < 1:
        raise refuse(
            path,
            case,
            f"the image is {text}",
            "A scan has three axes with at least one voxel each.",
            "Export the whole volume.",
        )
    if any(v > 1 for v in sizes[3:]):
        raise refuse(
            path,
            case,
            f"the image is {text}: {len(sizes)}-dimensional with more than one channel",
            "A scan has three axes; one phase, one channel.",
            "Save the phase that the mask belongs to as its own file.",
        )
    if len(sizes) > 3:
        warn(
            f"the image is {text}",
            "A scan has three axes.",
            "The axes of length one at the end are dropped.",
        )
    return sizes[0], sizes[1], sizes[2]


def _dtype(path: Path, case: str, raw: Any) -> np.dtype:
    import nibabel

    try:
        dtype = raw.get_data_dtype()
    except (nibabel.spatialimages.HeaderDataError, KeyError) as error:
        raise refuse(
            path,
            case,
            f"unknown datatype code {int(raw['datatype'])}",
            "Voxels are integers or floating-point numbers.",
            "Convert the file.",
        ) from error
    if dtype.fields or dtype.kind not in "iuf":
        kind = "colours (RGB)" if dtype.fields else f"of type {dtype}"
        raise refuse(
            path,
            case,
            f"the voxels are {kind}",
            "Voxels are integers or floating-point numbers in HU.",
            "Convert from the original scan, not from a picture of it.",
        )
    return dtype.newbyteorder(raw.endianness)


def _check_spacing(raw: Any, affine: np.ndarray, warn: Any) -> None:
    spacing = np.array(spacing_of(affine))
    stored = np.asarray(raw["pixdim"], dtype=np.float64)[1:4]
    with np.errstate(all="ignore"):
        agree = np.abs(stored - spacing) <= 1e-3 * spacing
    if not agree.all():
        given = " x ".join(f"{v:g}" for v in stored)
        true = " x ".join(f"{v:g}" for v in spacing)
        warn(
            f"the header's spacing is {given} mm, the affine's {true} mm",
            "Both say the same.",
            "The affine is used; check a length you know.",
        )
    if is_sheared(affine):
        warn(
            "the grid is sheared: its axes are not perpendicular (a tilted gantry)",
            "Distances need voxels that are boxes.",
            "Surface Dice and distances stay undefined for this case; all else is scored.",
        )
    if (spacing < 0.1).any() or (spacing > 20).any():
        true = " x ".join(f"{v:g}" for v in spacing)
        warn(
            f"the spacing is {true} mm",
            "CT of the abdomen has 0.3 to 10 mm.",
            "Check the units of the header.",
        )


def _scaling(path: Path, case: str, raw: Any) -> tuple[float, float]:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    # NIfTI-1: a slope of 0 means that the numbers are not scaled; nibabel writes NaN for it.
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise refuse(
            path,
            case,
            f"the scaling is {slope:g} x + {intercept:g}",
            "scl_slope and scl_inter are finite.",
            "Write the file again.",
        )
    return slope, intercept
