"""From stored numbers to Hounsfield units, and what is odd about them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from kitsbench.scans.findings import Finding
from kitsbench.scans.header import Header, refuse
from kitsbench.scans.wrapping import Span, spans, wrapped

HU_RANGE = (-1024, 3071)
LARGEST = float(np.finfo(np.float32).max)  # beyond it, a scaling is broken and a value infinite


def hounsfield(
    header: Header, planes: Iterable[tuple[slice, np.ndarray]]
) -> tuple[np.ndarray, list[Finding]]:
    """Turn stored numbers into HU.

    Parameters
    ----------
    header : Header
        Of the file.
    planes : iterable of (slice, ndarray)
        Stored numbers, for slices of the last axis on disk.

    Returns
    -------
    image : ndarray of int16
        Axes as on disk.
    findings : list of Finding
        Warnings about the intensities.

    Raises
    ------
    Refused
        There are NaN or infinite voxels, all are the same, or negative ones were wrapped round.
    """
    image = allocate(header, np.int16)
    found: list[Span] = []
    for where, stored in planes:
        values = scaled(header, stored)
        if values.dtype.kind == "f":
            bad = int(np.count_nonzero(~(np.abs(values) <= LARGEST)))  # true for NaN
            if bad:
                raise refuse(
                    header.path,
                    header.case,
                    f"{bad} voxels are NaN or infinite in slices {where.start}-{where.stop - 1}",
                    "Every voxel is a finite number of HU.",
                    "Export the scan again; kitsbench does not guess what belongs there.",
                )
        found += spans(values)
        values = np.clip(values, *HU_RANGE)
        image[:, :, where] = np.rint(values) if values.dtype.kind == "f" else values
    low, high = min(span[0] for span in found), max(span[1] for span in found)
    if low == high:
        raise refuse(
            header.path,
            header.case,
            f"every voxel is {low:g}",
            "A scan shows something.",
            "Export the scan again.",
        )
    turned = wrapped(found)
    if turned is not None:
        raise refuse(
            header.path,
            header.case,
            f"values reach from {turned[0]:g} to {turned[1]:g} and up to "
            f"{max(high for _, high in found if high < turned[0]):g}, with none between: negative "
            "HU were wrapped round at 65536",
            "CT is in HU: air is -1000, which needs signed numbers.",
            "Convert from the original scan as int16. Where only this file is left, numpy's "
            "astype(np.int16) on its stored numbers gives the HU back."
            if turned[1] > np.iinfo(np.int16).max
            else "Convert from the original scan as int16.",
        )
    return image, _intensity_findings(header, low, high)


def allocate(header: Header, dtype: type) -> np.ndarray:
    """Memory for the voxels of a file, axes as on disk.

    Raises
    ------
    Refused
        There is not enough of it.
    """
    try:
        return np.empty(header.shape, dtype=dtype, order="F")
    except MemoryError as error:
        size = math.prod(header.shape) * np.dtype(dtype).itemsize / 1e9
        raise refuse(
            header.path,
            header.case,
            f"there is no memory for {size:.3g} GB of voxels",
            "A case fits into memory.",
            "Use fewer jobs or a machine with more memory; check the header if it is wrong.",
        ) from error


def scaled(header: Header, stored: np.ndarray) -> np.ndarray:
    """Values of stored numbers: themselves, or scaled in double precision as nibabel does it."""
    if not header.scaled:
        return stored
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are reported by the caller
        return stored.astype(np.float64) * header.slope + header.intercept


def _intensity_findings(header: Header, low: float, high: float) -> list[Finding]:
    def warn(what: str, rule: str, remedy: str) -> Finding:
        return Finding(header.case, str(header.path), what, rule, remedy, "warning")

    if low >= 0 and high <= 255:
        return [
            warn(
                f"values reach from {low:g} to {high:g}, like an 8-bit picture",
                "CT is in HU: air -1000, water 0.",
                "Convert from the original scan; a windowed picture has lost its HU.",
            )
        ]
    if low >= 0:
        return [
            warn(
                f"no value is below 0 (highest {high:g})",
                "CT is in HU: air is -1000.",
                "An offset of 1024 was probably left out; set scl_inter to -1024.",
            )
        ]
    if low < -3100 or high > 4100:
        return [
            warn(
                f"values reach from {low:g} to {high:g}",
                f"HU lie within {HU_RANGE[0]} to {HU_RANGE[1]}.",
                "They are cut to that range; check the scaling if tissue looks wrong.",
            )
        ]
    return []
