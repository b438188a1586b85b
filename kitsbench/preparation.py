"""The words of preparation: how a scan becomes the voxels that networks see. Plain data, no torch.

Axis order is (z, y, x), lengths are mm, intensities HU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from kitsbench.errors import ContractError

Triple = tuple[float, float, float]
LARGEST_EDGE = 1000.0  # mm; a rule that asks for larger voxels asks for none


@dataclass(frozen=True)
class Preparation:
    """How the voxels of a grid are made out of a scan's own, whatever their size.

    It is undone where label maps go back to the scan's own voxels: what was cut off is background.

    Parameters
    ----------
    interpolation : {"linear", "cubic", "nearest"}
        Of images. ``cubic`` is the cubic B-spline that passes through all voxels.
    labels : {"nearest", "linear"}
        Of label maps. ``linear`` interpolates the share of each label; a voxel has the label whose
        share reaches one half, and none where no share does.
    slices_from : float or None
        Where the longest edge of the scan's voxels, or else of the grid's, is more than so many
        times the shortest, that axis takes the nearest slice, in images and in label maps; 3 in
        nnU-Net.
    crop_above : float or None
        HU: the scan is cut down to the box around all voxels that are brighter, such as those of
        the body; None leaves it whole. Other channels of a scan are cut as its CT is.

    Raises
    ------
    ContractError
        A value is none of these.
    """

    interpolation: Literal["linear", "cubic", "nearest"] = "linear"
    labels: Literal["nearest", "linear"] = "nearest"
    slices_from: float | None = None
    crop_above: float | None = None

    def __post_init__(self) -> None:
        known = {"interpolation": ("linear", "cubic", "nearest"), "labels": ("nearest", "linear")}
        for name, words in known.items():
            if getattr(self, name) not in words:
                raise ContractError(
                    f"preparation has {name}={getattr(self, name)!r:.40}; use {', '.join(words)}."
                )
        for name, least in (("slices_from", 1.0), ("crop_above", -math.inf)):
            value = getattr(self, name)
            if value is None:
                continue
            if not is_number(value) or value < least:
                rule = "a number from 1" if name == "slices_from" else "a number of HU"
                raise ContractError(f"preparation has {name}={value!r:.40}; give {rule}, or None.")
            # As files give it back, so that a recipe keeps its hash.
            object.__setattr__(self, name, float(value))


@dataclass(frozen=True)
class OwnVoxels:
    """Every scan keeps voxels of its own size, or of multiples of it.

    Parameters
    ----------
    times : (float, float, float)
        How many of the scan's own voxels an edge is long.
    """

    times: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        times = self.times
        if len(times) != 3 or not all(is_number(edge) and 0.01 <= edge <= 100 for edge in times):
            raise ContractError(f"OwnVoxels({times!r:.60}): give three numbers from 0.01 to 100.")


@dataclass(frozen=True)
class Coarsened:
    """The dataset's median voxel size, enlarged until few patches would cover the median scan.

    Parameters
    ----------
    patches : float
        The median scan has fewer voxels than so many patches of the recipe.
    factor : float
        By which edges grow at a time.
    alike : bool
        All edges grow at a time. Else those that are shorter than half of the longest one do, as
        long as there are such, as nnU-Net's planner does.
    """

    patches: float = 4.0
    factor: float = 2.0
    alike: bool = True

    def __post_init__(self) -> None:
        if not is_number(self.patches) or self.patches <= 0:
            raise ContractError(f"Coarsened(patches={self.patches!r}): give a number above 0.")
        if not is_number(self.factor) or self.factor < 1.001:
            raise ContractError(f"Coarsened(factor={self.factor!r}): give a number from 1.001.")

    def resolve(self, typical: Typical, patch: tuple[int, int, int]) -> Triple:
        """Voxel size in mm.

        Parameters
        ----------
        typical : Typical
        patch : (int, int, int)
            Voxels of the recipe's patch.

        Raises
        ------
        ContractError
            Not even huge voxels would do.
        """
        edges, most = list(typical.spacing), self.patches * math.prod(patch)
        while max(edges) < LARGEST_EDGE:
            shape = (length / edge for length, edge in zip(typical.extent, edges, strict=True))
            if math.prod(shape) < most:
                return edges[0], edges[1], edges[2]
            short = [2 * edge < max(edges) for edge in edges]
            grows = [True] * 3 if self.alike or not any(short) else short
            edges = [
                edge * self.factor if own else edge for edge, own in zip(edges, grows, strict=True)
            ]
        raise ContractError(
            f"no voxel size brings the median scan of {_mm(typical.extent)} mm below "
            f"{self.patches:g} patches of {'x'.join(map(str, patch))} voxels."
        )


Spacing = Triple | Literal["native", "median", "nnunet"] | OwnVoxels | Coarsened
"""What a recipe may say of the size of voxels."""


@dataclass(frozen=True)
class Typical:
    """What the scans of a dataset are like.

    Attributes
    ----------
    spacing : (float, float, float)
        Median voxel size in mm.
    extent : (float, float, float)
        Median size of a scan in mm.
    """

    spacing: Triple
    extent: Triple


def own_voxels(spacing: Spacing) -> OwnVoxels | None:
    """How many of its own voxels each scan gets; None where all have the same size in mm."""
    if spacing == "native":
        return OwnVoxels()
    return spacing if isinstance(spacing, OwnVoxels) else None


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and math.isfinite(value)  # type: ignore[arg-type]


def _mm(lengths: Triple) -> str:
    return "x".join(f"{length:.0f}" for length in lengths)
