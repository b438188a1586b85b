"""What one phantom patient is made of: sizes, positions, counts and contrast, drawn from a seed.

The distributions of volumes and counts are those of the KiTS19 and KiTS23 training masks, the
intensities those of their images (Heller et al. 2019, arXiv:1904.00445; Heller et al. 2023,
arXiv:2307.01984). Coordinates are (z, y, x) in mm, z to the head, y to the front, x to the
patient's right, with the origin in the spine at the height of the kidneys.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from kitsbench.data.phantom.fields import rotation, vector
from kitsbench.data.phantom.patient import Body, Contrast, Kidney, Lesion, Patient

# Quantiles (probability, ml) measured on the 210 KiTS19 masks; cysts on 248 KiTS23 masks.
KIDNEY_ML = ((0.0, 75), (0.05, 119), (0.25, 169), (0.5, 208), (0.75, 248), (0.95, 321), (1.0, 420))
TUMOUR_ML = (
    *((0.0, 0.82), (0.05, 2.6), (0.1, 4.0), (0.25, 7.9), (0.5, 30.1)),
    *((0.75, 93.0), (0.9, 373.0), (0.95, 614.0), (1.0, 1100.0)),
)
# Which of these tumours are drawn, as probabilities: all of KiTS19, or those of 89 to 310 ml. They
# are 55 to 84 mm wide, so voxels of 8 mm show them and a patch of 128 mm what lies around them.
TUMOURS = {"all": (0.0, 1.0), "large": (0.74, 0.88)}
CYST_ML = (
    (0.0, 0.06),
    (0.05, 0.21),
    (0.25, 1.24),
    (0.5, 4.4),
    (0.75, 21.4),
    (0.95, 95),
    (1.0, 180),
)

BODY_HALF_WIDTH, BODY_HALF_WIDTH_SD = 153.0, 11.0  # between patients, mm

# Histology: share, mean and spread of the mean HU, heterogeneity (1 = usual).
HISTOLOGY = {
    "clear_cell": (0.72, 84.0, 36.0, 1.3),
    "papillary": (0.11, 52.0, 19.0, 0.5),
    "chromophobe": (0.09, 81.0, 30.0, 0.7),
    "oncocytoma": (0.06, 104.0, 33.0, 0.8),
    "angiomyolipoma": (0.02, 60.0, 25.0, 1.6),
}


def quantile(table: tuple[tuple[float, float], ...], probability: float) -> float:
    """Volume in ml at a probability, log-linear between the measured quantiles."""
    p, v = zip(*table, strict=True)
    return float(np.exp(np.interp(probability, p, np.log(v))))


def draw_contrast(rng: np.random.Generator) -> Contrast:
    """Draw the contrast phase, from corticomedullary to nephrographic, and the tissues' HU."""
    phase, flow, dose, *rest = (float(v) for v in rng.standard_normal(12))
    difference = max(5.0, 66.0 + 35.0 * phase)
    cortex = float(np.clip(166.0 + 50.0 * (0.5 * phase + 0.87 * dose), 85.0, 320.0))
    return Contrast(
        cortex=cortex,
        medulla=max(45.0, cortex - difference),
        # In late scans contrast has reached the pelvis; these are few in KiTS.
        pelvis=10.0 + 5.0 * rest[0] if phase > -1.6 else 240.0,
        aorta=float(np.clip(250.0 + 50.0 * (0.75 * phase + 0.66 * flow), 130.0, 400.0)),
        vena_cava=float(np.clip(125.0 - 15.0 * phase + 20.0 * rest[1], 60.0, 220.0)),
        liver=float(np.clip(80.0 - 14.0 * phase + 9.0 * rest[2], 40.0, 125.0)),
        spleen=float(np.clip(104.0 - 4.0 * phase + 12.0 * rest[3], 60.0, 150.0)),
        muscle=57.0 + 5.0 * rest[4],
        bowel_wall=75.0 + 12.0 * rest[5],
        fat=-102.0 + 6.0 * rest[6],
        bone=220.0 + 40.0 * rest[7],
    )


