"""Where patches lie by the rules of recipes: a function of the case and of the generator alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kitsbench.data.preparation.store import PreparedCase
from kitsbench.recipe import Sampling
from kitsbench.spec import Spec

TRIES = 200  # single voxels that are looked at before all of them are


class Positions:
    """Draws centres of patches.

    Parameters
    ----------
    rule : Sampling
        Any but one of a function.
    batch : int
        Samples in a batch.
    spec : Spec
    """

    def __init__(self, rule: Sampling, batch: int, spec: Spec):
        self.rule, self.batch, self.values = rule, batch, dict(spec.labels)
        self.output = np.array(spec.reach)
        self.steps = np.full(3, rule.stride)
        if rule.overlap is not None:
            # A hair above, since a third of 3 voxels is 1.
            apart = np.floor(self.output * (1 - rule.overlap) + 1e-6).astype(int)
            self.steps = np.maximum(apart, 1)
        self._tiles: dict[str, np.ndarray] = {}

    def centre(self, case: PreparedCase, rng: np.random.Generator, sample: int) -> np.ndarray:
        """Centre in voxels of the first grid, where k + 0.5 is the middle of voxel k.

        Parameters
        ----------
        case : PreparedCase
            The volume of the first grid.
        rng : numpy.random.Generator
        sample : int
            Place in the batch.
        """
        half = self.output / 2
        if self.rule.rule == "lattice":
            return self._tile(case, rng) + half
        voxel = self._voxel(case, rng, sample)
        least = most = half
        if self.rule.centred:
            # As nnU-Net's loader lays them: a volume that is smaller than the patch in its middle,
            # or as near to it as whole voxels are, and no patch before the first voxel.
            missing = np.maximum(self.output - case.image.shape, 0)
            least = half - (missing + missing % 2) / 2
            most = least + missing % 2
        if voxel is None:
            return rng.uniform(least, np.maximum(case.image.shape - half, most))
        if self.rule.rule == "foreground" and not self.rule.centred:
            # Anywhere in the middle half of the patch, so that position is no hint.
            return voxel + 0.5 + rng.uniform(-half / 2, half / 2)
        middle = np.asarray(voxel + 0.5)
        return np.maximum(middle, least) if self.rule.centred else middle

    def _voxel(
        self, case: PreparedCase, rng: np.random.Generator, sample: int
    ) -> np.ndarray | None:
        """Voxel that the patch shall hold, or None for anywhere."""
        rule = self.rule
        # Sorted, since the order in which a store lists its labels is not part of the seed.
        present = sorted(value for value, where in case.foreground.items() if len(where))
        if rule.rule == "foreground" and present:
            forced = max(1, round(rule.fraction * self.batch)) if rule.fraction else 0
            # The last samples of a batch are the forced ones (as nnU-Net does).
            if sample < self.batch - forced:
                return None
            chosen = case.foreground[int(rng.choice(present))]
            return np.asarray(chosen[rng.integers(len(chosen))])
        if rule.rule != "mixture":
            return None
        if not present:
            return None if rule.background_above is None else self._background(case, rng)
        kinds, weights = zip(*rule.weights, strict=True)
        kind = str(rng.choice(kinds, p=weights))
        if kind == "background":
            voxel = self._background(case, rng)
            if voxel is not None:
                return voxel
        # A case without that label gives any of its foreground rather than air.
        value = self.values.get(kind)
        values = present if value is None or value not in present else [value]
        return foreground_voxel(case, values, rng)

    def _background(self, case: PreparedCase, rng: np.random.Generator) -> np.ndarray | None:
        """A voxel of label 0, above the rule's threshold; None where there is none."""
        label, image, above = case.label, case.image, self.rule.background_above
        assert label is not None
        for _ in range(TRIES):
            voxel = rng.integers(0, image.shape)
            place = tuple(voxel)
            if label[place] == 0 and (above is None or image[place] > above):
                return np.asarray(voxel)
        there = label == 0 if above is None else (label == 0) & (image > above)
        found = np.flatnonzero(there)
        if not len(found):
            return None
        chosen = found[rng.integers(len(found))]
        return np.stack(np.unravel_index(chosen, image.shape))

    def _tile(self, case: PreparedCase, rng: np.random.Generator) -> np.ndarray:
        """First voxel of a tile of the lattice."""
        if case.id not in self._tiles:
            assert case.label is not None
            self._tiles[case.id] = tiles_with(case.label > 0, self.output, self.steps)
        positive = self._tiles[case.id]
        chosen = positive == (rng.random() < self.rule.fraction)
        # Where all tiles are of one kind there is nothing to balance.
        places = np.flatnonzero(chosen if chosen.any() else ~chosen)
        place = np.unravel_index(places[rng.integers(len(places))], positive.shape)
        first, _ = lattice(case.image.shape, self.output, self.steps)
        return first + np.stack(place) * self.steps


