"""From a patient to an image: supersampling, the scanner's blur and noise, slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from kitsbench.data.phantom.canvas import Canvas, Fields
from kitsbench.data.phantom.fields import Grid, Vector
from kitsbench.data.phantom.kidneys import paint_kidneys, paint_perirenal_fat
from kitsbench.data.phantom.organs import paint_organs
from kitsbench.data.phantom.patient import Patient
from kitsbench.data.phantom.trunk import BODY_CENTRE_Y, paint_trunk

FINE_MM = 2.6  # coarser voxels are supersampled until their parts are no larger than this
SLAB_POINTS = 6_000_000  # points painted at once: bounds the memory of a full-size case
BLUR = 0.16  # share of a voxel that the point spread gives to each neighbour


@dataclass(frozen=True)
class Frame:
    """Voxel grid of an image in the patient's coordinates.

    Attributes
    ----------
    start : tuple of float
        Centre of voxel (0, 0, 0), (z, y, x) in mm.
    spacing : tuple of float
        (z, y, x) in mm.
    shape : tuple of int
        (z, y, x).
    """

    start: tuple[float, float, float]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]

    def part(self, low: Vector, high: Vector) -> Frame:
        """The voxels between two corners (z, y, x) in mm, on the same grid."""
        start, shape = [], []
        for a, b, s, d, n in zip(low, high, self.start, self.spacing, self.shape, strict=True):
            first = min(max(int(np.floor((a - s) / d)), 0), n - 1)
            last = min(max(int(np.ceil((b - s) / d)), first), n - 1)
            start.append(s + first * d)
            shape.append(last - first + 1)
        return Frame((start[0], start[1], start[2]), self.spacing, (shape[0], shape[1], shape[2]))


def supersampling(spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    """Parts of a voxel along (z, y, x)."""
    z, y, x = (max(1, min(3, int(np.ceil(s / FINE_MM)))) for s in spacing)
    return z, y, x


def paint_patient(canvas: Canvas, patient: Patient) -> None:
    """Paint the patient of the phantom's own anatomy."""
    paint_table(canvas, patient)
    paint_trunk(canvas, patient)
    paint_organs(canvas, patient)
    paint_perirenal_fat(canvas, patient)
    paint_kidneys(canvas, patient)


def paint_table(canvas: Canvas, patient: Patient) -> None:
    """Paint the table of the scanner: two thin curved shells below the patient."""
    _, y, x = canvas.grid.offsets((0.0, -patient.body.back - 9.0 + BODY_CENTRE_Y - 8.0, 0.0))
    sag = y - 0.0011 * x * x
    table = (np.abs(x) < 215) & (sag < 1.6) & (sag > -27.6)
    shell = (np.abs(sag) < 1.6) | (np.abs(sag + 26.0) < 1.6)
    hu = np.where(shell, np.float32(300), np.float32(-930))  # carbon fibre around foam
    np.copyto(canvas.hu, hu, where=np.broadcast_to(table, canvas.hu.shape))


