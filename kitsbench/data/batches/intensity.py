"""Changes of intensity, each of one sample of network input, in place.

Every function takes the sample ``x`` (z, y, x), float32, the transform, and the numbers that were
drawn for it, so that it can be applied again to another grid of the same sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kitsbench.data.batches.warping import apply_along
from kitsbench.recipe import Transform

TINY = 1e-6


@dataclass(frozen=True)
class Change:
    """A change of intensity with its numbers.

    Attributes
    ----------
    transform : Transform
    value : float
        Drawn uniformly from the transform's range.
    seed : int
        For noise.
    """

    transform: Transform
    value: float
    seed: int = 0

    def apply(self, x: Tensor) -> None:
        """Change a sample (z, y, x) in place."""
        CHANGES[self.transform.name](x, self)


# The parameter of each transform that holds the range of its value.
RANGES = {
    "gamma": "range",
    "noise": "sd",
    "blur": "sigma",
    "brightness": "range",
    "contrast": "range",
    "shift": "range",
    "low_resolution": "zoom",
}


def _spread(centred: Tensor) -> Tensor:
    """Sd of values whose mean is 0; ``Tensor.std`` takes fifty times as long on a CPU."""
    length = math.sqrt(max(centred.numel() - 1, 1))
    return (torch.linalg.vector_norm(centred) / length).clamp_min(TINY)


def _gamma(x: Tensor, change: Change) -> None:
    """Power on the sample's own range, after which mean and sd are as before."""
    if change.transform["invert"]:
        x.neg_()
    mean, (low, high) = x.mean(), torch.aminmax(x)
    sd = _spread(x.sub_(mean))
    x.sub_(low - mean).clamp_min_(0).div_((high - low).clamp_min(TINY))
    # The darkest voxel is 0; its logarithm is -inf, which comes back as 0.
    x.log_().mul_(change.value).exp_()  # half the time of a power
    new_mean = x.mean()
    new_sd = _spread(x.sub_(new_mean))
    x.mul_(sd / new_sd).add_(mean)
    if change.transform["invert"]:
        x.neg_()


def _noise(x: Tensor, change: Change) -> None:
    """Gaussian noise, from torch's generator on the device, seeded by ours."""
    # A generator for each sample: the noise does not depend on what was drawn before it.
    source = torch.Generator(device=x.device).manual_seed(change.seed)
    x.add_(torch.empty_like(x).normal_(0, change.value, generator=source))


def _blur(x: Tensor, change: Change) -> None:
    _along_all(x, lambda length: blur_matrix(length, change.value))


def _brightness(x: Tensor, change: Change) -> None:
    x.mul_(change.value)


def _contrast(x: Tensor, change: Change) -> None:
    """Away from the sample's mean, within its range."""
    mean, (low, high) = x.mean(), torch.aminmax(x)
    x.sub_(mean).mul_(change.value).add_(mean).clamp_(low, high)


def _shift(x: Tensor, change: Change) -> None:
    x.add_(change.value)


def _low_resolution(x: Tensor, change: Change) -> None:
    _along_all(x, lambda length: zoom_matrix(length, change.value))


CHANGES: Mapping[str, Callable[[Tensor, Change], None]] = {
    "gamma": _gamma,
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "shift": _shift,
    "low_resolution": _low_resolution,
}


def _along_all(x: Tensor, matrix_of: Callable[[int], np.ndarray]) -> None:
    """Apply a separable linear filter, given as a matrix for each axis."""
    result = x
    for axis, length in enumerate(x.shape):
        matrix = torch.from_numpy(matrix_of(length).astype(np.float32)).to(x.device)
        result = apply_along(result, axis, matrix)
    x.copy_(result)


def blur_matrix(length: int, sigma: float) -> np.ndarray:
    """Gaussian kernel as a matrix (length, length), cut off at 4 sigma, mirrored at the ends."""
    radius = int(4 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    matrix = np.zeros((length, length))
    places = np.arange(length)
    for step, weight in zip(steps, kernel / kernel.sum(), strict=True):
        # Mirrored about the outer edge, again and again where the kernel is wider than the volume;
        # then several steps meet in one voxel, which ``+=`` would count once.
        period = (places + step) % (2 * length)
        np.add.at(matrix, (places, np.minimum(period, 2 * length - 1 - period)), weight)
    return matrix


def zoom_matrix(length: int, zoom: float) -> np.ndarray:
    """Sampling down to the nearest voxels and up again linearly, as a matrix (length, length)."""
    small = max(1, round(length * zoom))
    nearest = np.floor((np.arange(small) + 0.5) * length / small).astype(int)
    place = np.clip((np.arange(length) + 0.5) * small / length - 0.5, 0, small - 1)
    # A single sample has no second neighbour; it is its own.
    below = np.minimum(place.astype(int), max(small - 2, 0))
    share = place - below
    matrix = np.zeros((length, length))
    rows = np.arange(length)
    np.add.at(matrix, (rows, nearest[below]), 1 - share)
    np.add.at(matrix, (rows, nearest[np.minimum(below + 1, small - 1)]), share)
    return matrix
