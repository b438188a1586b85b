"""From a patient to an image: supersampling, the scanner's blur and noise, slab by slab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kitsbench.data.phantom_anatomy import Patient
from kitsbench.data.phantom_canvas import Canvas, Fields
from kitsbench.data.phantom_fields import Grid
from kitsbench.data.phantom_kidneys import paint_kidneys, paint_perirenal_fat
from kitsbench.data.phantom_organs import paint_organs
from kitsbench.data.phantom_trunk import BODY_CENTRE_Y, paint_trunk

FINE_MM = 2.6  # coarser voxels are supersampled until their parts are no larger than this
SLAB_POINTS = 6_000_000  # points painted at once: bounds the memory of a full-size case


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
    shell = ((np.abs(sag) < 2.4) | (np.abs(sag + 26.0) < 2.4)) & (np.abs(x) < 215)
    np.copyto(canvas.hu, np.float32(700), where=np.broadcast_to(shell, canvas.hu.shape))


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
    layer = parts[0] * parts[1] * parts[2] * frame.shape[1] * frame.shape[2]
    thick = max(1, min(frame.shape[0], SLAB_POINTS // layer))
    image = np.empty(frame.shape, dtype=np.float32)
    label = np.empty(frame.shape, dtype=np.uint8)
    for first in range(0, frame.shape[0], thick):
        slab = slice(first, min(first + thick, frame.shape[0]))
        canvas = Canvas(_points(frame, slab, parts), fields)
        if paint is None:
            paint_patient(canvas, patient)
        else:
            paint(canvas, patient, slab)
        image[slab] = _voxel_mean(canvas.hu, parts)
        label[slab] = _voxel_label(canvas.label, parts)
    _blur(image, parts)
    rng = np.random.default_rng([patient.seed, 2])
    _add_noise(image, frame.spacing, rng)
    np.rint(image, out=image)
    np.clip(image, -1024, 3071, out=image)
    return image.astype(np.int16), label


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


def _smooth(array: np.ndarray, axis: int, side: float) -> None:
    """Convolve in place with (side, 1 - 2 side, side); edges keep their neighbour."""
    array = np.moveaxis(array, axis, 0)
    before = array[0].copy()
    for k in range(array.shape[0]):
        after = array[min(k + 1, array.shape[0] - 1)]
        current = array[k].copy()
        array[k] = np.float32(1 - 2 * side) * current + np.float32(side) * (before + after)
        before = current


def _blur(image: np.ndarray, parts: tuple[int, int, int]) -> None:
    """The scanner's point spread, where supersampling has not already averaged."""
    for axis, count in enumerate(parts):
        if count == 1:
            _smooth(image, axis, 0.16)


def _add_noise(
    image: np.ndarray, spacing: tuple[float, float, float], rng: np.random.Generator
) -> None:
    """Noise with the measured SD for the slice thickness, correlated between neighbours."""
    target = float(np.interp(spacing[0], (1.0, 3.0, 5.0), (15.5, 13.4, 12.4)))
    target *= float(rng.uniform(0.85, 1.15))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    weights = (0.08, 0.22, 0.22)
    for axis, side in enumerate(weights):
        _smooth(noise, axis, side)
        noise /= np.float32(((1 - 2 * side) ** 2 + 2 * side * side) ** 0.5)
    noise *= np.float32(target)
    image += noise
