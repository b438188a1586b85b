"""From the voxel sizes of a dataset's scans to the one that a recipe trains at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kitsbench.preparation import Coarsened, Typical
from kitsbench.preparation import Spacing as Rule

Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]

ANISOTROPIC = 3.0  # ANISO_THRESHOLD of nnU-Net v2
FINE = 10  # percentile of a coarse axis
APART = 1e-5  # mm by which a coarse axis stays coarser than the others


@dataclass(frozen=True)
class Voxels:
    """Voxel sizes and shapes of a dataset's scans.

    Attributes
    ----------
    spacings : tuple of (float, float, float)
        Of each scan, (z, y, x), mm.
    shapes : tuple of (int, int, int)
        In the same order, voxels.
    """

    spacings: tuple[Spacing, ...]
    shapes: tuple[Shape, ...]

    def by(self, rule: Rule, patch: Shape = (1, 1, 1)) -> Spacing:
        """What a recipe's rule gives here, mm, for a patch; the median where it names no other."""
        if isinstance(rule, tuple):
            return rule
        if isinstance(rule, Coarsened):
            extents = np.array(self.spacings) * self.shapes
            return rule.resolve(Typical(self.median(), _triple(np.median(extents, axis=0))), patch)
        return nnunet_spacing(self.spacings, self.shapes) if rule == "nnunet" else self.median()

    def median(self) -> Spacing:
        """Median of each axis, mm."""
        return _triple(np.median(self.spacings, axis=0))


def nnunet_spacing(spacings: Sequence[Spacing], shapes: Sequence[Shape]) -> Spacing:
    """Voxel size that nnU-Net plans at full resolution, mm.

    The median of each axis; but along the coarsest one, if its median is more than three times
    those of the others and it has less than a third of their voxels, the 10th percentile, and
    no less than the coarser of the others (``determine_fullres_target_spacing`` of nnU-Net v2,
    Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).

    Parameters
    ----------
    spacings : sequence of (float, float, float)
        Of each scan, mm.
    shapes : sequence of (int, int, int)
        In the same order, voxels.
    """
    target, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    coarse = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != coarse]
    widest = float(target[others].max())
    few = ANISOTROPIC * size[coarse] < size[others].min()
    if few and target[coarse] > ANISOTROPIC * widest:
        fine = float(np.percentile([spacing[coarse] for spacing in spacings], FINE))
        target[coarse] = fine if fine >= widest else widest + APART
    return _triple(target)


def _triple(values: np.ndarray) -> Spacing:
    z, y, x = values.tolist()
    return z, y, x
