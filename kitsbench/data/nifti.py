"""Reading NIfTI files with suspicion, and writing label maps that fit their image.

Voxels are streamed: the peak memory of reading is the volume in its final type plus a few MB,
whatever the type on disk.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from kitsbench.data.findings import Finding, Refused
from kitsbench.data.geometry import axes_of, canonical_affine, spacing_of
from kitsbench.errors import DataError
from kitsbench.files import write_atomic

HU_RANGE = (-1024, 3071)
CHUNK_BYTES = 8 << 20
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


@dataclass(frozen=True)
class Header:
    """What the header of a NIfTI file says, checked.

    Attributes
    ----------
    path : Path
        The file.
    case : str
        Case id for messages.
    shape : tuple of int
        Three axes, as on disk.
    affine : ndarray (4, 4)
        World mm (RAS+) from disk indices.
    dtype : numpy.dtype
        Type of the stored numbers, with their byte order.
    slope, intercept : float
        ``value = stored * slope + intercept``; 1 and 0 where the file is not scaled.
    offset : int
        First byte of the voxels.
    codes : tuple of int
        sform code, qform code.
    units : int
        ``xyzt_units`` as stored.
    findings : list of Finding
        Warnings.
    """

    path: Path
    case: str
    shape: tuple[int, int, int]
    affine: np.ndarray
    dtype: np.dtype
    slope: float
    intercept: float
    offset: int
    codes: tuple[int, int]
    units: int
    findings: list[Finding] = field(default_factory=list, compare=False)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing of the axes on disk in mm, from the affine."""
        return spacing_of(self.affine)

    def native(self) -> dict[str, Any]:
        """Return the geometry as plain data, for ``case.json`` and for writing predictions."""
        axes = axes_of(self.affine)
        return {
            "shape": list(self.shape),
            "affine": self.affine.tolist(),
            "spacing": list(self.spacing),
            "order": list(axes.order),
            "flipped": list(axes.flipped),
            "sform_code": self.codes[0],
            "qform_code": self.codes[1],
            "units": self.units,
        }


def refuse(path: Path, case: str, what: str, rule: str, remedy: str) -> Refused:
    """Make the error for a file that cannot be used."""
    return Refused(Finding(case, str(path), what, rule, remedy))


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
    from kitsbench.data.header_checks import interpret

    path = Path(path)
    if not path.is_file():
        raise refuse(path, case, "no such file", "A scan is a NIfTI file.", "Check the path.")
    if path.stat().st_size == 0:
        raise refuse(
            path, case, "the file is empty", "A NIfTI file has a header.", "Download it again."
        )
    try:
        with _open(path) as file:
            block = file.read(540)
    except DAMAGED as error:
        raise _damaged(path, case, error) from error
    except OSError as error:
        raise refuse(
            path,
            case,
            f"cannot be read: {error.strerror or error}",
            "The user who runs kitsbench needs permission to read it.",
            "Change the permissions or the disk.",
        ) from error
    return interpret(path, case, block)


def _damaged(path: Path, case: str, error: BaseException) -> Refused:
    kind = "is cut off" if isinstance(error, EOFError) else "is corrupt"
    return refuse(
        path,
        case,
        f"the compressed file {kind} ({error})",
        "gzip's own check must pass.",
        "Download or copy it again.",
    )


def _planes(header: Header) -> Iterator[tuple[slice, np.ndarray]]:
    """Stream stored numbers: slices of the last disk axis with their values (i, j, planes)."""
    plane = header.shape[0] * header.shape[1]
    size = plane * header.dtype.itemsize
    step = max(1, CHUNK_BYTES // size)
    try:
        with _open(header.path) as file:
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
            while file.read(CHUNK_BYTES):
                pass  # to the end, where gzip's checksum is
    except DAMAGED as error:
        raise _damaged(header.path, header.case, error) from error


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
    image = np.empty(header.shape, dtype=np.int16, order="F")
    low, high = np.inf, -np.inf
    for where, stored in _planes(header):
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
    return axes_of(header.affine).to_zyx(image), _intensity_findings(header, low, high)


def _scaled(header: Header, stored: np.ndarray) -> np.ndarray:
    if header.slope == 1 and header.intercept == 0:
        return stored
    values = stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
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
    label = np.empty(header.shape, dtype=np.uint8, order="F")
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


def write_label(path: Path, label: np.ndarray, native: dict[str, Any]) -> None:
    """Write a label map on the grid of an image.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``; whole or absent.
    label : ndarray of uint8
        Axes as on disk, shape ``native["shape"]``.
    native : dict
        :meth:`Header.native` of the image: its shape, affine and header codes are kept.

    Raises
    ------
    DataError
        The shapes differ.
    """
    import nibabel

    if list(label.shape) != list(native["shape"]):
        raise DataError(
            f"the label map has {label.shape} voxels, its image {tuple(native['shape'])}. "
            "A prediction has the shape of its image: resample it to the scan's own grid."
        )
    affine = np.array(native["affine"], dtype=np.float64)
    nifti = nibabel.Nifti1Image(np.asfortranarray(label, dtype=np.uint8), None)
    nifti.header.set_zooms(spacing_of(affine))
    sform, qform = int(native["sform_code"]), int(native["qform_code"])
    nifti.header.set_sform(affine, code=sform or (0 if qform else 2))
    if qform:
        nifti.header.set_qform(affine, code=qform, strip_shears=True)
        if not np.allclose(nifti.header.get_qform(), affine, atol=1e-3) and not sform:
            # A quaternion cannot hold a sheared grid; the matrix can.
            nifti.header.set_sform(affine, code=qform)
    nifti.header["xyzt_units"] = int(native["units"]) or 2
    _save(path, lambda temporary: nibabel.save(nifti, temporary))


def _save(path: Path, write: Callable[[Path], None]) -> None:
    """Write through a temporary file whose suffix nibabel understands."""

    def through(temporary: Path) -> None:
        inner = temporary.with_name(
            temporary.name + (".nii.gz" if path.name.endswith(".gz") else ".nii")
        )
        try:
            write(inner)
            inner.replace(temporary)
        finally:
            inner.unlink(missing_ok=True)

    write_atomic(Path(path), through)


def canonical(header: Header) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of the (z, y, x) array that :func:`read_image` returns."""
    shape = tuple(header.shape[k] for k in axes_of(header.affine).order)
    return canonical_affine(header.affine, header.shape), shape  # type: ignore[return-value]
