"""Whether a label map is another one that was mirrored, turned or shifted.

In: two label maps of the same voxels. Out: in words what was done, if something was.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch import Tensor

AXES = "zyx"
FITS, MUCH = 0.6, 0.5  # Dice with what was moved, and the share of it that is left unmoved
SAME, LESS = 0.95, 0.02  # the same of shifts, which leave most of a label where it was
FARTHEST = 2  # voxels by which a map is shifted


def moved(found: Tensor, wanted: Tensor, *, shifts: bool = False) -> str:
    """Say how one label map was made of another, or nothing where that does not show.

    Parameters
    ----------
    found, wanted : Tensor
        (B, z, y, x), label values.
    shifts : bool
        Look for shifts by a few voxels too, for which both maps should be alike otherwise.

    Returns
    -------
    str
        Such as ``mirrored along z``, or nothing.
    """
    own = _dice(found, wanted)
    turned = max(_turns(wanted), key=lambda change: _dice(found, change[1]))
    fit = _dice(found, turned[1])
    if fit >= FITS and own < MUCH * fit:
        return turned[0]
    if not shifts:
        return ""
    shifted = max(_shifts(wanted), key=lambda change: _dice(found, change[1]))
    fit = _dice(found, shifted[1])
    return shifted[0] if fit >= SAME and own < fit - LESS else ""


def _turns(labels: Tensor) -> Iterator[tuple[str, Tensor]]:
    for count in (1, 2, 3):
        for axes in itertools.combinations(range(3), count):
            told = " and ".join(AXES[axis] for axis in axes)
            yield f"mirrored along {told}", labels.flip([axis + 1 for axis in axes])
    for order in itertools.permutations(range(3)):
        exchanged = labels.permute(0, *(axis + 1 for axis in order))
        if order != (0, 1, 2) and exchanged.shape == labels.shape:
            told = ", ".join(AXES[axis] for axis in order)
            yield f"with its axes in the order ({told})", exchanged


def _shifts(labels: Tensor) -> Iterator[tuple[str, Tensor]]:
    for axis in range(3):
        for by in range(-FARTHEST, FARTHEST + 1):
            if by:
                told = f"{abs(by)} voxel{'s' * (abs(by) > 1)}"
                yield f"shifted by {told} along {AXES[axis]}", labels.roll(by, axis + 1)


def _dice(one: Tensor, other: Tensor) -> float:
    """Dice of all labels together."""
    both = float(((one == other) & (other > 0)).sum())
    return 2 * both / max(float((one > 0).sum() + (other > 0).sum()), 1.0)
