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

from itertools import permutations, product

import numpy as np

from kitsbench.scans.findings import Finding
from kitsbench.scans.geometry import Axes, axes_of, canonical_affine, grid_shift
from kitsbench.scans.header import Header

AFFINE_TOLERANCE = 1e-3
"""Largest sum of absolute differences between two affines of one grid (KiTS23's own check)."""

_WAYS = tuple(product(permutations(range(3)), product((False, True), repeat=3)))


def axes_onto(header: Header, reference: np.ndarray, axes: Axes | None = None) -> Axes:
    """Find the axes by which a file is turned so that it lies on its reference.

    Parameters
    ----------
    header : Header
        Of the file.
    reference : ndarray (4, 4)
        Affine of the reference on disk.
    axes : Axes, optional
        By which the reference itself is turned to (z, y, x); by default as its affine says.

    Returns
    -------
    Axes
        Those of the reference where both store their voxels alike.
    """
    return _along(header.affine, reference).then(axes or axes_of(reference))


def _along(affine: np.ndarray, reference: np.ndarray) -> Axes:
    """How the axes of one affine become those of another: of all 48 ways the closest one."""

    def apart(way: tuple[tuple[int, ...], tuple[bool, ...]]) -> float:
        order, flipped = way
        steps = affine[:3, list(order)] * np.where(flipped, -1.0, 1.0)
        return float(np.abs(steps - reference[:3, :3]).sum())

    # The first of equals is the one that changes nothing.
    (i, j, k), (a, b, c) = min(_WAYS, key=apart)
    return Axes((i, j, k), (a, b, c))


def grid_findings(
    reference: Header,
    other: Header,
    roles: tuple[str, str] = ("image", "mask"),
    in_full: bool = False,
) -> list[Finding]:
    """What keeps a file from lying on the grid of its reference: shape, affine or both.

    Parameters
    ----------
    reference, other : Header
        The two.
    roles : (str, str)
        What to call them in messages.
    in_full : bool
        Name the reference's file and both affines too.
    """
    role, ours = roles
    theirs = f"{role} {reference.path}" if in_full else role
    found = shape_findings(reference, other, (theirs, ours))
    affine = canonical_affine(other.affine, other.shape, _along(other.affine, reference.affine))
    total = float(np.abs(affine - reference.affine).sum())
    if total > AFFINE_TOLERANCE:
        shift = grid_shift(reference.affine, affine, reference.shape)
        both = f": {_rows(reference.affine)} and {_rows(affine)}" if in_full else ""
        found.append(
            Finding(
                reference.case,
                str(other.path),
                f"the affines of {theirs} and {ours} differ by up to {shift:.3g} voxels "
                f"(sum of differences {total:.3g}){both}",
                f"{role.capitalize()} and {ours} have the same affine "
                f"(sum of absolute differences at most {AFFINE_TOLERANCE:g}).",
                f"If both show the same grid, copy the header of the {role} to the {ours}.",
            )
        )
    return found


def shape_findings(
    reference: Header, other: Header, names: tuple[str, str] = ("image", "mask")
) -> list[Finding]:
    """What is wrong with the shape of a file, along the axes of its reference."""
    along = _along(other.affine, reference.affine)
    shape = tuple(other.shape[k] for k in along.order)
    if shape == reference.shape:
        return []
    theirs, ours = names
    turned = sorted(shape) == sorted(reference.shape)
    return [
        Finding(
            reference.case,
            str(other.path),
            f"the {ours} has {_times(shape)} voxels, the {theirs} {_times(reference.shape)}",
            "Both have the same shape.",
            "The axes of one of them were swapped: use both as they were published."
            if turned
            else "One was resampled, cropped or turned: use both as they were published, or "
            "resample one to the grid of the other.",
        )
    ]


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(v) for v in shape)


def _rows(affine: np.ndarray) -> str:
    """The three rows of an affine that matter, on one line."""
    rows = (", ".join(f"{value:.6g}" for value in row) for row in affine[:3])
    return "[" + "; ".join(rows) + "]"
