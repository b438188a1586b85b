"""How a scan is made small enough to travel beside a page, so that every number stays true.

It is cut to what anybody labelled, and voxels are left out, never mixed: each one that is shown
has its own HU and its own labels. HU become one byte by a table that is fine where soft tissue is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kitsbench.scans.intensities import HU_RANGE

MARGIN_MM = 20.0
FINEST_MM = 1.0
"""Voxels are left out along an axis as long as those that stay are nearer than twice this."""
MOST_VOXELS = 3_000_000
FINE = (-160, 240)
LEVELS = np.concatenate(
    [
        np.rint(np.linspace(HU_RANGE[0], FINE[0] - 36, 24)),
        np.arange(FINE[0], FINE[1] + 1, 2),
        FINE[1] + 34 * np.arange(1, 32),
    ]
).astype(np.int16)
"""HU of each byte: in steps of 2 within ``FINE``, of about 36 below and of 34 above."""


@dataclass(frozen=True)
class Part:
    """Which voxels of an array (z, y, x) are shown.

    Attributes
    ----------
    start, stop, step : tuple of int
        As of slices.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    step: tuple[int, int, int]

    @property
    def cut(self) -> tuple[slice, slice, slice]:
        """Slices of an array (z, y, x)."""
        z, y, x = (slice(*own) for own in zip(self.start, self.stop, self.step, strict=True))
        return z, y, x

    def affine(self, whole: np.ndarray) -> np.ndarray:
        """World mm from (iz, iy, ix, 1) of the part, given that of the whole."""
        inner = np.diag([*map(float, self.step), 1.0])
        inner[:3, 3] = self.start
        return whole @ inner


def whole(shape: tuple[int, int, int]) -> Part:
    """Every voxel."""
    return Part((0, 0, 0), shape, (1, 1, 1))


Box = tuple[slice, slice, slice]


def box_of(labels: np.ndarray) -> Box | None:
    """The smallest box (z, y, x) that holds every label; None where there is none."""
    lines = []
    found = labels > 0
    for axis in range(3):
        inside = np.flatnonzero(found.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(inside):
            return None
        lines.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return lines[0], lines[1], lines[2]


def small(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    boxes: Iterable[Box | None],
    most: int = MOST_VOXELS,
) -> Part:
    """The part of a scan that a report shows.

    Parameters
    ----------
    shape : (int, int, int)
        Of the scan, (z, y, x).
    spacing : (float, float, float)
        In mm, likewise.
    boxes : iterable of Box or None
        Of the truth and of every prediction: what anybody labelled is inside, so that no finding
        elsewhere in the body is lost.
    most : int
        Voxels that it may have.
    """
    start, stop = [0, 0, 0], list(shape)
    labelled = [box for box in boxes if box is not None]
    for axis in range(3) if labelled else ():
        margin = int(np.ceil(MARGIN_MM / spacing[axis]))
        start[axis] = max(0, min(box[axis].start for box in labelled) - margin)
        stop[axis] = min(shape[axis], max(box[axis].stop for box in labelled) + margin)
    step = [max(1, int(2 * FINEST_MM / spacing[axis])) for axis in range(3)]

    def count() -> int:
        return int(np.prod([-(-(b - a) // s) for a, b, s in zip(start, stop, step, strict=True)]))

    while count() > most:
        # The axis with the finest voxels loses least.
        finest = min(range(3), key=lambda axis: (spacing[axis] * step[axis], -axis))
        step[finest] += 1
    return Part(_three(start), _three(stop), _three(step))


def _three(values: list[int]) -> tuple[int, int, int]:
    return values[0], values[1], values[2]


def to_bytes(image: np.ndarray) -> np.ndarray:
    """The byte whose level is nearest to each HU.

    Parameters
    ----------
    image : ndarray of int16
        HU within ``HU_RANGE``, any axes.
    """
    between = (LEVELS[:-1].astype(np.float64) + LEVELS[1:]) / 2
    every = np.arange(HU_RANGE[0], HU_RANGE[1] + 1)
    table = np.searchsorted(between, every).astype(np.uint8)
    return table[image.astype(np.int32) - HU_RANGE[0]]


def told(part: Part, shape: tuple[int, int, int]) -> str:
    """What was done to a scan, in a sentence or two; empty where nothing was."""
    said = []
    if part.start != (0, 0, 0) or part.stop != shape:
        said.append(f"cut to everything that anybody labelled and {MARGIN_MM:.0f} mm around")
    if part.step != (1, 1, 1):
        z, y, x = part.step
        axes = ((z, "slices"), (y, "rows"), (x, "columns"))
        ways = [f"1 of {number} {what}" for number, what in axes if number > 1]
        said.append(f"only {', '.join(ways)} kept, as they are")
    said.append(
        f"HU in steps of 2 from {FINE[0]} to {FINE[1]} and of about 35 beyond, up to {LEVELS[-1]}"
    )
    text = "; ".join(said).replace("-", "−")
    return f"Made small for this page: {text}."
