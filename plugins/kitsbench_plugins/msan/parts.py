"""What MSAN adds to a 3D U-Net: attention between scales, a Res2Net block, auxiliary heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsbench_plugins.blocks import Shape


def enlarge(features: Tensor, shape: Sequence[int]) -> Tensor:
    """Trilinear interpolation to a shape (z, y, x)."""
    return F.interpolate(features, size=tuple(shape), mode="trilinear", align_corners=False)


class MultiScaleAttention(nn.Module):
    """Recalibrates a skip by itself and coarser levels (Sun et al. 2019, section 2.2).

    The coarser maps are projected linearly: after a ReLU no value of the skip is negative, so
    that only a signed projection can bring a weight below one half.

    Parameters
    ----------
    channels : int
        Of the skip.
    coarser : sequence of int
        Channels of each coarser level that takes part.
    source : {"fine", "sum"}
        What the weight multiplies: the skip, or the skip plus the projected maps.
    """

    def __init__(self, channels: int, coarser: Sequence[int], source: str = "fine"):
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv3d(below, channels, 1) for below in coarser)
        self.source = source

    def fuse(self, skip: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """Sum of the skip and of the coarser levels at its size."""
        total = skip
        for projection, features in zip(self.projections, coarser, strict=True):
            total = total + enlarge(projection(features), skip.shape[2:])
        return total

    def weight(self, fused: Tensor) -> Tensor:
        """Weight in (0, 1) for each voxel and channel."""
        return fused.sigmoid()

    def forward(self, skip: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """Recalibrated skip, (B, channels, z, y, x)."""
        fused = self.fuse(skip, coarser)
        return (skip if self.source == "fine" else fused) * self.weight(fused)


def _normalised(inputs: int, outputs: int, kernel: int, momentum: float) -> list[nn.Module]:
    """Convolution without bias and batch normalisation."""
    return [
        nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm3d(outputs, momentum=momentum),
    ]


class Res2Block(nn.Module):
    """Res2Net block in 3D (Gao et al. 2019, doi:10.1109/TPAMI.2019.2938758).

    The channels are split into groups; each but the last is convolved, after the result of the one
    before was added to it.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    scale : int
        Groups; divides ``outputs``.
    momentum : float
        Of the running statistics of batch normalisation.
    """

    def __init__(self, inputs: int, outputs: int, scale: int, momentum: float):
        super().__init__()
        self.group = outputs // scale
        self.first = nn.Sequential(*_normalised(inputs, outputs, 1, momentum), nn.ReLU())
        self.convolutions = nn.ModuleList(
            nn.Sequential(*_normalised(self.group, self.group, 3, momentum), nn.ReLU())
            for _ in range(scale - 1)
        )
        self.last = nn.Sequential(*_normalised(outputs, outputs, 1, momentum))
        self.shortcut = nn.Sequential(*_normalised(inputs, outputs, 1, momentum))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, z, y, x) to (B, outputs, z, y, x)."""
        *groups, untouched = self.first(features).split(self.group, 1)
        found: list[Tensor] = []
        for convolution, group in zip(self.convolutions, groups, strict=True):
            found.append(convolution(group + found[-1] if found else group))
        mixed = self.last(torch.cat([*found, untouched], 1))
        return (mixed + self.shortcut(features)).relu()


class AuxiliaryHead(nn.Module):
    """Logits of full size from a pooled map (Sun et al. 2019, section 2.2).

    Parameters
    ----------
    channels, classes : int
    strides : sequence of (int, int, int)
        Of the pools above the map, finest first.
    up : {"trilinear", "deconv"}
        ``deconv``: a learned transposed convolution for each pool (Dou et al. 2016).
    """

    def __init__(self, channels: int, classes: int, strides: Sequence[Shape], up: str):
        super().__init__()
        self.head = nn.Conv3d(channels, classes, 1)
        learned = reversed(strides) if up == "deconv" else ()
        self.ups = nn.Sequential(
            *(nn.ConvTranspose3d(classes, classes, stride, stride) for stride in learned)
        )

    def forward(self, features: Tensor, shape: Sequence[int]) -> Tensor:
        """Logits (B, classes, z, y, x) of the shape that is asked for."""
        logits = self.ups(self.head(features))
        return logits if len(self.ups) else enlarge(logits, shape)