def draw_body(rng: np.random.Generator) -> Body:
    """Draw the trunk."""
    stout = float(rng.standard_normal())
    return Body(
        half_width=float(np.clip(BODY_HALF_WIDTH + BODY_HALF_WIDTH_SD * stout, 132.0, 178.0)),
        front=float(np.clip(102.0 + 14.0 * stout, 78.0, 140.0)),
        back=float(np.clip(88.0 + 5.0 * stout, 78.0, 104.0)),
        waist=float(rng.uniform(0.0, 0.06)),
        fat_layer=float(np.clip(15.0 + 7.0 * stout, 5.0, 36.0)),
        muscle_layer=float(rng.uniform(9.0, 14.0)),
        squareness=float(rng.uniform(0.2, 0.5)),
        lordosis=float(rng.uniform(0.0, 7.0)),
        scoliosis=float(rng.uniform(-5.0, 5.0)),
        diaphragm=float(rng.normal(118.0, 9.0)),
        liver_size=float(rng.uniform(0.9, 1.15)),
        spleen_size=float(rng.uniform(0.8, 1.25)),
    )


def kidney_frame(side: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Axes of a kidney: rows long axis, thickness, towards the hilum, each (z, y, x).

    The upper pole leans to the spine and to the back, and the hilum looks to the front.
    """
    lean, tip, turn = (14.0, 10.0, 32.0)
    if rng is not None:
        lean, tip, turn = rng.normal((lean, tip, turn), (5.0, 5.0, 9.0))
    hilum = np.deg2rad(turn)
    frame = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, np.cos(hilum), side * np.sin(hilum)],
            [0.0, np.sin(hilum), -side * np.cos(hilum)],
        ]
    )
    # Rows are directions in space: turn each by the lean (about y) and the tip (about x).
    return frame @ rotation(0.0, float(-side * lean), float(-tip)).T


def draw_kidneys(rng: np.random.Generator) -> list[Kidney]:
    """Draw one or two kidneys; about one patient in fifty has a solitary one."""
    shared = float(rng.standard_normal())
    solitary = rng.random() < 0.02
    missing = int(rng.integers(2))
    distance = float(np.clip(rng.normal(148.0, 15.0), 120.0, 180.0))
    depth = float(rng.normal(-7.0, 7.0))
    kidneys = []
    for index, side in enumerate((1, -1)):  # +1 is the right kidney
        own = float(rng.standard_normal())
        frame = kidney_frame(side, rng)
        wobble = rng.standard_normal(6)
        field_seed = int(rng.integers(2**62))
        fraction = NormalDist().cdf(0.86 * shared + 0.51 * own)
        volume = quantile(KIDNEY_ML, fraction)
        if solitary:
            if index == missing:
                continue
            volume = min(volume * 1.4, 420.0)
        # The label holds what is inside the bean; hilum and bend take about 8 % off the ellipsoid.
        shape = (1.85 * (1 + 0.06 * wobble[0]), 0.83 * (1 + 0.05 * wobble[1]), 1.0)
        unit = (volume * 1000.0 * 1.08 / (4.18879 * shape[0] * shape[1] * shape[2])) ** (1 / 3)
        kidneys.append(
            Kidney(
                side=side,
                centre=(
                    float((-9.0 if side > 0 else 5.0) + 8.0 * wobble[2]),
                    depth + 4.0 * float(wobble[3]),
                    side * (distance / 2 + 2.0 * float(wobble[4])),
                ),
                axes=(float(shape[0] * unit), float(shape[1] * unit), float(unit)),
                frame=frame,
                bend=float(np.clip(0.30 + 0.08 * wobble[5], 0.1, 0.5)),
                sinus=float(rng.uniform(0.85, 1.15)),
                cortex_mm=float(rng.uniform(6.0, 8.5)),
                volume_ml=volume,
                perirenal_fat_mm=float(rng.uniform(6.0, 16.0)),
                field_seed=field_seed,
            )
        )
    return kidneys


def _surface_point(kidney: Kidney, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Point on the ellipsoid and its outward normal (z, y, x) for a direction in the frame."""
    axes = np.array(kidney.axes)
    point = direction / np.sqrt(((direction / axes) ** 2).sum())
    normal = point / axes**2
    normal /= np.sqrt((normal**2).sum())
    return np.array(kidney.centre) + point @ kidney.frame, normal @ kidney.frame


def _direction(rng: np.random.Generator, outward: bool) -> np.ndarray:
    """Draw a direction in the kidney's frame that avoids the hilum; ``outward`` avoids the back."""
    while True:
        vector = rng.standard_normal(3)
        vector /= np.sqrt((vector**2).sum())
        if vector[2] < 0.35 and not (outward and vector[1] < -0.1):
            return vector


def _enhancement(rng: np.random.Generator, contrast: Contrast, histology: str) -> float:
    """Mean HU of a tumour: that of its histology, seldom brighter than the cortex."""
    _, mean, spread, _ = HISTOLOGY[histology]
    own, against = (float(v) for v in rng.standard_normal(2))
    hu = float(np.clip(mean + 4.0 + spread * own, 24.0, 185.0))
    return min(hu, contrast.cortex - 8.0 + 12.0 * against)


def _necrosis(rng: np.random.Generator, radius: float, histology: str) -> float:
    """Squared relative radius of the dead core: none in small tumours and in oncocytomas."""
    share = float(np.clip(rng.normal((radius - 18.0) / 50.0, 0.22), 0.0, 0.7))
    return 0.0 if histology == "oncocytoma" else share


def draw_look(rng: np.random.Generator, kind: str, volume_ml: float, contrast: Contrast) -> Lesion:
    """Draw the look of a mass whose place and shape are given by a mask.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    kind : {"tumor", "cyst"}
        What it is.
    volume_ml : float
        Its volume.
    contrast : Contrast
        Phase of the scan.
    """
    radius = float((volume_ml * 1000.0 / 4.18879) ** (1 / 3))
    names = list(HISTOLOGY)
    name = names[int(rng.choice(len(names), p=[HISTOLOGY[n][0] for n in names]))]
    if kind == "cyst":
        name, necrosis, texture = "cyst", 0.0, 2.0
        dense = rng.random() < 0.13
        hu = float(rng.uniform(40, 95)) if dense else float(rng.normal(16.0, 11.0))
    else:
        hu, texture = _enhancement(rng, contrast, name), 18.0 * HISTOLOGY[name][3]
        necrosis = _necrosis(rng, radius, name)
    return Lesion(
        kind=kind,
        kidney=0,
        centre=(0.0, 0.0, 0.0),
        radius=radius,
        stretch=(1.0, 1.0, 1.0),
        lobulation=0.0,
        hu=hu,
        texture=texture,
        necrosis=necrosis,
        histology=name,
        volume_ml=volume_ml,
        field_seed=0,
    )


def draw_tumours(
    rng: np.random.Generator, kidneys: list[Kidney], contrast: Contrast, tumors: str = "all"
) -> list[Lesion]:
    """Draw the tumours: one in most patients, sometimes more, sometimes on both sides."""
    low, high = TUMOURS[tumors]
    total = quantile(TUMOUR_ML, low + (high - low) * float(rng.random()))
    count = int(rng.choice([1, 2, 3], p=[0.945, 0.04, 0.015]))
    first = int(rng.integers(len(kidneys)))
    both = rng.random() < 0.4
    names = list(HISTOLOGY)
    shares = [HISTOLOGY[n][0] for n in names]
    lesions = []
    for k in range(count):
        name = names[int(rng.choice(len(names), p=shares))]
        volume = total if k == 0 else float(np.clip(total * rng.uniform(0.02, 0.3), 0.3, 40.0))
        radius = (volume * 1000.0 / 4.18879) ** (1 / 3)
        side = first if k == 0 or not both else len(kidneys) - 1 - first
        kidney = kidneys[side]
        stretch = rng.standard_normal(3)
        # Small ones may be buried (endophytic); large ones bulge outwards.
        bulge = float(np.clip(rng.normal(0.1 + radius / 110.0, 0.35), -0.9, 0.75))
        bulge = max(bulge, min(0.7, (radius - 22.0) / 40.0))  # a kidney seldom holds a large one
        direction = _direction(rng, outward=radius > 22)
        point, outward = _surface_point(kidney, direction)
        if radius > 28:  # there is room to the front and below, not to the spine or the back
            side_sign = 1.0 if kidney.centre[2] > 0 else -1.0
            outward = outward + np.array([0.3 * np.sign(outward[0]), 0.7, 0.15 * side_sign])
            outward /= np.sqrt((outward**2).sum())
        centre = point + bulge * radius * outward
        lesions.append(
            Lesion(
                kind="tumor",
                kidney=side,
                centre=vector(centre),
                radius=float(radius),
                stretch=vector(np.exp(0.10 * stretch)),
                lobulation=float(rng.uniform(0.05, 0.22)),
                hu=_enhancement(rng, contrast, name),
                texture=18.0 * HISTOLOGY[name][3],
                necrosis=_necrosis(rng, radius, name),
                histology=name,
                volume_ml=volume,
                field_seed=int(rng.integers(2**62)),
            )
        )
    return lesions


def draw_cysts(rng: np.random.Generator, kidneys: list[Kidney]) -> list[Lesion]:
    """Draw cysts: in half of the patients, mostly one or two, about one in ten hyperdense."""
    present = rng.random() < 0.52
    count = int(rng.choice([1, 2, 3, 4, 5, 7], p=[0.37, 0.26, 0.13, 0.09, 0.08, 0.07]))
    total = quantile(CYST_ML, float(rng.random()))
    shares = rng.exponential(size=7)[:count]
    shares = shares / shares.sum()
    lesions = []
    for k in range(count if present else 0):
        volume = float(max(total * shares[k], 0.08))
        radius = (volume * 1000.0 / 4.18879) ** (1 / 3)
        side = int(rng.integers(len(kidneys)))
        point, outward = _surface_point(kidneys[side], _direction(rng, outward=radius > 22))
        hyperdense = rng.random() < 0.13
        normal = rng.standard_normal(4)
        bulge = float(np.clip(rng.normal(radius / 60.0, 0.35), -0.9, 0.7))
        lesions.append(
            Lesion(
                kind="cyst",
                kidney=side,
                centre=vector(point + bulge * radius * outward),
                radius=float(radius),
                stretch=vector(np.exp(0.05 * normal[:3])),
                lobulation=0.03,
                hu=float(rng.uniform(40, 95)) if hyperdense else float(16.0 + 11.0 * normal[3]),
                texture=2.0,
                necrosis=0.0,
                histology="cyst",
                volume_ml=volume,
                field_seed=int(rng.integers(2**62)),
            )
        )
    return lesions


def draw_patient(rng: np.random.Generator, tumors: str = "all") -> Patient:
    """Draw one patient: trunk, contrast phase, kidneys, tumours and cysts.

    Parameters
    ----------
    rng : numpy.random.Generator
    tumors : {"all", "large"}
        Whether volumes are drawn from all of KiTS19's or from its large ones, 89 to 310 ml.
    """
    contrast = draw_contrast(rng)
    body = draw_body(rng)
    kidneys = draw_kidneys(rng)
    cysts = draw_cysts(rng, kidneys)
    tumours = draw_tumours(rng, kidneys, contrast, tumors)
    return Patient(body, contrast, kidneys, cysts + tumours, seed=int(rng.integers(2**62)))
