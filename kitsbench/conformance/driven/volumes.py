"""A small dataset in memory, for trainings by the code that ``kitsbench run`` uses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from kitsbench.data.channels.derived import Derive, wanted_on, with_channels
from kitsbench.data.preparation.store import PreparedCase, PreparedStore
from kitsbench.spec import Grid, Spec

SPACING = (4.0, 2.0, 2.0)  # mm, (z, y, x), of the first grid
# HU of the window, what is taken off, and by what the rest is multiplied: from -2.5 to 2.5.
WINDOW = (-200.0, 300.0, 50.0, 0.01)
# Of the patch along each axis: one fits, some do not, so that tiles overlap and stand over.
LARGER = (1.0, 1.4, 0.75)


class Volumes(PreparedStore):
    """Two cases of balls within balls, at the spacing of one grid.

    Parameters
    ----------
    spec : Spec
        Whose first grid's patch the volumes are a little larger than, and whose labels they show.
    grid : Grid
    derive : callable
        The plugin's hook, given name and scan.
    """

    def __init__(self, spec: Spec, grid: Grid, derive: Derive):
        self.folder = Path("in-memory")
        self._labels, self._spacing = spec.labels, _scaled(SPACING, grid)
        larger = LARGER if spec.fit is None else (1.0, 1.0, 1.0)  # a whole scan fits the patch
        extent = [
            edge * size * factor
            for edge, size, factor in zip(spec.grids[0].shape, SPACING, larger, strict=True)
        ]
        # The native scan is that of the first grid.
        native = _geometry(extent, SPACING)
        self._cases = {
            name: _case(name, seed, extent, self._spacing, native, [v for _, v in spec.labels])
            for seed, name in enumerate(("case_00000", "case_00001"))
        }
        wanted = wanted_on(grid, spec)
        if wanted.anything:
            for name, case in self._cases.items():
                others = dict.fromkeys(
                    wanted.images, replace(case, image=case.image + np.int16(20))
                )
                self._cases[name] = with_channels(case, wanted, others, derive)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing (z, y, x) in mm of every case."""
        return self._spacing

    @property
    def labels(self) -> dict[str, int]:
        """Label values by name."""
        return dict(self._labels)

    @property
    def cases(self) -> list[str]:
        """Ids of the cases."""
        return list(self._cases)

    def case(self, case: str) -> PreparedCase:
        """One of the cases."""
        return self._cases[case]


def _scaled(spacing: tuple[float, float, float], grid: Grid) -> tuple[float, float, float]:
    z, y, x = (size * ratio for size, ratio in zip(spacing, grid.ratio, strict=True))
    return z, y, x


def _geometry(
    extent: list[float], spacing: tuple[float, float, float]
) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape, and the matrix from voxels (z, y, x) to mm; all grids begin at one corner."""
    shape = tuple(max(1, round(e / s)) for e, s in zip(extent, spacing, strict=True))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.array(spacing) / 2
    return shape, affine


def _case(
    name: str,
    seed: int,
    extent: list[float],
    spacing: tuple[float, float, float],
    native: tuple[tuple[int, ...], np.ndarray],
    values: list[int],
) -> PreparedCase:
    shape, affine = _geometry(extent, spacing)
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in shape]
    place = np.stack(np.meshgrid(*axes, indexing="ij"))
    side = -1 if seed else 1
    label = np.zeros(shape, dtype=np.uint8)
    image = np.full(shape, -100, dtype=np.int16)
    for rank, value in enumerate(values):
        middle = np.zeros((3, 1, 1, 1))
        if rank:
            middle[1 + (rank - 1) % 2] = 0.35 * side * (-1) ** rank
        inside = np.square(place - middle).sum(0) < (0.35 if rank else 0.9) ** 2
        label[inside], image[inside] = value, 100 * rank
    noise = np.random.default_rng(seed).normal(0, 10, shape)
    voxels = {value: np.argwhere(label == value).astype(np.int32) for value in values}
    return PreparedCase(
        id=name,
        image=(image + noise).astype(np.int16),
        label=label,
        spacing=spacing,
        affine=affine,
        native={
            "shape": native[0],
            "affine": native[1],
            "spacing": SPACING,
            "order": (0, 1, 2),
            "flipped": (False, False, False),
        },
        foreground={value: found for value, found in voxels.items() if len(found)},
    )
