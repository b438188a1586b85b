"""What the header of a scan or a label map says, once it is checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.scans.findings import Finding, Refused
from kitsbench.scans.geometry import Axes, axes_of, canonical_affine, spacing_of


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
    def scaled(self) -> bool:
        """Whether values are other than the numbers stored."""
        return (self.slope, self.intercept) != (1, 0)

    @property
    def axes(self) -> Axes:
        """How the axes on disk become (z, y, x), by the affine."""
        return axes_of(self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing of the axes on disk in mm, from the affine."""
        return spacing_of(self.affine)

    def native(self) -> dict[str, Any]:
        """Return the geometry as plain data, for ``case.json`` and for writing predictions."""
        axes = self.axes
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


def canonical(header: Header) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of the (z, y, x) array that :func:`read_image` returns."""
    axes = header.axes
    z, y, x = (header.shape[k] for k in axes.order)
    return canonical_affine(header.affine, header.shape, axes), (z, y, x)
