"""Synthetic images on real masks: the phantom's body around somebody's kidneys.

The label map is kept as it is; every intensity is simulated. A result on such images is never a
result on real CT.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitsbench.data.phantom.anatomy import draw_body, draw_contrast, draw_look, kidney_frame
from kitsbench.data.phantom.canvas import Canvas, Fields
from kitsbench.data.phantom.fields import Grid, vector
from kitsbench.data.phantom.kidneys import tumour_hu
from kitsbench.data.phantom.organs import paint_organs
from kitsbench.data.phantom.patient import Kidney, Lesion, Patient
from kitsbench.data.phantom.render import Frame, paint_table, render, supersampling
from kitsbench.data.phantom.trunk import paint_trunk, wall_depth
from kitsbench.data.preparation.resample import resample
from kitsbench.errors import DataError
from kitsbench.scans.geometry import resampled_grid, spacing_of
from kitsbench.scans.header import canonical
from kitsbench.scans.label_names import KITS, LabelNames, near
from kitsbench.scans.nifti import read_header, read_label

KIDNEY_Y = -7.0  # where the kidneys lie relative to the spine, mm to the front


@dataclass
class _Anatomy:
    """A mask with what is derived from it, all (z, y, x) on its own grid.

    ``depth`` is the distance in mm to the outside of all foreground, ``margin`` the distance to
    the foreground, ``part`` the number of the mass a voxel belongs to, and ``core`` the depth in
    a mass relative to its deepest point.
    """

    mask: np.ndarray
    depth: np.ndarray
    margin: np.ndarray
    part: np.ndarray
    core: np.ndarray
    lesions: list[Lesion]


def _names(path: Path) -> LabelNames:
    """Labels of a mask: those that its dataset names, else those of KiTS.

    Raises
    ------
    DataError
        Its dataset shows other organs.
    """
    names = near(path)
    if names is not None and not names.of_kits:
        raise DataError(
            f"{path} has the labels {', '.join(names.labels)}; a phantom is drawn around kidney "
            "and tumor.\nGive masks of these."
        )
    return names if names is not None and names.on_disk else LabelNames(dict(KITS))


def render_on_mask(
    path: Path,
    seed: int,
    index: int,
    labels: str,
    spacing: tuple[float, float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a body around a label map.

    Parameters
    ----------
    path : Path
        Label map: 1 kidney, 2 tumour, 3 cyst.
    seed, index : int
        Seed of the dataset and number of the case.
    labels : {"kits19", "kits23"}
        In ``kits19`` a cyst becomes kidney.
    spacing : tuple of float, optional
        Resample the mask to this (z, y, x) spacing in mm first.

    Returns
    -------
    image : ndarray of int16
        HU, axes as on disk.
    label : ndarray of uint8
        The mask, axes as on disk.
    affine : ndarray (4, 4)
        Of both; that of the mask's file unless it was resampled.
    """
    header = read_header(path, path.parent.name)
    mask = read_label(header, _names(path))
    affine, shape = canonical(header)
    if spacing is not None:
        new_affine, new_shape = resampled_grid(affine, shape, spacing)
        z, y, x, _ = np.diag(np.linalg.inv(affine) @ new_affine)
        oz, oy, ox, _ = (np.linalg.inv(affine) @ new_affine)[:, 3]
        mask = resample(mask, new_shape, (z, y, x), (oz, oy, ox), nearest=True)
        affine, shape = new_affine, new_shape
    rng = np.random.default_rng([seed, index, 1])
    patient, frame = _fit(mask, spacing_of(affine), rng, path)
    anatomy = _analyse(mask, frame, patient, rng)
    parts = supersampling(frame.spacing)
    image, _ = render(
        patient,
        Fields.draw(patient.seed),
        frame,
        paint=lambda canvas, who, slab: _paint(canvas, who, anatomy, slab, parts),
    )
    if labels == "kits19":
        mask = np.where(mask == 3, np.uint8(1), mask)
    if spacing is None:
        axes = header.axes
        return axes.from_zyx(image), axes.from_zyx(mask), header.affine
    flip = np.diag([-1.0, -1.0, -1.0, 1.0])
    flip[:3, 3] = np.array(shape) - 1
    return image[::-1, ::-1, ::-1], mask[::-1, ::-1, ::-1], affine @ flip


