"""From patch and voxel size to strides and kernels, as nnU-Net plans them.

The rules are those of ``get_pool_and_conv_props`` in nnU-Net v2 (Isensee et al. 2021,
doi:10.1038/s41592-020-01008-z, supplementary note on the network's topology).
"""

from __future__ import annotations

from dataclasses import dataclass

from kitsbench.architecture import SizeRule
from kitsbench_plugins.blocks import Shape

Spacing = tuple[float, float, float]

BOTTOM = 4  # smallest edge that is left by a halving, voxels
LONE = 3 * BOTTOM  # an axis is halved alone only from this edge on
NEAR = 2.0  # voxels up to this ratio count as equally fine
ISOTROPIC: Spacing = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Plan:
    """Shape of a network for one patch.

    Parameters
    ----------
    strides : tuple of (int, int, int)
        One for each step down.
    kernels : tuple of (int, int, int)
        One for each stage, the bottom included: one more than strides.
    patch : (int, int, int)
        Voxels that the network takes: what was asked for, rounded up.
    size_rule : SizeRule
        Shapes that the strides admit.
    """

    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]
    patch: Shape
    size_rule: SizeRule

    @property
    def stages(self) -> int:
        """Number of resolutions."""
        return len(self.kernels)


def plan(wanted: Shape, spacing: Spacing | None, most: int) -> Plan:
    """Plan a network.

    Each step halves the axes whose voxels are, by then, less than twice as large as the finest
    ones, as long as an axis has 8 voxels or more. A kernel is 3 along an axis from the stage on
    where its voxels come that close to the finest, and 1 before; at the bottom it is 3.

    Parameters
    ----------
    wanted : (int, int, int)
        Patch that is asked for, voxels.
    spacing : (float, float, float) or None
        Voxel size in mm; None for cubes.
    most : int
        Most stages, two at least.
    """
    patch = wanted
    while True:
        strides, kernels = _steps(patch, spacing or ISOTROPIC, most - 1)
        if strides:
            break
        # Too small to be halved once: the next larger patch.
        patch = tuple(max(2 * BOTTOM, BOTTOM * (edge // BOTTOM + 1)) for edge in patch)  # type: ignore[assignment]
    multiple = total_stride(strides)
    patch = tuple(-(-edge // step) * step for edge, step in zip(patch, multiple, strict=True))  # type: ignore[assignment]
    return Plan(strides, kernels, patch, SizeRule(multiple=multiple, minimum=_least(multiple)))


def total_stride(strides: tuple[Shape, ...]) -> Shape:
    """Voxels of the input, per axis, for one voxel after all strides."""
    total = [1, 1, 1]
    for stride in strides:
        total = [edge * step for edge, step in zip(total, stride, strict=True)]
    return tuple(total)  # type: ignore[return-value]


def _steps(
    patch: Shape, spacing: Spacing, most: int
) -> tuple[tuple[Shape, ...], tuple[Shape, ...]]:
    size, voxel = list(patch), list(spacing)
    kernel = [1, 1, 1]
    strides: list[Shape] = []
    kernels: list[Shape] = []
    while len(strides) < most:
        halved = _axes(size, voxel)
        if not halved or (len(halved) == 1 and size[halved[0]] < LONE):
            break
        kernel = [
            3 if edge < NEAR * min(voxel) else k for edge, k in zip(voxel, kernel, strict=True)
        ]
        kernels.append(tuple(kernel))  # type: ignore[arg-type]
        strides.append(tuple(2 if axis in halved else 1 for axis in range(3)))  # type: ignore[arg-type]
        for axis in halved:
            size[axis], voxel[axis] = -(-size[axis] // 2), 2 * voxel[axis]
    return tuple(strides), (*kernels, (3, 3, 3))


def _axes(size: list[int], voxel: list[float]) -> list[int]:
    """Axes that the next step halves."""
    large = [axis for axis in range(3) if size[axis] >= 2 * BOTTOM]
    finest = min((voxel[axis] for axis in large), default=0.0)
    return [axis for axis in large if voxel[axis] < NEAR * finest]


def _least(multiple: Shape) -> Shape:
    return tuple(BOTTOM * step if step > 1 else 1 for step in multiple)  # type: ignore[return-value]
