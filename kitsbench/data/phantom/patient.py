"""A made-up patient: a body, kidneys, tumours and cysts, and how they take up contrast."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kitsbench.data.phantom.fields import Vector, vector


@dataclass
class Contrast:
    """Mean HU of every tissue at the moment of the scan."""

    cortex: float
    medulla: float
    pelvis: float
    aorta: float
    vena_cava: float
    liver: float
    spleen: float
    muscle: float
    bowel_wall: float
    fat: float
    bone: float


@dataclass
class Body:
    """The trunk and its layers.

    Attributes
    ----------
    half_width, front, back : float
        mm from the middle of the trunk to the skin at the side, in front and behind.
    waist : float
        Share of the half width that is lost at the waist.
    fat_layer, muscle_layer : float
        Thickness of the fat below the skin and of the abdominal wall, mm.
    squareness : float
        0 for an ellipse; larger values fill the corners.
    lordosis, scoliosis : float
        How far the spine is bent to the front and to the side, mm.
    diaphragm : float
        Height of the diaphragm above the kidneys, mm.
    liver_size, spleen_size : float
        Factors on the usual organ.
    """

    half_width: float
    front: float
    back: float
    waist: float
    fat_layer: float
    muscle_layer: float
    squareness: float
    lordosis: float
    scoliosis: float
    diaphragm: float
    liver_size: float
    spleen_size: float


@dataclass
class Kidney:
    """A bean: half axes, bend, pose, and what is inside.

    Attributes
    ----------
    side : int
        1 for the patient's right, -1 for the left.
    centre : (float, float, float)
        mm.
    axes : (float, float, float)
        Half axes (long, thick, wide) in mm.
    frame : ndarray (3, 3)
        Its rows are the long axis, the direction of the thickness, and the direction towards the
        hilum, each (z, y, x).
    bend : float
        How far the poles lean towards the hilum, as a share of the wide half axis.
    sinus : float
        Factor on the usual size of the renal sinus.
    cortex_mm : float
        Thickness of the cortex.
    volume_ml : float
        Volume that the label shall have.
    perirenal_fat_mm : float
        Thickness of the fat round it.
    field_seed : int
        Of the lobes on its surface.
    """

    side: int
    centre: Vector
    axes: Vector
    frame: np.ndarray
    bend: float
    sinus: float
    cortex_mm: float
    volume_ml: float
    perirenal_fat_mm: float
    field_seed: int


@dataclass
class Lesion:
    """A tumour or a cyst: a ball with bumps.

    Attributes
    ----------
    kind : {"tumor", "cyst"}
    kidney : int
        Place in the patient's list of the kidney that it grows on.
    centre : (float, float, float)
        mm.
    radius : float
        Of the ball, mm.
    stretch : (float, float, float)
        Factors on the radius along (z, y, x).
    lobulation : float
        Height of the bumps as a share of the radius.
    hu : float
        Mean intensity of living tissue.
    texture : float
        SD of the intensities within it, HU.
    necrosis : float
        Squared relative radius of the dead core; 0 for none.
    histology : str
        A key of :data:`HISTOLOGY`, or ``cyst``.
    volume_ml : float
        Volume that the label shall have.
    field_seed : int
        Of the bumps.
    """

    kind: str
    kidney: int
    centre: Vector
    radius: float
    stretch: Vector
    lobulation: float
    hu: float
    texture: float
    necrosis: float
    histology: str
    volume_ml: float
    field_seed: int


@dataclass
class Patient:
    """Everything that is drawn at random for one case.

    Attributes
    ----------
    body : Body
    contrast : Contrast
    kidneys : list of Kidney
        The right one first; a solitary one is alone.
    lesions : list of Lesion
        Cysts, then tumours.
    seed : int
        Of the random fields that its tissues share.
    """

    body: Body
    contrast: Contrast
    kidneys: list[Kidney]
    lesions: list[Lesion] = field(default_factory=list)
    seed: int = 0

    def extent(self) -> tuple[Vector, Vector]:
        """Lowest and highest corner (z, y, x) in mm of a box around kidneys and lesions."""
        balls = [(k.centre, max(k.axes)) for k in self.kidneys]
        balls += [(x.centre, x.radius * max(x.stretch)) for x in self.lesions]
        low, high = (
            vector(pick(c[axis] + sign * r for c, r in balls) for axis in range(3))
            for pick, sign in ((min, -1), (max, 1))
        )
        return low, high