def render(
    patient: Patient,
    fields: Fields,
    frame: Frame,
    paint: Callable[[Canvas, Patient, slice], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Render a case.

    Parameters
    ----------
    patient : Patient
        What to draw; volumes already settled.
    fields : Fields
        The random fields of this patient.
    frame : Frame
        The voxels.
    paint : callable, optional
        Called with (canvas, patient, slab as a slice of voxel layers) instead of
        :func:`paint_patient`.

    Returns
    -------
    image : ndarray of int16 (z, y, x)
        HU with noise.
    label : ndarray of uint8 (z, y, x)
        Voxels of which at least half belongs to kidney, tumour or cyst.
    """
    parts = supersampling(frame.spacing)
    image = np.empty(frame.shape, dtype=np.int16)
    label = np.empty(frame.shape, dtype=np.uint8)
    slices = _painted(patient, fields, frame, parts, label, paint or _paint_whole)
    if parts[0] == 1:
        slices = _smooth_along(slices, BLUR)
    rng = np.random.default_rng([patient.seed, 2])
    for k, (hu, noise) in enumerate(zip(slices, _noise(frame, rng), strict=True)):
        # The scanner's point spread, where supersampling has not already averaged.
        for axis in (0, 1):
            if parts[axis + 1] == 1:
                hu = _smooth(hu, axis, BLUR)
        image[k] = np.clip(np.rint(hu + noise), -1024, 3071)
    return image, label


def _paint_whole(canvas: Canvas, patient: Patient, slab: slice) -> None:
    paint_patient(canvas, patient)


def _painted(
    patient: Patient,
    fields: Fields,
    frame: Frame,
    parts: tuple[int, int, int],
    label: np.ndarray,
    paint: Callable[[Canvas, Patient, slice], None],
) -> Iterator[np.ndarray]:
    """Yield the slices (y, x) in HU, painted slab by slab; ``label`` is filled on the way."""
    layer = parts[0] * parts[1] * parts[2] * frame.shape[1] * frame.shape[2]
    thick = max(1, min(frame.shape[0], SLAB_POINTS // layer))
    for first in range(0, frame.shape[0], thick):
        slab = slice(first, min(first + thick, frame.shape[0]))
        canvas = Canvas(_points(frame, slab, parts), fields)
        paint(canvas, patient, slab)
        label[slab] = _voxel_label(canvas.label, parts)
        yield from _voxel_mean(canvas.hu, parts)


def _points(frame: Frame, slab: slice, parts: tuple[int, int, int]) -> Grid:
    axes = []
    ranges = (range(slab.start, slab.stop), range(frame.shape[1]), range(frame.shape[2]))
    for start, spacing, voxels, count in zip(
        frame.start, frame.spacing, ranges, parts, strict=True
    ):
        index = np.arange(voxels.start * count, voxels.stop * count, dtype=np.float64)
        axes.append((start + spacing * ((index + 0.5) / count - 0.5)).astype(np.float32))
    return Grid(*axes)


def _split(array: np.ndarray, parts: tuple[int, int, int]) -> list[np.ndarray]:
    """The interleaved copies of an array, one for every part of a voxel."""
    return [
        array[i :: parts[0], j :: parts[1], k :: parts[2]]
        for i in range(parts[0])
        for j in range(parts[1])
        for k in range(parts[2])
    ]


def _voxel_mean(array: np.ndarray, parts: tuple[int, int, int]) -> np.ndarray:
    first, *rest = _split(array, parts)
    total = first.copy()
    for part in rest:
        total += part
    total /= np.float32(1 + len(rest))
    return total


def _voxel_label(array: np.ndarray, parts: tuple[int, int, int]) -> np.ndarray:
    copies = _split(array, parts)
    if len(copies) == 1:
        return array
    best = np.zeros(copies[0].shape, dtype=np.uint8)
    most = np.zeros(copies[0].shape, dtype=np.uint8)
    foreground = np.zeros(copies[0].shape, dtype=np.uint8)
    for value in (1, 2, 3):
        count = np.zeros(copies[0].shape, dtype=np.uint8)
        for copy in copies:
            count += copy == value
        foreground += count
        better = count > most
        best[better] = value
        most[better] = count[better]
    best[2 * foreground.astype(np.int16) < len(copies)] = 0
    return best


def _smooth(array: np.ndarray, axis: int, side: float) -> np.ndarray:
    """Convolve with (side, 1 - 2 side, side) along an axis; edges keep their neighbour."""
    size = array.shape[axis]
    before = array.take(np.maximum(np.arange(size) - 1, 0), axis)
    after = array.take(np.minimum(np.arange(size) + 1, size - 1), axis)
    return np.float32(1 - 2 * side) * array + np.float32(side) * (before + after)


def _smooth_along(slices: Iterator[np.ndarray], side: float) -> Iterator[np.ndarray]:
    """The same from slice to slice, with three of them in memory."""
    current = next(slices)
    before = current
    for after in chain(slices, [None]):
        beyond = current if after is None else after
        yield np.float32(1 - 2 * side) * current + np.float32(side) * (before + beyond)
        before, current = current, beyond


def _noise(frame: Frame, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield slices of noise with the measured SD, correlated between neighbouring voxels."""
    target = float(np.interp(frame.spacing[0], (1.0, 3.0, 5.0), (15.5, 13.4, 12.4)))
    target *= float(rng.uniform(0.85, 1.15))

    def left(side: float) -> np.float32:
        """Share of the standard deviation that the smoothing leaves."""
        return np.float32(((1 - 2 * side) ** 2 + 2 * side * side) ** 0.5)

    across, within = 0.08, 0.22
    raw = (rng.standard_normal(frame.shape[1:], dtype=np.float32) for _ in range(frame.shape[0]))
    for noise in _smooth_along(raw, across):
        noise = noise / left(across)
        for axis in (0, 1):
            noise = _smooth(noise, axis, within) / left(within)
        yield noise * np.float32(target)
