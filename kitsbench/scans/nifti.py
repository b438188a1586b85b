"""Reading NIfTI files with suspicion.

Voxels are streamed: the peak memory of reading is the volume in its final type plus a few MB,
whatever the type on disk.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from kitsbench.scans.findings import Finding
from kitsbench.scans.geometry import axes_of
from kitsbench.scans.header import Header, refuse
from kitsbench.scans.header_checks import interpret

HU_RANGE = (-1024, 3071)
CHUNK_BYTES = 8 << 20
DEFLATE_LIMIT = 1032  # no stream of deflate unpacks to more times its size
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked if its first bytes say gzip (whatever its name says)."""
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
            yield unpacked  # type: ignore[misc]


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
    if not path.is_file():
        raise refuse(path, case, "no such file", "A scan is a file.", "Check the path.")
    if path.stat().st_size == 0:
        raise refuse(
            path, case, "the file is empty", "A NIfTI file has a header.", "Download it again."
        )
    with _reading(path, case), _open(path) as file:
        block = file.read(540)
    header = interpret(path, case, block)
    _check_size(header)
    return header


@contextlib.contextmanager
def _reading(path: Path, case: str) -> Iterator[None]:
    """Turn what can go wrong while a file is read into a finding."""
    try:
        yield
    except DAMAGED as error:
        kind = "is cut off" if isinstance(error, EOFError) else "is corrupt"
        raise refuse(
            path,
            case,
            f"the compressed file {kind} ({error})",
            "gzip's own check must pass.",
            "Download or copy it again.",
        ) from error
    except OSError as error:
        raise refuse(
            path,
            case,
            f"cannot be read: {error.strerror or error}",
            "The user who runs kitsbench needs permission to read it, and the disk must work.",
            "Change the permissions, or copy the file from elsewhere.",
        ) from error


def _check_size(header: Header) -> None:
    """Refuse a header that promises more voxels than its file can hold, before they get memory."""
    needed = header.offset + math.prod(header.shape) * header.dtype.itemsize
    size = header.path.stat().st_size
    with open(header.path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if needed > size * (DEFLATE_LIMIT if packed else 1):
        raise refuse(
            header.path,
            header.case,
            f"the file is cut off: {' x '.join(map(str, header.shape))} voxels of type "
            f"{header.dtype} take {needed} bytes, it has {size}"
            + (" compressed ones" if packed else ""),
            "A file holds every voxel that its header announces.",
            "Download or copy it again.",
        )


def check_file(path: Path, case: str = "") -> Header:
    """Check the header of a file and read it to its end, where gzip's checksum is.

    Raises
    ------
    Refused
        The header is no good, or the voxels are cut off or corrupt.
    """
    header = read_header(path, case)
    for _ in _planes(header):
        pass
    return header


def _planes(header: Header) -> Iterator[tuple[slice, np.ndarray]]:
    """Stream stored numbers: slices of the last disk axis with their values (i, j, planes)."""
    plane = header.shape[0] * header.shape[1]
    size = plane * header.dtype.itemsize
    step = max(1, CHUNK_BYTES // size)
    with _reading(header.path, header.case), _open(header.path) as file:
        file.seek(header.offset)
        for first in range(0, header.shape[2], step):
            count = min(step, header.shape[2] - first)
            block = file.read(count * size)
            if len(block) < count * size:
                raise EOFError(f"{first + len(block) // size} of {header.shape[2]} slices")
            values = np.frombuffer(block, header.dtype).reshape(
                (header.shape[0], header.shape[1], count), order="F"
            )
            yield slice(first, first + count), values
        # On to the end, where gzip's checksum is; a little padding there is harmless.
        if len(file.read(CHUNK_BYTES)) >= size:
            raise refuse(
                header.path,
                header.case,
                f"the file goes on after its {header.shape[2]} slices",
                "A file holds the voxels that its header announces, and no more.",
                "Write the file again from its source: its header or its voxels are wrong.",
            )


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
    image, findings = hounsfield(header, _planes(header))
    return axes_of(header.affine).to_zyx(image), findings


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
        There are NaN or infinite voxels, or all are the same.
    """
    image = _empty(header, np.int16)
    low, high = np.inf, -np.inf
    for where, stored in planes:
        values = _scaled(header, stored)
        if values.dtype.kind == "f":
            bad = int(np.count_nonzero(~np.isfinite(values)))
            if bad:
                raise refuse(
                    header.path,
                    header.case,
                    f"{bad} voxels are NaN or infinite in slices {where.start}-{where.stop - 1}",
                    "Every voxel is a finite number of HU.",
                    "Export the scan again; kitsbench does not guess what belongs there.",
                )
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        values = np.clip(values, *HU_RANGE)
        image[:, :, where] = np.rint(values) if values.dtype.kind == "f" else values
    if low == high:
        raise refuse(
            header.path,
            header.case,
            f"every voxel is {low:g}",
            "A scan shows something.",
            "Export the scan again.",
        )
    return image, _intensity_findings(header, low, high)


def _empty(header: Header, dtype: type) -> np.ndarray:
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


def _scaled(header: Header, stored: np.ndarray) -> np.ndarray:
    if header.slope == 1 and header.intercept == 0:
        return stored
    values: np.ndarray = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are reported by the caller
        return values * header.slope + header.intercept


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


def read_label(header: Header, allowed: dict[str, int] | None = None) -> np.ndarray:
    """Read a label map.

    Parameters
    ----------
    header : Header
        Of the file.
    allowed : dict of str to int, optional
        Label values by name; others (besides 0) are refused.

    Returns
    -------
    ndarray of uint8 (z, y, x)

    Raises
    ------
    Refused
        The file is damaged, or a value is no integer or not among the allowed ones.
    """
    label = _empty(header, np.uint8)
    seen = np.zeros(256, dtype=bool)
    for where, stored in _planes(header):
        values = _scaled(header, stored)
        odd = _odd_value(values)
        if odd is not None:
            raise refuse(
                header.path,
                header.case,
                f"the mask holds the value {odd:g}",
                "Labels are integers from 0 to 255.",
                "A mask must be resampled with nearest neighbour and saved as integers.",
            )
        label[:, :, where] = values
        # A few values make up a label map: look for others only where those end.
        seen[np.unique(label[:, :, where])] = True
    if allowed is not None:
        foreign = sorted(set(np.flatnonzero(seen).tolist()) - {0, *allowed.values()})
        if foreign:
            known = ", ".join(f"{value} {name}" for name, value in allowed.items())
            raise refuse(
                header.path,
                header.case,
                f"the mask holds label {', '.join(map(str, foreign))}",
                f"This dataset's labels are 0, {known}.",
                "Name the layout the masks belong to, or map the labels.",
            )
    return axes_of(header.affine).to_zyx(label)


def _odd_value(values: np.ndarray) -> float | None:
    """A value that no label can have, if there is one."""
    if values.dtype == np.uint8:
        return None
    wrong = (values < 0) | (values > 255)
    if values.dtype.kind == "f":
        # Scaled masks such as slope 1/255 come back with rounding errors.
        wrong |= ~(np.abs(values - np.rint(values)) < 1e-4)
    return float(values[wrong].flat[0]) if wrong.any() else None
