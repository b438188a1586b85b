"""The canvas of the phantom: HU, labels and what is free to paint on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kitsbench.data.phantom.fields import Box, Grid, SmoothField, Vector, vector

REGION_LOW: Vector = (-480.0, -170.0, -240.0)
REGION_HIGH: Vector = (560.0, 210.0, 240.0)


@dataclass
class Fields:
    """Random fields that the whole patient shares, so that slabs of one case fit together."""

    wide: SmoothField
    middle: SmoothField
    fine: SmoothField

    @classmethod
    def draw(cls, seed: int) -> Fields:
        """Draw the fields from a seed; steps 40, 16 and 6 mm."""
        rng = np.random.default_rng(seed)
        return cls(*(SmoothField(rng, s, REGION_LOW, REGION_HIGH) for s in (40.0, 16.0, 6.0)))


@dataclass
class Canvas:
    """Points of a slab with what has been painted on them.

    Attributes
    ----------
    grid : Grid
        The points.
    hu : ndarray of float32 (z, y, x)
        Intensities.
    label : ndarray of uint8 (z, y, x)
        0 background, 1 kidney, 2 tumour, 3 cyst.
    free : ndarray of bool (z, y, x)
        Where organs may be: inside the abdominal wall, outside spine and back muscles.
    texture : ndarray of float32 (z, y, x)
        Fine random field, SD near 1.
    """

    grid: Grid
    fields: Fields
    hu: np.ndarray = field(init=False)
    label: np.ndarray = field(init=False)
    free: np.ndarray = field(init=False)
    texture: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.hu = np.full(self.grid.shape, -1000.0, dtype=np.float32)
        self.label = np.zeros(self.grid.shape, dtype=np.uint8)
        self.free = np.zeros(self.grid.shape, dtype=bool)
        self.texture = self.fields.fine.on(self.grid)

    def paint(
        self,
        box: Box,
        inside: np.ndarray,
        hu: float | np.floating | np.ndarray,
        texture: float = 0.0,
    ) -> None:
        """Set the HU of the points of a box where ``inside`` holds."""
        if texture:
            hu = hu + texture * self.texture[box]
        np.copyto(self.hu[box], hu, where=inside, casting="same_kind")

    def ellipsoid(
        self, centre: Vector, axes: Vector, frame: np.ndarray | None = None
    ) -> tuple[Box, np.ndarray] | None:
        """Box of an ellipsoid and, on it, the squared radius relative to the surface (1 on it)."""
        box = self.grid.box(centre, axes if frame is None else max(axes))
        if box is None:
            return None
        part = self.grid.part(box)
        z, y, x = part.offsets(centre) if frame is None else part.rotated(centre, frame)
        terms = [c * np.float32(1 / a) for c, a in zip((z, y, x), axes, strict=True)]
        return box, terms[0] ** 2 + terms[1] ** 2 + terms[2] ** 2

    def ball(self, centre: Vector, radius: float, hu: float, texture: float = 0.0) -> None:
        """Paint a ball where organs may be."""
        found = self.ellipsoid(centre, (radius, radius, radius))
        if found is not None:
            box, rho2 = found
            self.paint(box, (rho2 < 1) & self.free[box], hu, texture)

    def organ(
        self,
        centre: Vector,
        axes: Vector,
        hu: float,
        texture: float,
        bumps: float = 0.12,
        frame: np.ndarray | None = None,
    ) -> tuple[Box, np.ndarray] | None:
        """Paint an ellipsoid with a bumpy surface where organs may be; return box and inside."""
        wide = vector(a * (1 + bumps) for a in axes)
        found = self.ellipsoid(centre, wide, frame)
        if found is None:
            return None
        box, rho2 = found
        bump = self.fields.wide.on(self.grid.part(box))
        inside = (rho2 * np.float32((1 + bumps) ** 2) + np.float32(bumps) * bump) < 1
        inside &= self.free[box]
        self.paint(box, inside, hu, texture)
        return box, inside
