"""Kidneys, tumours and cysts of the phantom, and their labels."""

from __future__ import annotations

import numpy as np

from kitsbench.data.phantom.canvas import Canvas, Fields
from kitsbench.data.phantom.fields import Box, Grid, SmoothField, Vector, vector
from kitsbench.data.phantom.patient import Contrast, Kidney, Lesion, Patient
from kitsbench.data.phantom.trunk import free_space

KIDNEY, TUMOUR, CYST = 1, 2, 3


def bean(kidney: Kidney, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Evaluate a kidney on a grid.

    Returns
    -------
    rho2 : ndarray
        Squared relative radius, 1 on the surface.
    long, thick, hilum : ndarray
        Coordinates in the kidney's frame, mm; the bend is taken out of ``hilum``.
    """
    long, thick, hilum = grid.rotated(kidney.centre, kidney.frame)
    c, b, a = (np.float32(v) for v in kidney.axes)
    relative = long / c
    hilum = hilum - np.float32(kidney.bend) * a * (relative * relative - np.float32(0.4))
    rng = np.random.default_rng(kidney.field_seed)
    corner = vector(m - 110.0 for m in kidney.centre)
    end = vector(m + 110.0 for m in kidney.centre)
    lobes = SmoothField(rng, 20.0, corner, end).on(grid)
    rho2 = relative**2 + (thick / b) ** 2 + (hilum / a) ** 2
    rho2 = rho2 + np.float32(0.05) * lobes
    # The lips of the hilum: a notch towards the spine.
    notch = (
        (long / (0.42 * c)) ** 2 + (thick / (0.5 * b)) ** 2 + ((hilum - 1.12 * a) / (0.42 * a)) ** 2
    )
    return np.where(notch < 1, np.float32(4), rho2), long, thick, hilum


def lesion_radius2(lesion: Lesion, grid: Grid) -> np.ndarray:
    """Squared relative radius of a lesion (1 on its surface), with lobes."""
    z, y, x = grid.offsets(lesion.centre)
    r = [np.float32(1.0 / (lesion.radius * s)) for s in lesion.stretch]
    rng = np.random.default_rng(lesion.field_seed)
    step = max(lesion.radius * 0.8, 2.0)
    reach = 2.2 * lesion.radius
    low = vector(c - reach for c in lesion.centre)
    high = vector(c + reach for c in lesion.centre)
    lobes = SmoothField(rng, step, low, high).on(grid)
    rho = np.sqrt((z * r[0]) ** 2 + (y * r[1]) ** 2 + (x * r[2]) ** 2)
    rho = np.maximum(rho + np.float32(lesion.lobulation) * lobes, 0)
    return rho * rho


def _reach(lesion: Lesion) -> float:
    return lesion.radius * max(lesion.stretch) * (1 + 2.5 * lesion.lobulation)


def settle(patient: Patient, fields: Fields) -> None:
    """Give lesions and kidneys the volumes that were drawn for them.

    Walls, the spine and lesions take room; on a coarse grid the sizes are corrected until the
    volumes that remain are those of the distributions. Changes ``patient`` in place.
    """
    for lesion in patient.lesions:
        for _ in range(6):
            step = max(lesion.radius / 8.0, 0.8)
            grid = _coarse(lesion.centre, _reach(lesion) * 1.15, step)
            inside = (lesion_radius2(lesion, grid) < 1) & free_space(patient, fields, grid)
            volume = float(np.count_nonzero(inside)) * step**3 / 1000.0
            if volume < 0.7 * lesion.volume_ml and lesion.radius < 28:
                _move_inwards(lesion, patient.kidneys[lesion.kidney])
                continue
            ratio = min(max(lesion.volume_ml / max(volume, 1e-3), 0.5), 1.9)
            lesion.radius = min(lesion.radius * ratio ** (1 / 3), 100.0)
    for index, kidney in enumerate(patient.kidneys):
        for _ in range(4):
            grid = _coarse(kidney.centre, max(kidney.axes) * 1.25, 3.0)
            inside = (bean(kidney, grid)[0] < 1) & free_space(patient, fields, grid)
            for lesion in patient.lesions:
                if lesion.kidney == index:
                    inside &= lesion_radius2(lesion, grid) >= 1
            volume = float(np.count_nonzero(inside)) * 0.027
            ratio = min(max(kidney.volume_ml / max(volume, 1e-3), 0.7), 1.35)
            kidney.axes = vector(v * ratio ** (1 / 3) for v in kidney.axes)


def _move_inwards(lesion: Lesion, kidney: Kidney) -> None:
    """Bring a lesion that a wall would cut to a sliver closer to the middle of its kidney."""
    offset = np.array(kidney.centre) - np.array(lesion.centre)
    distance = max(float(np.sqrt((offset**2).sum())), 1e-3)
    share = min((0.35 * lesion.radius + 2.0) / distance, 1.0)
    lesion.centre = vector(np.array(lesion.centre) + share * offset)


def _coarse(centre: Vector, reach: float, step: float) -> Grid:
    count = int(reach / step) + 1
    line = np.arange(-count, count + 1) * step
    return Grid(*((c + line).astype(np.float32) for c in centre))


def paint_perirenal_fat(canvas: Canvas, patient: Patient) -> None:
    """Kidneys lie in fat, and lesions have a thin margin of it.

    The fat is thick below, behind and towards the spine, and thin where liver or spleen press on
    the kidney.
    """
    fat = patient.contrast.fat - 3.0
    for kidney in patient.kidneys:
        thick = kidney.perirenal_fat_mm
        axes = vector(a + f * thick for a, f in zip(kidney.axes, (0.3, 0.75, 0.75), strict=True))
        shift = (-0.35 * thick, -0.35 * thick, -0.40 * thick * kidney.side)
        centre = vector(c + s for c, s in zip(kidney.centre, shift, strict=True))
        found = canvas.ellipsoid(centre, axes, kidney.frame)
        if found is None:
            continue
        box, rho2 = found
        rho2 = rho2 + np.float32(0.10) * canvas.fields.wide.on(canvas.grid.part(box))
        canvas.paint(box, (rho2 < 1) & canvas.free[box], fat, 9.0)
    for lesion in patient.lesions:
        near = canvas.grid.box(lesion.centre, _reach(lesion) + 3)
        if near is not None and lesion.radius < 45:
            rho2 = lesion_radius2(lesion, canvas.grid.part(near))
            edge = np.float32((1 + 2.5 / lesion.radius) ** 2)
            canvas.paint(near, (rho2 < edge) & canvas.free[near], fat, 9.0)


def paint_kidneys(canvas: Canvas, patient: Patient) -> None:
    """Paint kidneys, then cysts, then tumours, and write their labels."""
    for kidney in patient.kidneys:
        _paint_kidney(canvas, kidney, patient.contrast)
    for lesion in patient.lesions:
        _paint_lesion(canvas, lesion)


def _paint_kidney(canvas: Canvas, kidney: Kidney, contrast: Contrast) -> None:
    box = canvas.grid.box(kidney.centre, max(kidney.axes) * 1.3)
    if box is None:
        return
    rho2, long, thick, hilum = bean(kidney, canvas.grid.part(box))
    inside = (rho2 < 1) & canvas.free[box]
    c, b, a = kidney.axes
    rho = np.sqrt(np.maximum(rho2, np.float32(1e-3)))
    radius = np.sqrt(long * long + thick * thick + hilum * hilum)
    depth = radius / rho - radius
    canvas.paint(box, inside, contrast.cortex, 13.0)
    pyramid = _pyramids(kidney, long, thick, hilum) & (depth > kidney.cortex_mm * 0.8)
    canvas.paint(box, inside & pyramid, contrast.medulla, 11.0)
    grown = kidney.sinus
    sinus = (long / (0.50 * c * grown)) ** 2 + (thick / (0.40 * b * grown)) ** 2
    sinus = sinus + ((hilum - 0.62 * a) / (0.62 * a * grown)) ** 2
    sinus = sinus + np.float32(0.10) * canvas.texture[box]
    within = (rho2 < 1.4) & canvas.free[box]
    canvas.paint(box, (sinus < 1) & within, contrast.fat + 35.0, 15.0)
    near = within & (sinus < 1.3)
    hu = canvas.hu[box]
    hu[near] = _collecting_system(kidney, contrast, hu[near], long[near], thick[near], hilum[near])
    canvas.label[box][inside] = KIDNEY


def _collecting_system(
    kidney: Kidney,
    contrast: Contrast,
    hu: np.ndarray,
    long: np.ndarray,
    thick: np.ndarray,
    hilum: np.ndarray,
) -> np.ndarray:
    """Paint vessels and calyces, which fan out from the hilum, over the fat of the sinus.

    Points are given one by one: their HU and their coordinates in the kidney's frame.
    """
    c, b, a = kidney.axes
    vessel = np.float32(0.5 * (contrast.aorta + contrast.vena_cava))
    for out, across in ((0.34, 0.16), (-0.34, 0.16), (0.0, 0.22), (0.18, -0.22), (-0.22, -0.22)):
        start, end = (0.08 * out * c, 0.1 * b, 1.05 * a), (out * c, across * b, 0.22 * a)
        hu = np.where(_segment2(long, thick, hilum, start, end) < 1.9**2, vessel, hu)
    urine = np.float32(contrast.pelvis)
    for out, across in ((0.36, -0.05), (0.12, 0.05), (-0.12, -0.1), (-0.36, 0.05)):
        start, end = (0.2 * out * c, -0.08 * b, 0.75 * a), (out * c, across * b, 0.20 * a)
        hu = np.where(_segment2(long, thick, hilum, start, end) < (0.1 * a) ** 2, urine, hu)
    pelvis = (long / (0.20 * c)) ** 2 + ((thick + 0.08 * b) / (0.22 * b)) ** 2
    pelvis = pelvis + ((hilum - 0.80 * a) / (0.36 * a)) ** 2
    return np.where(pelvis < 1, urine, hu)


def _segment2(
    long: np.ndarray, thick: np.ndarray, hilum: np.ndarray, start: Vector, end: Vector
) -> np.ndarray:
    """Squared distance in mm of points in a kidney's frame to a line segment."""
    line = [np.float32(e - s) for s, e in zip(start, end, strict=True)]
    offset = [v - np.float32(s) for v, s in zip((long, thick, hilum), start, strict=True)]
    along = offset[0] * line[0] + offset[1] * line[1] + offset[2] * line[2]
    along = along / (line[0] ** 2 + line[1] ** 2 + line[2] ** 2)
    along = np.clip(along, np.float32(0), np.float32(1))
    rest = [o - along * v for o, v in zip(offset, line, strict=True)]
    return rest[0] ** 2 + rest[1] ** 2 + rest[2] ** 2


def _pyramids(kidney: Kidney, long: np.ndarray, thick: np.ndarray, hilum: np.ndarray) -> np.ndarray:
    """Mask of the medullary pyramids: two rows of balls between cortex and sinus."""
    c, b, a = kidney.axes
    result = np.zeros(long.shape, dtype=bool)
    radius2 = np.float32((0.34 * a) ** 2)
    for k in range(6):
        along = -0.70 + 0.28 * k
        room = (1 - along * along) ** 0.5
        for row, out in ((0.5, -0.25), (-0.5, -0.25), (0.0, -0.52)):
            point = (along * c, row * b * room, out * a * room)
            distance = (long - point[0]) ** 2 + (thick - point[1]) ** 2 + (hilum - point[2]) ** 2
            result |= distance < radius2
    return result


def _paint_lesion(canvas: Canvas, lesion: Lesion) -> None:
    box = canvas.grid.box(lesion.centre, _reach(lesion))
    if box is None:
        return
    grid = canvas.grid.part(box)
    rho2 = lesion_radius2(lesion, grid)
    inside = (rho2 < 1) & canvas.free[box]
    if lesion.kind == "cyst":
        canvas.paint(box, inside, lesion.hu, lesion.texture)
        canvas.label[box][inside] = CYST
        return
    hu = tumour_hu(canvas, lesion, box, grid, rho2)
    canvas.paint(box, inside, hu)
    canvas.label[box][inside] = TUMOUR


def tumour_hu(canvas: Canvas, lesion: Lesion, box: Box, grid: Grid, rho2: np.ndarray) -> np.ndarray:
    """Enhancing tissue, patchy; in large tumours a dead core with a ragged edge."""
    middle = canvas.fields.middle.on(grid)
    texture = canvas.texture[box]
    hu = np.float32(lesion.hu) + np.float32(lesion.texture) * (
        np.float32(0.75) * middle + np.float32(0.6) * texture
    )
    if lesion.histology == "clear_cell":  # its vessels enhance like the cortex
        vessel = (np.abs(middle) < 0.16) & (np.abs(texture) < 0.45)
        hu = np.where(vessel, hu + np.float32(0.9 * lesion.hu), hu)
    if lesion.necrosis > 0.05:
        core = rho2 + np.float32(0.22) * middle < np.float32(lesion.necrosis)
        dead = np.float32(min(29.0, lesion.hu)) + np.float32(4) * texture
        # The viable rim of a necrotic tumour enhances more than the tumour does on average.
        hu = np.where(core, dead, hu + np.float32(10))
    if lesion.histology == "oncocytoma" and lesion.radius > 14:
        hu = np.where(rho2 + np.float32(0.15) * texture < 0.05, np.float32(35), hu)
    if lesion.histology == "angiomyolipoma":
        hu = np.where(middle > 0.5, np.float32(-70), hu)
    return hu
