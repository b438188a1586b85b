"""Pools for slabs: patches of a few slices over a wide plane."""

from __future__ import annotations

from dataclasses import replace

from kitsbench.architecture import Key
from kitsbench_plugins.blocks import Pooling, Shape, plan_pooling

THIN_AXIS = Key(
    "pool",
    "CHOICE: section 3.1 of Sun et al. 2019 has slabs of 4 slices, which cannot be halved 3 times",
    options=("pool", "keep"),
    help="in slabs: halve the thin axis first, while it is even, or never",
)


def plan_slab_pooling(wanted: Shape, steps: int, bottom: int, thin_axis: str) -> Pooling:
    """Choose strides as :func:`plan_pooling` does, unless the patch is a slab.

    A slab has one axis too thin to be halved at all with ``bottom`` voxels left, and two that can
    be halved ``steps`` times. Its thin axis is halved in the first steps, for as long as it is
    even, down to one slice: the plane leaves voxels enough for batch statistics.

    Parameters
    ----------
    wanted : (int, int, int)
        Patch that is asked for, voxels.
    steps : int
        Halvings of the paper's network.
    bottom : int
        Smallest edge at the bottom of an ordinary axis, voxels.
    thin_axis : {"pool", "keep"}
        ``keep`` leaves the thin axis of a slab alone.
    """
    whole = bottom * 2**steps
    thin = [axis for axis, edge in enumerate(wanted) if edge < 2 * bottom]
    wide = [axis for axis, edge in enumerate(wanted) if edge >= whole]
    if len(thin) != 1 or len(wide) != 2:
        found = plan_pooling(wanted, steps, bottom)
        # What was rounded up may have become a slab.
        again = found.patch != wanted
        return plan_slab_pooling(found.patch, steps, bottom, thin_axis) if again else found
    axis, edge, count = thin[0], wanted[thin[0]], 0
    while thin_axis == "pool" and count < steps and edge % 2 == 0:
        edge, count = edge // 2, count + 1
    plane = plan_pooling(_with(wanted, axis, whole), steps, bottom)
    strides = tuple(_with(s, axis, 2 if i < count else 1) for i, s in enumerate(plane.strides))
    rule = replace(
        plane.size_rule,
        multiple=_with(plane.size_rule.multiple, axis, 2**count),
        minimum=_with(plane.size_rule.minimum, axis, 2**count),
    )
    note = (
        f"The patch is a slab of {wanted[axis]} slices: across it is halved {count} times, in the "
        f"first steps, and in the plane {steps} times."
    )
    return Pooling(strides, _with(plane.patch, axis, wanted[axis]), rule, note)


def _with(edges: Shape, axis: int, value: int) -> Shape:
    changed = list(edges)
    changed[axis] = value
    return tuple(changed)  # type: ignore[return-value]
