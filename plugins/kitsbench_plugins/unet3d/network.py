"""The network of Cicek et al. 2016 (doi:10.1007/978-3-319-46723-8_49), figure 2."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kitsbench_plugins.blocks import crop_to, pad_to_multiple

Shape = tuple[int, int, int]


def double_convolution(
    inputs: int, middle: int, outputs: int, padding: int, momentum: float
) -> nn.Sequential:
    """Two 3x3x3 convolutions, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for source, target in ((inputs, middle), (middle, outputs)):
        layers += [
            nn.Conv3d(source, target, 3, padding=padding),
            nn.BatchNorm3d(target, momentum=momentum),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class UNet3DNetwork(nn.Module):
    """3D U-Net that doubles its channels before each max-pool.

    Parameters
    ----------
    base : int
        Channels of the first convolution; level l has base*2^l, then base*2^(l+1).
    strides : sequence of (int, int, int)
        Of each max-pool, first level first; the transposed convolutions mirror them.
    classes : int
        Output channels.
    valid : bool
        Convolutions without padding: the output is the centre of the input.
    momentum : float
        Of the running statistics of batch normalisation.
    """

    def __init__(
        self,
        base: int,
        strides: Sequence[Shape],
        classes: int,
        *,
        valid: bool = False,
        momentum: float = 0.1,
    ):
        super().__init__()
        padding = 0 if valid else 1
        widths = [base * 2 ** (level + 1) for level in range(len(strides) + 1)]
        self.valid = valid
        self.multiple = [math.prod(edges) for edges in zip(*strides, strict=True)]
        self.encoders = nn.ModuleList(
            double_convolution(
                1 if not level else widths[level - 1], wide // 2, wide, padding, momentum
            )
            for level, wide in enumerate(widths)
        )
        self.pools = nn.ModuleList(nn.MaxPool3d(stride, stride) for stride in strides)
        # Deepest first, in the order in which they are applied.
        down = list(reversed(list(zip(widths[:-1], widths[1:], strides, strict=True))))
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(deep, deep, stride, stride) for _, deep, stride in down
        )
        self.decoders = nn.ModuleList(
            double_convolution(deep + wide, wide, wide, padding, momentum) for wide, deep, _ in down
        )
        self.head = nn.Conv3d(widths[0], classes, 1)

    def encode(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Output of each level, the bottom last, and of each max-pool."""
        features = images if self.valid else pad_to_multiple(images, self.multiple)
        levels, pooled = [self.encoders[0](features)], []
        for encoder, pool in zip(self.encoders[1:], self.pools, strict=True):
            pooled.append(pool(levels[-1]))
            levels.append(encoder(pooled[-1]))
        return levels, pooled

    def decode(self, levels: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """Logits from the outputs of the levels, cut to the shape of the image."""
        *skips, features = levels
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            features = up(features)
            skip = crop_to(skip, features.shape[2:], centred=True)
            features = decoder(torch.cat([skip, features], 1))
        logits: Tensor = self.head(features)
        return logits if self.valid else crop_to(logits, shape)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 1, z, y, x) to logits (B, classes, z', y', x')."""
        levels, _ = self.encode(images)
        return self.decode(levels, images.shape[2:])
