"""The organs around the kidneys: liver, spleen, bowel, vessels. All of them distract."""

from __future__ import annotations

import numpy as np

from kitsbench.data.phantom.canvas import Canvas
from kitsbench.data.phantom.fields import Box, Vector, path, vector
from kitsbench.data.phantom.patient import Patient
from kitsbench.data.phantom.trunk import diaphragm_height, spine_centre


def paint_organs(canvas: Canvas, patient: Patient) -> None:
    """Paint the organs of the abdomen; the kidneys come after them."""
    rng = np.random.default_rng([patient.seed, 1])
    _paint_solid_organs(canvas, patient, rng)
    _paint_colon(canvas, patient, rng)
    _paint_small_bowel(canvas, patient, rng)
    _paint_vessels(canvas, patient, rng)


def _under_diaphragm(canvas: Canvas, patient: Patient, box: Box, margin: float) -> np.ndarray:
    z, y, x = canvas.grid.part(box).offsets((0.0, 0.0, 0.0))
    return z < diaphragm_height(patient, y, x) - margin


def _paint_solid_organs(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    contrast, body = patient.contrast, patient.body
    size = body.liver_size
    lean = float(rng.normal(0, 6))
    parts: list[tuple[Vector, Vector]] = [
        ((58.0 + lean, 12.0, 76.0), (82.0 * size, 84.0, 70.0 * size)),
        ((78.0 + lean, 48.0, 6.0), (34.0 * size, 40.0, 78.0 * size)),
    ]
    for centre, axes in parts:
        found = canvas.ellipsoid(centre, axes)
        if found is None:
            continue
        box, rho2 = found
        part = canvas.grid.part(box)
        wide, middle = canvas.fields.wide.on(part), canvas.fields.middle.on(part)
        inside = (rho2 + np.float32(0.10) * wide < 1) & canvas.free[box]
        inside &= _under_diaphragm(canvas, patient, box, 3.0)
        hu = np.float32(contrast.liver) + np.float32(6) * canvas.texture[box]
        # Vessels of the liver lie where a smooth field crosses zero.
        vessel = (np.abs(middle) < 0.09) & (rho2 < 0.8) & (wide > -0.3)
        hu += np.where(vessel, np.float32(0.35 * contrast.vena_cava), np.float32(0))
        canvas.paint(box, inside, hu)
    canvas.organ((38.0, 48.0, 42.0), (22.0, 13.0, 12.0), 11.0, 3.0)  # gallbladder
    grown = body.spleen_size
    spleen = canvas.organ(
        (60.0 + float(rng.normal(0, 8)), -14.0, -106.0),
        (48.0 * grown, 46.0 * grown, 28.0 * grown),
        contrast.spleen,
        6.0,
    )
    if spleen is not None:
        box, inside = spleen
        above = inside & ~_under_diaphragm(canvas, patient, box, 3.0)
        canvas.paint(box, above, contrast.fat)
    _paint_stomach(canvas, patient, rng)
    pancreas = [(32.0, 40.0, 38.0), (22.0, 46.0, 12.0), (34.0, 40.0, -28.0), (48.0, 18.0, -70.0)]
    pancreas_hu = 0.5 * (contrast.liver + contrast.spleen)
    for centre, radius in path(pancreas, [13.0, 10.0, 10.0, 8.0], 5.0):
        canvas.ball(centre, radius, pancreas_hu, 12.0)
    duodenum = [(38.0, 45.0, 48.0), (-8.0, 34.0, 50.0), (-26.0, 33.0, 20.0), (-24.0, 36.0, -22.0)]
    for hollow in (False, True):
        for centre, radius in path(duodenum, [13.0, 13.0, 11.0, 11.0], 5.0):
            gut_hu = 22.0 if hollow else contrast.bowel_wall
            canvas.ball(centre, radius - 3.5 if hollow else radius, gut_hu, 8.0)
    for side in (1, -1):  # adrenal glands
        start: Vector = (46.0, -2.0, side * 40.0)
        for centre, radius in path([start, (36.0, -12.0, side * 48.0)], [3.5, 3.0], 2.0):
            canvas.ball(centre, radius, contrast.spleen - 25)


def _paint_stomach(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    full = float(rng.uniform(0.75, 1.15))
    gas_level = float(rng.uniform(60.0, 95.0))
    content = float(rng.uniform(10.0, 55.0))
    low = float(rng.uniform(0.0, 20.0))
    points = [(92.0, 22.0, -58.0), (62.0 - low, 62.0, -62.0), (42.0 - low, 72.0, -12.0)]
    radii = [34.0 * full, 31.0 * full, 20.0 * full]
    for hollow in (False, True):
        for centre, radius in path(points, radii, 9.0):
            found = canvas.ellipsoid(centre, (radius - 4.5 * hollow,) * 3)
            if found is None:
                continue
            box, rho2 = found
            inside = (rho2 < 1) & canvas.free[box] & _under_diaphragm(canvas, patient, box, 2.0)
            if not hollow:
                canvas.paint(box, inside, patient.contrast.bowel_wall, 8.0)
                continue
            canvas.paint(box, inside, content, 14.0)
            # The patient lies on the back, so that gas collects in front.
            gas = inside & (canvas.grid.y[box[1]] > gas_level)[None, :, None]
            canvas.paint(box, gas, -960.0)


def _lumen(
    canvas: Canvas, balls: list[tuple[Vector, float]], wall: float, wall_hu: float, gas: float
) -> None:
    """Paint a tube with a wall; in front of ``gas`` (mm above each centre) it holds gas."""
    for centre, radius in balls:
        canvas.ball(centre, radius, wall_hu, 8.0)
    for centre, radius in balls:
        inner = radius - wall
        found = canvas.ellipsoid(centre, (inner, inner, inner)) if inner > 1 else None
        if found is None:
            continue
        box, rho2 = found
        inside = (rho2 < 1) & canvas.free[box]
        canvas.paint(box, inside, 18.0, 16.0)
        level = (canvas.grid.y[box[1]] > centre[1] + gas)[None, :, None]
        canvas.paint(box, inside & level, -930.0)


def _paint_colon(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    body = patient.body
    inner = body.half_width - body.fat_layer - body.muscle_layer - 22.0
    front = body.front - body.fat_layer - body.muscle_layer - 20.0
    shift = rng.normal(0, 8, size=6)
    right = [
        (-170.0, 12.0, 0.80 * inner),
        (-90.0, 12.0 + shift[0], 0.94 * inner),
        (-22.0 + shift[1], 14.0, 0.92 * inner),
        (-18.0 + shift[1], min(55.0, front), 0.72 * inner),
    ]
    across = [
        right[-1],
        (-34.0 + shift[2], front, 0.25 * inner),
        (-16.0 + shift[3], front, -0.35 * inner),
        (22.0 + shift[4], min(48.0, front), -0.80 * inner),
    ]
    left = [across[-1], (28.0, 2.0, -0.97 * inner), (-70.0, 2.0 + shift[5], -0.98 * inner)]
    left.append((-180.0, 8.0, -0.84 * inner))
    for points, radius in ((right, 20.0), (across, 15.0), (left, 13.0)):
        balls = path([vector(p) for p in points], [radius] * len(points), 5.0)
        # Haustra: the radius swells and narrows along the gut.
        swell = 1 + 0.16 * np.sin(np.arange(len(balls)) * 1.15 + float(rng.uniform(0, 6)))
        balls = [(c, float(r * s)) for (c, r), s in zip(balls, swell, strict=True)]
        gas = float(rng.uniform(-6.0, 8.0))
        _lumen(canvas, balls, 3.2, patient.contrast.bowel_wall - 15, gas)


def _paint_small_bowel(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    body = patient.body
    front = body.front - body.fat_layer - body.muscle_layer - 14.0
    inner = 0.62 * (body.half_width - body.fat_layer - body.muscle_layer)
    for _ in range(16):
        start = np.array(
            [rng.uniform(-190, 0), rng.uniform(30, max(front, 40)), rng.uniform(-inner, inner)]
        )
        heading = rng.standard_normal(3)
        points = [start]
        for _ in range(6):
            heading = 0.55 * heading + rng.standard_normal(3)
            heading /= np.sqrt((heading**2).sum())
            step = points[-1] + 22 * heading
            low, high = (-200, 24, -inner), (8, max(front, 34), inner)
            points.append(np.clip(step, low, high))
        radius = float(rng.uniform(9.5, 13.5))
        balls = path([vector(p) for p in points], [radius] * 7, 5.0)
        gas = float(rng.uniform(-2.0, 6.0)) if rng.random() < 0.2 else 99.0
        _lumen(canvas, balls, 3.0, patient.contrast.bowel_wall, gas)
    for _ in range(24):  # vessels of the mesentery, bright dots in fat
        z, y, x = rng.uniform(-170, -5), rng.uniform(22, max(front - 10, 30)), rng.uniform(-40, 40)
        ends = [
            (z, y, x),
            vector(v + 12 * d for v, d in zip((z, y, x), rng.normal(size=3), strict=True)),
        ]
        for centre, radius in path(ends, [2.6, 2.0], 2.5):
            canvas.ball(centre, radius, patient.contrast.vena_cava + 20)


def _paint_vessels(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    contrast = patient.contrast
    heights = np.arange(-340.0, 460.0, 4.0)
    cy, cx = spine_centre(patient, heights)
    wave = 3.0 * np.sin(heights / 55.0 + float(rng.uniform(0, 6)))
    width = float(rng.uniform(9.0, 12.0))
    plaque = rng.random() < 0.5
    radius = np.where(heights < -95, 0.65, 1.0) * width
    apart = np.clip((-95 - heights) * 0.35, 0, 45)  # below, the aorta divides
    forward = 30.0 - np.clip((heights - 80) * 0.35, 0, 30)
    for arm in (-1.0, 1.0):
        for k, height in enumerate(heights):
            x = cx[k] - 13 + wave[k] + arm * apart[k]
            x -= 10 * np.clip((height - 80) / 60, 0, 1)
            centre = (float(height), float(cy[k] + forward[k]), float(x))
            _vessel_ball(canvas, centre, float(radius[k]), contrast.aorta)
            if plaque and arm > 0 and k % 7 == 3 and height < 60:
                side = (centre[0], centre[1] - 0.8 * radius[k], centre[2] + 0.5 * radius[k])
                _vessel_ball(canvas, vector(side), 3.0, 550.0)
    for k, height in enumerate(heights):
        if height > 135:
            break
        forward_cava = 28.0 + np.clip(height * 0.12, -4, 16)
        centre = (float(height), float(cy[k] + forward_cava), float(cx[k] + 22 + 0.4 * wave[k]))
        _vessel_ball(canvas, centre, width * 1.05, contrast.vena_cava)
    for kidney in patient.kidneys:
        towards = kidney.frame[2] * kidney.axes[2]
        hilum = vector(c + 0.75 * t for c, t in zip(kidney.centre, towards, strict=True))
        level = int(np.argmin(np.abs(heights - hilum[0] - 8)))
        aorta = (hilum[0] + 12.0, float(cy[level] + 29), float(cx[level] - 13 + wave[level]))
        cava = (hilum[0] + 8.0, float(cy[level] + 31), float(cx[level] + 22))
        behind = (hilum[0] + 6.0, 0.5 * (hilum[1] + aorta[1]) - 3, 0.5 * (hilum[2] + aorta[2]))
        for centre, r in path([aorta, behind, hilum], [3.2, 3.2, 2.8], 2.5):
            canvas.ball(centre, r, contrast.aorta)
        bend = (hilum[0] + 2.0, 0.5 * (hilum[1] + cava[1]) + 9, 0.5 * (hilum[2] + cava[2]))
        for centre, r in path([cava, bend, hilum], [6.0, 5.5, 5.0], 3.0):
            canvas.ball(centre, r, 0.5 * (contrast.vena_cava + contrast.cortex))


def _vessel_ball(canvas: Canvas, centre: Vector, radius: float, hu: float) -> None:
    """Like a ball, but great vessels keep their place beside the spine and in the chest."""
    found = canvas.ellipsoid(centre, (radius, radius, radius))
    if found is not None:
        box, rho2 = found
        canvas.paint(box, (rho2 < 1) & (canvas.hu[box] < 900) & (canvas.hu[box] > -1000), hu, 4.0)
