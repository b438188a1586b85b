"""Two files on one grid: image and mask, truth and prediction.

The rule is that of KiTS23's own check: both have the same shape, and the sum of absolute
differences of their affines is 0.001 at most. A file may store the same voxels along other axes or
in the other direction; that is no difference, and the comparison is made along the axes of the
reference.

Both files are turned to (z, y, x) by the axes of the reference. Two affines may agree to rounding
and still be turned differently if each goes by its own: where a grid lies at 45 degrees, its last
digits decide which axis is called which.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from kitsbench.scans.findings import Finding
from kitsbench.scans.geometry import Axes, axes_of, canonical_affine, grid_shift
from kitsbench.scans.header import Header

AFFINE_TOLERANCE = 1e-3
"""Largest sum of absolute differences between two affines of one grid (KiTS23's own check)."""

_WAYS = tuple(product(permutations(range(3)), product((False, True), repeat=3)))


def axes_onto(header: Header, reference: np.ndarray) -> Axes:
    """Find the axes by which a file is turned so that it lies on its reference.

    Parameters
    ----------
    header : Header
        Of the file.
    reference : ndarray (4, 4)
        Affine of the reference on disk.

    Returns
    -------
    Axes
        Those of the reference where both store their voxels alike.
    """
    return _along(header.affine, reference).then(axes_of(reference))


def _along(affine: np.ndarray, reference: np.ndarray) -> Axes:
    """How the axes of one affine become those of another: of all 48 ways the closest one."""

    def apart(way: tuple[tuple[int, ...], tuple[bool, ...]]) -> float:
        order, flipped = way
        steps = affine[:3, list(order)] * np.where(flipped, -1.0, 1.0)
        return float(np.abs(steps - reference[:3, :3]).sum())

    # The first of equals is the one that changes nothing.
    (i, j, k), (a, b, c) = min(_WAYS, key=apart)
    return Axes((i, j, k), (a, b, c))


@dataclass(frozen=True)
class Placed:
    """Where a file lies, seen along the axes of its reference.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    affine : ndarray (4, 4)
        Its affine.
    reshaped : bool
        Whether the shape is another than that of the reference.
    apart : float
        Sum of absolute differences of the two affines.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    reshaped: bool
    apart: float

    @property
    def moved(self) -> bool:
        """Whether the affine is another than that of the reference."""
        return self.apart > AFFINE_TOLERANCE


def place(header: Header, reference: Header) -> Placed:
    """See where a file lies, compared with another that should be on the same grid."""
    along = _along(header.affine, reference.affine)
    i, j, k = (header.shape[axis] for axis in along.order)
    affine = canonical_affine(header.affine, header.shape, along)
    apart = float(np.abs(affine - reference.affine).sum())
    return Placed((i, j, k), affine, (i, j, k) != reference.shape, apart)


def grid_findings(image: Header, mask: Header, role: str = "mask") -> list[Finding]:
    """What keeps a mask from lying on the grid of its image: shape, affine or both.

    Parameters
    ----------
    image, mask : Header
        The two.
    role : str
        What to call the second in messages.
    """
    placed = place(mask, image)
    found = shape_findings(image, mask, role)
    if placed.moved:
        shift = grid_shift(image.affine, placed.affine, image.shape)
        found.append(
            Finding(
                image.case,
                str(mask.path),
                f"the affines of image and {role} differ by up to {shift:.3g} voxels "
                f"(sum of differences {placed.apart:.3g})",
                f"Image and {role} have the same affine "
                f"(sum of absolute differences at most {AFFINE_TOLERANCE:g}).",
                f"If both show the same grid, copy the image's header to the {role}.",
            )
        )
    return found


def shape_findings(image: Header, mask: Header, role: str = "mask") -> list[Finding]:
    """What is wrong with the shape of a mask, along the axes of its image."""
    placed = place(mask, image)
    if not placed.reshaped:
        return []
    turned = sorted(placed.shape) == sorted(image.shape)
    return [
        Finding(
            image.case,
            str(mask.path),
            f"the {role} has {_times(placed.shape)} voxels, the image {_times(image.shape)}",
            f"Image and {role} have the same shape.",
            "The axes of one of them were swapped: use the pair as it was published."
            if turned
            else "One was resampled, cropped or turned: use the pair as it was published.",
        )
    ]


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(v) for v in shape)
