"""Changes of intensity, each of one sample of network input, in place.

Every function takes the sample ``x`` (z, y, x), float32, the transform, and the numbers that were
drawn for it, so that it can be applied again to another grid of the same sample. The numbers are
arguments of kernels, so that nothing is copied to a device for them, and nothing waits. Filters are
sums and no matrix products, so that no setting of their precision reaches them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kitsbench.recipe import Transform

TINY = 1e-6
CHUNK = 32768  # voxels that a CPU filters at a time, so that they stay in its cache


@dataclass(frozen=True)
class Change:
    """A change of intensity with its numbers.

    Attributes
    ----------
    transform : Transform
    value : float
        Drawn from the transform's range.
    seed : int
        For noise.
    more : (float, float) or None
        Values along y and x, where each axis has its own.
    """

    transform: Transform
    value: float
    seed: int = 0
    more: tuple[float, float] | None = None

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
    source = generator_of(x.device, change.seed)
    x.add_(torch.empty_like(x).normal_(0, change.value, generator=source))


def generator_of(device: torch.device, seed: int) -> torch.Generator:
    """A generator of torch's on a device, seeded."""
    return torch.Generator(device=device).manual_seed(seed)


def _blur(x: Tensor, change: Change) -> None:
    """Gaussian, cut off at 4 sigma, mirrored at the ends."""
    widths = (change.value, *(change.more or (change.value, change.value)))
    along_z, along_y, along_x = map(blur_weights, widths)
    x.copy_(filtered(x, 0, along_z))
    # Chunks lie across the first axis, along which nothing is filtered any more.
    planes = max(1, CHUNK // x[0].numel()) if x.device.type == "cpu" else len(x)
    for part in x.split(planes):
        part.copy_(filtered(filtered(part, 1, along_y), 2, along_x))


def _brightness(x: Tensor, change: Change) -> None:
    x.mul_(change.value)


def _contrast(x: Tensor, change: Change) -> None:
    """Away from the sample's mean, within its range."""
    mean, (low, high) = x.mean(), torch.aminmax(x)
    x.sub_(mean).mul_(change.value).add_(mean).clamp_(low, high)


def _shift(x: Tensor, change: Change) -> None:
    if change.transform["of_sd"]:
        x.add_(_spread(x - x.mean()) * change.value)
    else:
        x.add_(change.value)


def _low_resolution(x: Tensor, change: Change) -> None:
    """Down to the nearest voxels, and up again linearly."""
    small = x
    for axis in sorted({int(axis) for axis in change.transform["axes"]}):
        voxels = nearest_voxels(x.shape[axis], change.value, x.device)
        small = small.index_select(axis, voxels)
    x.copy_(F.interpolate(small[None, None], size=x.shape, mode="trilinear")[0, 0])


CHANGES: Mapping[str, Callable[[Tensor, Change], None]] = {
    "gamma": _gamma,
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "shift": _shift,
    "low_resolution": _low_resolution,
}


def blur_weights(sigma: float) -> list[float]:
    """Weights of a Gaussian's middle and of one side, whose sum over both sides is 1."""
    half = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(int(4 * sigma + 0.5) + 1)]
    total = 2 * math.fsum(half) - half[0]
    return [weight / total for weight in half]


def filtered(x: Tensor, axis: int, weights: list[float]) -> Tensor:
    """Apply a symmetric filter along an axis of a volume that is mirrored at its ends.

    Parameters
    ----------
    x : Tensor (z, y, x)
    axis : int
    weights : list of float
        Of the middle, then of one side.
    """
    radius, length = len(weights) - 1, x.shape[axis]
    wide = mirrored(x, axis, radius)
    # Along the last axis the whole volume is shifted as one row, since short rows are slow; what
    # runs over from one row into the next falls into the rim, which is cut off.
    rows = axis == x.ndim - 1
    flat = wide.view(-1) if rows else wide
    size = flat.shape[0] - 2 * radius if rows else length
    along = 0 if rows else axis

    def shifted(by: int) -> Tensor:
        return flat.narrow(along, by, size)

    whole = torch.empty_like(flat)
    result = whole.narrow(along, 0, size)
    torch.mul(shifted(radius), weights[0], out=result)
    for step, weight in enumerate(weights[1:], 1):
        result.add_(shifted(radius - step), alpha=weight)
        result.add_(shifted(radius + step), alpha=weight)
    return whole.view(wide.shape).narrow(axis, 0, length)


def mirrored(x: Tensor, axis: int, radius: int) -> Tensor:
    """Lengthen a volume at both ends by its mirror image about the outer edge."""
    # Again and again where the filter is wider than the volume.
    while radius:
        length = x.shape[axis]
        part = min(radius, length)
        shape = list(x.shape)
        shape[axis] += 2 * part
        wide = x.new_empty(shape)
        wide.narrow(axis, part, length).copy_(x)
        wide.narrow(axis, 0, part).copy_(x.narrow(axis, 0, part).flip(axis))
        wide.narrow(axis, part + length, part).copy_(x.narrow(axis, length - part, part).flip(axis))
        x, radius = wide, radius - part
    return x.contiguous()


def nearest_voxels(length: int, zoom: float, device: torch.device) -> Tensor:
    """Voxels that are taken where an axis is sampled down, int64."""
    small = max(1, round(length * zoom))
    # In whole numbers, since some places lie on the edge of two voxels. Voxel k is taken from
    # floor((k + 1/2) length / small).
    places = torch.arange(small, device=device).mul_(2).add_(1).mul_(length)
    return places.div_(2 * small, rounding_mode="floor")