def foreground_voxel(
    case: PreparedCase, values: Sequence[int], rng: np.random.Generator
) -> np.ndarray:
    """A voxel of some labels, all of their voxels being equally likely.

    Of large labels a part of the voxels is known; how likely one of them is follows from how many
    there are.
    """
    place = int(rng.integers(sum(case.count(value) for value in values)))
    for value in values:
        pool, count = case.foreground[value], case.count(value)
        if place < count:
            whole = len(pool) == count
            return np.asarray(pool[place if whole else rng.integers(len(pool))])
        place -= count
    raise AssertionError("no label holds the voxel")


def lattice(
    shape: Sequence[int], tile: Sequence[int] | np.ndarray, steps: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the tiles of a lattice lie that covers a volume.

    Parameters
    ----------
    shape, tile : sequence of int
        Voxels of the volume and of a tile (z, y, x).
    steps : sequence of int
        Voxels from one tile to the next.

    Returns
    -------
    first : ndarray of int (3,)
        Where the first tile begins: the tiles reach as far beyond the volume before it as behind.
    counts : ndarray of int (3,)
        Tiles along each axis.
    """
    edges, apart = np.array(tile), np.array(steps)
    counts = np.maximum(-((edges - shape) // apart), 0) + 1
    beyond = edges + (counts - 1) * apart - shape
    return -(beyond // 2), counts


def tiles_with(
    mask: np.ndarray, tile: Sequence[int] | np.ndarray, steps: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Which tiles of a lattice hold a voxel of a mask.

    Parameters
    ----------
    mask : ndarray of bool (z, y, x)
    tile, steps : sequence of int
        As of :func:`lattice`.

    Returns
    -------
    ndarray of bool
        For each tile (z, y, x).
    """
    firsts, counts = lattice(mask.shape, tile, steps)
    for axis in range(3):
        starts = firsts[axis] + steps[axis] * np.arange(counts[axis])
        rows = [slice(max(start, 0), start + tile[axis]) for start in starts]
        before = (slice(None),) * axis
        mask = np.stack([mask[(*before, row)].any(axis) for row in rows], axis)
    return mask


def on_whole_voxels(
    centre: np.ndarray,
    patch: Sequence[int] | np.ndarray,
    shape: Sequence[int] | None = None,
) -> np.ndarray:
    """The centre nearest to another with which a patch begins on a whole voxel.

    Of a voxel in the middle of a patch with even edges the patch has one voxel more before it than
    behind it, as MONAI's and nnU-Net's crops do, so that patches begin on voxels of both parities.

    Parameters
    ----------
    centre : ndarray
        Voxels, where k + 0.5 is the middle of voxel k.
    patch : sequence of int
        Voxels.
    shape : sequence of int, optional
        Of the volume, where the patch shall lie inside it. A volume that is smaller than the patch
        lies inside the patch.
    """
    half = np.array(patch) / 2
    # Not np.round, which takes halves to even numbers: every patch would begin on one.
    start = np.ceil(centre - half - 0.5)
    if shape is not None:
        room = np.array(shape) - np.array(patch)
        start = np.clip(start, np.minimum(room, 0), np.maximum(room, 0))
    return np.asarray(start + half)