def _fit(
    mask: np.ndarray, spacing: tuple[float, float, float], rng: np.random.Generator, path: Path
) -> tuple[Patient, Frame]:
    """Put the mask into the phantom's coordinates and make the trunk large enough for it."""
    found = np.argwhere(mask > 0)
    if not len(found):
        raise DataError(f"{path} is an empty mask; a body cannot be drawn around nothing.")
    kidneys = np.argwhere(mask == 1) if (mask == 1).any() else found
    points = kidneys * np.array(spacing)
    middle = (mask.shape[2] - 1) / 2 * spacing[2]
    right, left = points[points[:, 2] >= middle], points[points[:, 2] < middle]
    enough = 0.12 * len(points)
    centres = [side.mean(0) for side in (right, left) if len(side) > enough]
    spine = 0.5 * (centres[0][2] + centres[1][2]) if len(centres) == 2 else middle
    height, depth = float(points[:, 0].mean()), float(points[:, 1].mean())
    z, y, x = mask.shape
    frame = Frame((-height, KIDNEY_Y - depth, -float(spine)), spacing, (z, y, x))
    contrast, body = draw_contrast(rng), draw_body(rng)
    beans = [
        Kidney(
            side=1 if centre[2] > spine else -1,
            centre=vector(c + s for c, s in zip(centre, frame.start, strict=True)),
            axes=(52.0, 25.0, 28.0),
            frame=kidney_frame(1 if centre[2] > spine else -1),
            bend=0.3,
            sinus=1.0,
            cortex_mm=float(rng.uniform(6.0, 8.5)),
            volume_ml=0.0,
            perirenal_fat_mm=float(rng.uniform(6.0, 14.0)),
            field_seed=0,
        )
        for centre in centres
    ]
    patient = Patient(body, contrast, beans, [], seed=int(rng.integers(2**62)))
    some = found[:: max(1, len(found) // 4000)] * np.array(spacing) + np.array(frame.start)
    for _ in range(20):
        if _room(patient, some) >= 0.995:
            break
        body.half_width *= 1.04
        body.front *= 1.05
        body.back = min(body.back * 1.02, 112.0)
        body.fat_layer = max(body.fat_layer * 0.93, 5.0)
    return patient, frame


def _room(patient: Patient, points: np.ndarray) -> float:
    """Share of the points (z, y, x) that lie inside the abdominal wall."""
    inside = 0
    wall = patient.body.fat_layer + patient.body.muscle_layer + 2.0
    for point in points.astype(np.float32):
        grid = Grid(*(point[k : k + 1] for k in range(3)))
        inside += int(wall_depth(patient, grid)[0].item() > wall)
    return inside / len(points)


def _analyse(
    mask: np.ndarray, frame: Frame, patient: Patient, rng: np.random.Generator
) -> _Anatomy:
    """Distances in and around the foreground, and a look for every mass."""
    from scipy.ndimage import distance_transform_edt, label

    reach = [int(np.ceil(20.0 / s)) for s in frame.spacing]
    low = [max(int(v) - r, 0) for v, r in zip(np.argwhere(mask).min(0), reach, strict=True)]
    high = [int(v) + r + 1 for v, r in zip(np.argwhere(mask).max(0), reach, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part_mask = mask[box]

    def distance(inside: np.ndarray) -> np.ndarray:
        return distance_transform_edt(inside, sampling=frame.spacing).astype(np.float32)

    def whole(part: np.ndarray, fill: float, dtype: type) -> np.ndarray:
        array: np.ndarray = np.full(mask.shape, fill, dtype=dtype)
        array[box] = part
        return array

    parts = np.zeros(part_mask.shape, dtype=np.uint16)
    core = np.zeros(part_mask.shape, dtype=np.float32)
    lesions: list[Lesion] = []
    voxel = frame.spacing[0] * frame.spacing[1] * frame.spacing[2]
    for value, kind in ((2, "tumor"), (3, "cyst")):
        pieces, count = label(part_mask == value)
        depth = distance(part_mask == value)
        for number in range(1, count + 1):
            here = pieces == number
            volume = float(np.count_nonzero(here)) * voxel / 1000.0
            lesions.append(draw_look(rng, kind, volume, patient.contrast))
            parts[here] = len(lesions)
            core[here] = depth[here] / max(float(depth[here].max()), 1e-3)
    return _Anatomy(
        mask=mask,
        depth=whole(distance(part_mask > 0), 0.0, np.float32),
        margin=whole(distance(part_mask == 0), 99.0, np.float32),
        part=whole(parts, 0, np.uint16),
        core=whole(core, 0.0, np.float32),
        lesions=lesions,
    )


def _paint(
    canvas: Canvas,
    patient: Patient,
    anatomy: _Anatomy,
    slab: slice,
    parts: tuple[int, int, int],
) -> None:
    def fine(array: np.ndarray) -> np.ndarray:
        array = array[slab]
        for axis, count in enumerate(parts):
            array = array.repeat(count, axis) if count > 1 else array
        return array

    paint_table(canvas, patient)
    paint_trunk(canvas, patient)
    paint_organs(canvas, patient)
    mask = fine(anatomy.mask)
    if not (anatomy.margin[slab] < 99).any():
        return
    everything = (slice(None),) * 3
    contrast = patient.contrast
    fat_mm = patient.kidneys[0].perirenal_fat_mm
    around = (fine(anatomy.margin) < fat_mm) & canvas.free
    canvas.paint(everything, around, contrast.fat - 3.0, 9.0)
    _paint_kidney(canvas, patient, mask == 1, fine(anatomy.depth))
    number, core = fine(anatomy.part), fine(anatomy.core)
    for k in np.unique(number[number > 0]):
        lesion = anatomy.lesions[int(k) - 1]
        here = number == k
        if lesion.kind == "cyst":
            canvas.paint(everything, here, lesion.hu, lesion.texture)
        else:
            rho = 1 - core
            canvas.paint(
                everything, here, tumour_hu(canvas, lesion, everything, canvas.grid, rho * rho)
            )
    canvas.label[...] = mask


def _paint_kidney(canvas: Canvas, patient: Patient, inside: np.ndarray, depth: np.ndarray) -> None:
    """Cortex outside, pyramids below it, and sinus where the kidney is thick."""
    contrast, cortex_mm = patient.contrast, patient.kidneys[0].cortex_mm
    everything = (slice(None),) * 3
    middle = canvas.fields.middle.on(canvas.grid)
    canvas.paint(everything, inside, contrast.cortex, 13.0)
    pyramid = inside & (depth > 0.8 * cortex_mm) & (middle > -0.45)
    canvas.paint(everything, pyramid, contrast.medulla, 11.0)
    # Deep inside lie fat, calyces and vessels of the sinus.
    deep = inside & (depth + 2.0 * middle > 15.0)
    canvas.paint(everything, deep, contrast.fat + 35.0, 15.0)
    canvas.paint(everything, deep & (canvas.texture > 0.2), contrast.pelvis, 4.0)
    vessel = deep & (np.abs(canvas.texture + 0.5) < 0.3)
    canvas.paint(everything, vessel, 0.5 * (contrast.aorta + contrast.vena_cava))
