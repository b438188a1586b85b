"""Augmentation of a whole batch on the device, with parameters drawn per sample.

One resampling pass does rotation, zoom, translation, mirroring and elastic deformation for all
grids with the same physical transform (image trilinear, labels nearest); intensity transforms
follow, in the order of the recipe. All parameters come from the counter-based generator, so the
augmentation of a step is a pure function of (seed, step).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kitsbench.architecture import Grid
from kitsbench.data.patches import Batch, generator
from kitsbench.recipe import Transform

SPATIAL = ("mirror", "rotation", "scale", "translation", "elastic")


def needed_margin(transforms: Sequence[Transform]) -> float:
    """How much larger than the patch the source must be, so that corners are seldom empty.

    The zoom is covered in full; the rotation up to what a cube's face needs, since covering its
    corners would double the voxels that are read.
    """
    margin = 1.0
    for transform in transforms:
        if transform.name == "scale":
            margin *= 1 / min(transform["range"][0], 1.0)
        if transform.name == "rotation":
            angle = math.radians(min(max(transform["degrees"]), 45.0))
            margin *= 1 + math.sin(angle) / 2
    return min(margin, 1.6)


class Augmenter:
    """Normalises and augments batches.

    Parameters
    ----------
    grids : sequence of Grid
        What the network wants.
    spacing : (float, float, float)
        mm, (z, y, x), of the first grid.
    transforms : sequence of Transform
        In order; empty for none.
    window : (float, float, float, float)
        ``low, high, shift, scale`` as of :meth:`kitsbench.recipe.Intensity.resolve`.
    seed : int
    """

    def __init__(
        self,
        grids: Sequence[Grid],
        spacing: tuple[float, float, float],
        transforms: Sequence[Transform],
        window: tuple[float, float, float, float],
        seed: int,
    ):
        self.grids, self.spacing, self.window, self.seed = tuple(grids), spacing, window, seed
        self.spatial = [t for t in transforms if t.name in SPATIAL]
        self.intensity = [t for t in transforms if t.name not in SPATIAL]

    @property
    def empty(self) -> float:
        """Network input of a voxel outside the scan."""
        low, _, shift, scale = self.window
        return (low - shift) * scale

    def __call__(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Network inputs and labels.

        Returns
        -------
        inputs : dict of str to Tensor
            {grid: (B, 1, z, y, x), float32}.
        labels : dict of str to Tensor
            {grid: (B, z, y, x), int64}.
        """
        size = len(batch.cases)
        rngs = [generator(self.seed, 3, batch.step, sample) for sample in range(size)]
        matrices, shifts, flips = self._affine(rngs)
        field = self._elastic(rngs)
        moved = ~np.isclose(matrices, np.eye(3)).all((1, 2)) | shifts.any(1)
        if field is not None:
            moved |= field.flatten(1).any(1).numpy()
        inputs, labels = {}, {}
        for grid in self.grids:
            image, label = self._place(batch, grid, moved, matrices, shifts, field)
            for index in range(size):
                axes = [int(axis) - 3 for axis in np.flatnonzero(flips[index])]
                if axes:
                    image[index] = image[index].flip(axes)
                    label[index] = label[index].flip(axes)
            inputs[grid.name], labels[grid.name] = image, label.long()
        for transform in self.intensity:
            drawn = [index for index in range(size) if rngs[index].random() < transform.probability]
            if drawn:
                self._change(inputs, transform, drawn, [rngs[index] for index in drawn])
        return inputs, labels

    def _place(
        self,
        batch: Batch,
        grid: Grid,
        moved: np.ndarray,
        matrices: np.ndarray,
        shifts: np.ndarray,
        field: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Cut the middle of the samples that stay, resample those that move."""
        image, label = batch.images[grid.name], batch.labels[grid.name]
        offset = batch.offsets[grid.name]
        moved = moved | offset.any(1).numpy()
        placed = self._normalise(_middle(image, grid.shape))
        marked = _middle(label, grid.shape).clone()
        chosen = np.flatnonzero(moved)
        if len(chosen):
            rows = torch.from_numpy(chosen)
            on_device = rows.to(image.device)
            where = self._sources(
                grid,
                image,
                matrices[chosen],
                shifts[chosen],
                offset[rows].to(image.device),
                None if field is None else field[rows],
            )
            placed[on_device], marked[on_device] = _resample(
                self._normalise(image[on_device]), label[on_device], where, self.empty
            )
        return placed, marked

    def _normalise(self, image: Tensor) -> Tensor:
        low, high, shift, scale = self.window
        return (image.float().clamp(low, high) - shift) * scale

    def _change(
        self,
        inputs: dict[str, Tensor],
        transform: Transform,
        drawn: list[int],
        rngs: Sequence[np.random.Generator],
    ) -> None:
        """Apply an intensity transform to the samples that were drawn, in place."""
        # Each grid sees the same change of the same sample: the parameters are drawn once.
        states = [rng.bit_generator.state for rng in rngs]
        for image in inputs.values():
            for rng, state in zip(rngs, states, strict=True):
                rng.bit_generator.state = state
            rows = torch.tensor(drawn, device=image.device)
            image[rows] = INTENSITY[transform.name](image[rows], transform, rngs)

    def _affine(
        self, rngs: Sequence[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrices (B, 3, 3) from output to source in mm, shifts (B, 3) in mm, flips (B, 3).

        Mirroring comes last, whatever its place in the recipe: it is then an exact flip, and most
        samples need no resampling.
        """
        matrices = np.tile(np.eye(3), (len(rngs), 1, 1))
        shifts = np.zeros((len(rngs), 3))
        flips = np.zeros((len(rngs), 3), dtype=bool)
        for transform in self.spatial:
            for index, rng in enumerate(rngs):
                # Drawn whether used or not, so that one transform does not shift the next one's.
                chance, values = rng.random(3), rng.uniform(-1, 1, 3)
                applied = chance[0] < transform.probability
                if transform.name == "mirror":
                    for axis in transform["axes"]:
                        flips[index, axis] ^= chance[axis] < transform.probability
                elif transform.name == "rotation" and applied:
                    angles = np.radians(transform["degrees"]) * values
                    matrices[index] = rotation_matrix(angles) @ matrices[index]
                elif transform.name == "scale" and applied:
                    first, last = transform["range"]
                    zoom = first + (last - first) * (values[0] + 1) / 2
                    matrices[index] = matrices[index] / zoom
                elif transform.name == "translation" and applied:
                    shifts[index] += np.array(transform["mm"]) * values
        return matrices, shifts, flips

    def _elastic(self, rngs: Sequence[np.random.Generator]) -> Tensor | None:
        """Displacements in mm on a control grid over the first grid, (B, 3, n, n, n), or None."""
        transform = next((t for t in self.spatial if t.name == "elastic"), None)
        if transform is None:
            return None
        extent = np.array(self.grids[0].shape) * np.array(self.spacing)
        count = np.maximum(np.ceil(extent / transform["spacing_mm"]).astype(int) + 1, 2)
        field = np.zeros((len(rngs), 3, *count), dtype=np.float32)
        for index, rng in enumerate(rngs):
            applied = rng.random() < transform.probability
            drawn = rng.standard_normal((3, *count)) * transform["magnitude_mm"]
            if applied:
                field[index] = drawn
        return torch.from_numpy(field) if field.any() else None

    def _sources(
        self,
        grid: Grid,
        image: Tensor,
        matrices: np.ndarray,
        shifts: np.ndarray,
        offset: Tensor,
        field: Tensor | None,
    ) -> Tensor:
        """Where each output voxel comes from, as ``grid_sample`` wants it: (B, z, y, x, 3)."""
        device = image.device
        mm = {"device": device, "dtype": torch.float32}
        spacing = torch.tensor(self.spacing, **mm) * torch.tensor(grid.ratio, **mm)
        axes = [(torch.arange(n, device=device) - (n - 1) / 2) for n in grid.shape]
        voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        place = (voxels * spacing).reshape(1, -1, 3)
        matrix = torch.from_numpy(matrices.astype(np.float32)).to(device)
        moved = place @ matrix.transpose(1, 2)
        moved = moved + torch.from_numpy(shifts.astype(np.float32)).to(device)[:, None]
        if field is not None:
            extent = torch.tensor(self.grids[0].shape, **mm) * torch.tensor(self.spacing, **mm)
            unit = (place / extent * 2).reshape(1, *grid.shape, 3).flip(-1)
            unit = unit.expand(len(matrices), -1, -1, -1, -1)
            bent = F.grid_sample(field.to(device), unit, padding_mode="border", align_corners=True)
            moved = moved + bent.flatten(2).transpose(1, 2)
        source = torch.tensor(image.shape[2:], device=device)
        index = moved / spacing + offset[:, None]
        unit = (index * 2 / source).flip(-1)
        return unit.reshape(len(matrices), *grid.shape, 3)


def rotation_matrix(angles: np.ndarray) -> np.ndarray:
    """Rotation about z, then y, then x, by angles (z, y, x) in radians; acts on (z, y, x)."""
    cz, cy, cx = np.cos(angles)
    sz, sy, sx = np.sin(angles)
    about_z = np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def _resample(image: Tensor, label: Tensor, where: Tensor, empty: float) -> tuple[Tensor, Tensor]:
    """Image trilinear, labels nearest; outside the source lies what lies outside the scan."""
    options = {"padding_mode": "zeros", "align_corners": False}
    image = F.grid_sample(image - empty, where, mode="bilinear", **options) + empty
    nearest = F.grid_sample(label[:, None].float(), where, mode="nearest", **options)
    return image, nearest[:, 0].to(label.dtype)


def _middle(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """Cut the middle of the last three axes."""
    for axis, edge in zip((-3, -2, -1), shape, strict=True):
        volume = volume.narrow(axis, (volume.shape[axis] - edge) // 2, edge)
    return volume


def _uniform(rngs: Sequence[np.random.Generator], low: float, high: float, like: Tensor) -> Tensor:
    """One number a sample, (B, 1, 1, 1, 1)."""
    values = np.array([rng.uniform(low, high) for rng in rngs], dtype=np.float32)
    return torch.from_numpy(values).to(like.device).view(-1, 1, 1, 1, 1)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    axes = (1, 2, 3, 4)
    return x.mean(axes, keepdim=True), x.std(axes, keepdim=True).clamp_min(1e-6)


def _gamma(x: Tensor, transform: Transform, rngs: Sequence[np.random.Generator]) -> Tensor:
    exponent = _uniform(rngs, *transform["range"], like=x)
    sign = -1.0 if transform["invert"] else 1.0
    x = x * sign
    mean, sd = _statistics(x)
    low = x.amin((1, 2, 3, 4), keepdim=True)
    extent = (x.amax((1, 2, 3, 4), keepdim=True) - low).clamp_min(1e-6)
    x = ((x - low) / extent) ** exponent
    new_mean, new_sd = _statistics(x)
    return sign * ((x - new_mean) / new_sd * sd + mean)


def _noise(x: Tensor, transform: Transform, rngs: Sequence[np.random.Generator]) -> Tensor:
    sd = _uniform(rngs, *transform["sd"], like=x)
    # torch's generator on the device, seeded by ours: a pure function of (seed, step) as well.
    source = torch.Generator(device=x.device).manual_seed(int(rngs[0].integers(2**62)))
    return x + sd * torch.randn(x.shape, generator=source, device=x.device, dtype=x.dtype)


def _blur(x: Tensor, transform: Transform, rngs: Sequence[np.random.Generator]) -> Tensor:
    sigma = _uniform(rngs, *transform["sigma"], like=x).view(-1, 1)
    radius = max(1, math.ceil(3 * transform["sigma"][1]))
    steps = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    size = len(x)
    y = x.transpose(0, 1)  # one group a sample, since each has its own sigma
    for axis in range(3):
        shape, pad = [size, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = 2 * radius + 1
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = radius
        y = F.conv3d(F.pad(y, pad, mode="replicate"), kernel.view(shape), groups=size)
    return y.transpose(0, 1)


def _brightness(x: Tensor, transform: Transform, rngs: Sequence[np.random.Generator]) -> Tensor:
    return x * _uniform(rngs, *transform["range"], like=x)


def _contrast(x: Tensor, transform: Transform, rngs: Sequence[np.random.Generator]) -> Tensor:
    mean, _ = _statistics(x)
    low, high = x.amin((1, 2, 3, 4), keepdim=True), x.amax((1, 2, 3, 4), keepdim=True)
    changed = (x - mean) * _uniform(rngs, *transform["range"], like=x) + mean
    return torch.minimum(torch.maximum(changed, low), high)


def _shift(x: Tensor, transform: Transform, rngs: Sequence[np.random.Generator]) -> Tensor:
    return x + _uniform(rngs, *transform["range"], like=x)


def _low_resolution(x: Tensor, transform: Transform, rngs: Sequence[np.random.Generator]) -> Tensor:
    zooms = [rng.uniform(*transform["zoom"]) for rng in rngs]
    results = []
    for sample, zoom in zip(x.split(1), zooms, strict=True):
        small = [max(1, round(n * zoom)) for n in x.shape[2:]]
        down = F.interpolate(sample, size=small, mode="nearest-exact")
        results.append(F.interpolate(down, size=x.shape[2:], mode="trilinear"))
    return torch.cat(results)


INTENSITY: Mapping[str, Callable[[Tensor, Transform, Sequence[np.random.Generator]], Tensor]] = {
    "gamma": _gamma,
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "shift": _shift,
    "low_resolution": _low_resolution,
}
