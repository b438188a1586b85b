"""The trunk of the phantom: skin, fat, muscle, spine, ribs, lungs and pelvis."""

from __future__ import annotations

import numpy as np

from kitsbench.data.phantom.canvas import Canvas, Fields
from kitsbench.data.phantom.fields import Grid
from kitsbench.data.phantom.patient import Patient

SPINE_RADII = (17.0, 23.0)  # half depth and half width of a vertebral body, mm
VERTEBRA_MM = 34.0  # height of a vertebra with its disc
BODY_CENTRE_Y = 8.0


def spine_centre(patient: Patient, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (y, x) of the vertebral bodies at heights ``z``: lordosis and a little scoliosis."""
    t = np.clip(z / 120.0, -1.6, 2.2)
    return patient.body.lordosis * (0.5 - t * t), patient.body.scoliosis * (t - t * t * t / 3.0)


def wall_depth(patient: Patient, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Depth below the skin, and the same with the sides pressed in, mm (negative outside)."""
    body = patient.body
    z, y, x = grid.offsets((0.0, BODY_CENTRE_Y, 0.0))
    bump = 1 / (1 + ((z + 15) / 60) ** 2)
    width = body.half_width * (1 - body.waist * bump)
    across = (x / width).astype(np.float32)
    along = np.where(y > 0, y / (body.front - BODY_CENTRE_Y), y / (body.back + BODY_CENTRE_Y))
    a2, b2 = across * across, (along * along).astype(np.float32)
    rho = np.sqrt(np.maximum(a2 + b2 - np.float32(body.squareness) * a2 * b2, 1e-4))
    radius = np.sqrt(x * x + y * y)
    depth = radius / rho - radius
    # The furrow of the back, between the muscles beside the spine.
    furrow = np.float32(9) / (1 + (x / np.float32(16)) ** 2) ** 2
    depth -= np.where(y < -40, furrow, np.float32(0))
    return depth, np.broadcast_to(b2, rho.shape)


def fat_thickness(patient: Patient, fields: Fields, grid: Grid) -> np.ndarray:
    """Thickness of the fat below the skin, mm: more at the back and flanks, uneven."""
    z, y, _ = grid.offsets((0.0, 0.0, 0.0))
    uneven = fields.wide.on(grid)
    behind = np.clip(-y / 90.0, -0.6, 0.8)
    low = np.clip(-z / 200.0, -0.3, 0.6)
    thickness = patient.body.fat_layer * (1 + 0.5 * behind + 0.5 * low) * (1 + 0.12 * uneven)
    return np.maximum(thickness, 3.5).astype(np.float32)


def _near_spine(patient: Patient, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates with the vertebral body at their origin."""
    cy, cx = spine_centre(patient, grid.z)
    z, y, x = grid.offsets((0.0, 0.0, 0.0))
    shift = (slice(None), None, None)
    return z, y - cy.astype(np.float32)[shift], x - cx.astype(np.float32)[shift]


def _back_muscles(z: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the muscles beside the spine: psoas with quadratus, and the erectors."""
    side = np.abs(x)
    girth = np.clip(0.75 - z / 150.0, 0.0, 1.5)  # the psoas swells on its way down
    psoas = (
        ((side - 24 - 10 * girth) / (12 * girth + 0.1)) ** 2 + ((y + 6) / (16 * girth + 0.1)) ** 2
    ) < 1
    psoas &= girth > 0
    # Short muscles and ligaments fill the corner between vertebra and back muscles.
    psoas |= (side < 32 + 0.3 * y) & (y < -6) & (y > -48)
    quadratus = (((side - 62) / 22) ** 2 + ((y + 40) / 9) ** 2 < 1) & (z < 20)
    erector = ((side - 33) / 34) ** 2 + ((y + 52) / 23) ** 2 < 1
    return psoas | quadratus, erector


def free_space(patient: Patient, fields: Fields, grid: Grid) -> np.ndarray:
    """Where organs may be: inside the wall, outside spine and back muscles (bool)."""
    depth, _ = wall_depth(patient, grid)
    depth = depth - fat_thickness(patient, fields, grid)
    z, y, x = _near_spine(patient, grid)
    front, erector = _back_muscles(z, y, x)
    spine = ((y / 19.0) ** 2 + (x / 25.0) ** 2 < 1) | ((np.abs(x) < 30) & (y < -10))
    return (depth > patient.body.muscle_layer) & ~spine & ~erector & ~front


def paint_trunk(canvas: Canvas, patient: Patient) -> None:
    """Paint everything up to the wall of the abdomen, the spine and the chest."""
    grid, hu, texture = canvas.grid, canvas.hu, canvas.texture
    contrast, body = patient.contrast, patient.body
    depth, front = wall_depth(patient, grid)
    inside = depth > 0
    fat = contrast.fat + np.float32(9) * texture
    np.copyto(hu, fat, where=inside)
    np.copyto(hu, np.float32(5), where=inside & (depth < 2.2))
    depth -= fat_thickness(patient, canvas.fields, grid)
    wall = depth > 0
    middle = canvas.fields.middle.on(grid)
    # Streaks of fat lie between the layers of muscle.
    muscle = contrast.muscle + np.float32(8) * texture
    muscle -= np.where((np.abs(middle) < 0.07) & (depth > 2.5), np.float32(55), np.float32(0))
    np.copyto(hu, muscle, where=wall)
    layer = depth / np.float32(body.muscle_layer)
    fascia = (np.abs(layer - np.float32(0.36)) < 0.05) | (np.abs(layer - np.float32(0.68)) < 0.05)
    alba = (front > 0.6) & (np.abs(grid.x) < 3)[None, None, :] & (grid.y > 0)[None, :, None]
    np.copyto(hu, muscle - np.float32(75), where=wall & ((fascia & (front < 0.75)) | alba))
    z, y, x = _near_spine(patient, grid)
    anterior, erector = _back_muscles(z, y, x)
    canvas.free[...] = free_space(patient, canvas.fields, grid)
    cavity = depth > body.muscle_layer * (1 - np.float32(0.35) * front)
    np.copyto(hu, fat - np.float32(3), where=cavity)
    # Vessels of the mesentery and of the fat run where two smooth fields cross zero together.
    thread = (np.abs(middle) < 0.12) & (np.abs(texture) < 0.40)
    np.copyto(hu, np.float32(0.4 * contrast.vena_cava), where=cavity & thread)
    np.copyto(hu, muscle, where=wall & (anterior | erector))
    _paint_ribs(canvas, patient, depth)
    _paint_lungs(canvas, patient)
    _paint_spine(canvas, patient, wall)
    _paint_pelvis(canvas, patient, depth)


def _paint_ribs(canvas: Canvas, patient: Patient, depth: np.ndarray) -> None:
    """Ribs fall from the spine to the front and end at the costal margin."""
    z, y, x = canvas.grid.offsets((0.0, 0.0, 0.0))
    side = np.abs(x)
    height = (z + 0.70 * (y + 60) + 0.10 * side) / 29.0
    phase = height - np.floor(height)
    margin = 8 + 0.6 * (y + 30) + 0.15 * (120 - side)
    section = ((phase - 0.22) / 0.22) ** 2 + ((depth - 5.5) / 4.2) ** 2
    # Beside the spine the ribs lie under the back muscles.
    rib = (section < 1) & (z > margin) & ((side > 70) | (y > -20)) & (side > 26)
    if not rib.any():
        return
    np.copyto(canvas.hu, np.float32(520), where=rib)
    np.copyto(canvas.hu, np.float32(patient.contrast.bone - 60), where=rib & (section < 0.4))


def _paint_lungs(canvas: Canvas, patient: Patient) -> None:
    """Lung above two domes; the heart and fat between them."""
    if canvas.grid.z[-1] < patient.body.diaphragm - 150:
        return
    z, y, x = canvas.grid.offsets((0.0, 0.0, 0.0))
    dome = diaphragm_height(patient, y, x)
    chest = canvas.free & (z > dome)
    chest &= ~((np.abs(x) < 30) & (y < 25))
    between = (np.abs(x + 8) < 30) & (y > 10)
    lung = chest & ~between
    speckle = np.where(canvas.texture > 1.9, np.float32(500), np.float32(0))
    np.copyto(canvas.hu, -850 + 35 * canvas.texture + speckle, where=lung)
    canvas.free &= ~chest
    found = canvas.ellipsoid((patient.body.diaphragm + 18, 48.0, -22.0), (48.0, 38.0, 52.0))
    if found is not None:
        box, rho2 = found
        heart = (rho2 < 1) & chest[box]
        canvas.paint(box, heart, 0.6 * patient.contrast.aorta + 15)
        canvas.paint(box, heart & (rho2 > 0.72), 85.0)


def diaphragm_height(patient: Patient, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Height of the diaphragm in mm: two domes, the right one higher, low at the wall."""
    right = 6.0 - 0.0085 * (x - 62) ** 2
    left = -4.0 - 0.0085 * (x + 66) ** 2
    return (patient.body.diaphragm + np.maximum(right, left) - 0.0075 * (y - 18) ** 2).astype(
        np.float32
    )


def _paint_spine(canvas: Canvas, patient: Patient, wall: np.ndarray) -> None:
    box = canvas.grid.box((0.0, -38.0, 0.0), (1e4, 70.0, 62.0))
    if box is None:
        return
    z, y, x = _near_spine(patient, canvas.grid.part(box))
    hu, texture, wall = canvas.hu[box], canvas.texture[box], wall[box]
    phase = z / VERTEBRA_MM - np.floor(z / VERTEBRA_MM)
    # A vertebral body is waisted between its end plates.
    waist = 1 - 0.35 * (phase - 0.62) * (1 - phase)
    rho2 = (y / (SPINE_RADII[0] * waist)) ** 2 + (x / (SPINE_RADII[1] * waist)) ** 2
    body = rho2 < 1
    disc = phase < 0.22
    cortical = (rho2 > 0.80) | (phase < 0.28) | (phase > 0.95)
    bone = patient.contrast.bone
    np.copyto(hu, np.float32(bone - 30) + np.float32(35) * texture, where=body)
    np.copyto(hu, np.float32(bone + 200), where=body & cortical)
    np.copyto(hu, np.float32(80) + np.float32(8) * texture, where=body & disc)
    side = np.abs(x)
    # The arch is a roof behind the canal: pedicles, then two laminae that meet in the midline.
    canal = (side < 0.60 * (y + 37)) & (side < 11) & (y < -14) & ~body
    roof = (side < 5 + 0.60 * (y + 43)) & (side < 18) & (y > -46) & (y < -12) & ~body & ~canal
    np.copyto(hu, np.float32(bone + 170) + np.float32(60) * texture, where=roof & (phase > 0.2))
    spinous = (side < 3.2 - 0.04 * (y + 50)) & (y < -40) & (y > -66) & (phase > 0.15)
    behind = y + 24 + 0.30 * (side - 18)  # the transverse processes point outwards and backwards
    transverse = (np.abs(behind) < 4) & (side > 12) & (side < 42) & (phase > 0.55) & (phase < 0.8)
    facet = (side - 18) ** 2 + (y + 33) ** 2 < 7**2
    facet &= ((phase < 0.35) | (phase > 0.8)) & (np.abs(side - 18 - 0.3 * (y + 33)) > 0.8)
    process = ((spinous & (phase < 0.8)) | transverse | facet) & wall & ~body & ~canal
    np.copyto(hu, np.float32(bone + 130) + np.float32(60) * texture, where=process)
    np.copyto(hu, np.float32(28), where=canal)


def _paint_pelvis(canvas: Canvas, patient: Patient, depth: np.ndarray) -> None:
    """Wings of the ilium with their muscles, for scans that reach that low."""
    top = -88.0
    if canvas.grid.z[0] > top:
        return
    z, y, x = canvas.grid.offsets((0.0, 0.0, 0.0))
    side = np.abs(x)
    below = top - 0.008 * (y + 20) ** 2 - z  # below the rounded crest, mm
    fall = np.clip((top - z) / 90.0, 0, 1.3)
    # The wing runs from the sacrum outwards and forwards, and inwards further down.
    distance = side - (62 + 42 * np.clip((y + 62) / 95, 0, 1) - 14 * fall)
    wing = (np.abs(distance) < 5.5) & (y > -66) & (y < -30 + 70 * fall) & (below > 0)
    rim = 12 - 0.03 * (distance - 4) ** 2  # the muscles are rounded in front
    gluteal = (distance > 0) & (distance < 34) & (y < rim) & (below > 12) & (depth > 0)
    thick = np.clip(below / 3.0, 0, 15)
    iliacus = (distance < 0) & (distance > -thick) & (y > -55) & (y < rim) & (below > 0)
    muscle = patient.contrast.muscle + np.float32(8) * canvas.texture
    np.copyto(canvas.hu, muscle, where=(gluteal | iliacus) & (depth > 0))
    bone = np.float32(patient.contrast.bone)
    np.copyto(canvas.hu, bone + np.float32(180), where=wing & (depth > 0))
    np.copyto(canvas.hu, bone - 40, where=wing & (np.abs(distance) < 2.8) & (depth > 0))
    canvas.free &= ~(gluteal | iliacus | wing)
    if canvas.grid.z[0] > -190:
        return
    # Hips: muscle at the sides, the heads of the femurs in it, the bladder between them.
    hip = (depth > 0) & (z < -190) & ((side / 68) ** 2 + ((y - 22) / 54) ** 2 > 1)
    np.copyto(canvas.hu, muscle, where=hip)
    canvas.free &= ~hip
    for centre, radius, hu in (
        ((-238.0, 0.0, 92.0), 26.0, bone + 60),
        ((-238.0, 0.0, -92.0), 26.0, bone + 60),
        ((-240.0, 22.0, 0.0), 34.0, np.float32(8)),
    ):
        found = canvas.ellipsoid(centre, (radius, radius, radius))
        if found is not None:
            canvas.paint(found[0], (found[1] < 1) & (depth[found[0]] > 0), hu, 6.0)
