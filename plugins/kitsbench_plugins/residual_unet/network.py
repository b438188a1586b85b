"""Residual U-Net with strided residual units (Kerfoot et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kitsbench_plugins.blocks import Shape, crop_to, norm_act, pad_to_multiple, up_convolution


class ResidualUnit(nn.Module):
    """Convolutions with a shortcut around them.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : (int, int, int)
        Of the first convolution.
    convolutions : int
        3x3x3 convolutions, each with instance norm and PReLU.
    bare : bool
        The last convolution has no norm and no activation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: Shape = (1, 1, 1),
        convolutions: int = 2,
        *,
        bare: bool = False,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(convolutions):
            first = index == 0
            layers.append(
                nn.Conv3d(inputs if first else outputs, outputs, 3, stride if first else 1, 1)
            )
            if not (bare and index == convolutions - 1):
                layers += norm_act(outputs)
        self.convolutions = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if max(stride) > 1:
            self.shortcut = nn.Conv3d(inputs, outputs, 3, stride, 1)
        elif inputs != outputs:
            self.shortcut = nn.Conv3d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, z, y, x) to (B, outputs, z / stride, ...)."""
        return self.shortcut(features) + self.convolutions(features)


class ResidualUNetNetwork(nn.Module):
    """U-Net of residual units, halved by strides and doubled by transposed convolutions.

    Parameters
    ----------
    channels : sequence of int
        Of each level; the last is the bottom.
    strides : sequence of (int, int, int)
        Of each level but the bottom.
    classes : int
        Output channels.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[Shape], classes: int):
        super().__init__()
        self.multiple = [math.prod(edges) for edges in zip(*strides, strict=True)]
        sources = [1, *channels[:-2]]
        self.encoders = nn.ModuleList(
            ResidualUnit(source, target, stride)
            for source, target, stride in zip(sources, channels[:-1], strides, strict=True)
        )
        self.bottom = ResidualUnit(channels[-2], channels[-1])
        self.decoders = nn.ModuleList()
        below = channels[-1]
        for level in reversed(range(len(strides))):
            target = channels[level - 1] if level else classes
            self.decoders.append(
                nn.Sequential(
                    up_convolution(channels[level] + below, target, strides[level]),
                    *norm_act(target),
                    ResidualUnit(target, target, convolutions=1, bare=level == 0),
                )
            )
            below = target

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 1, z, y, x) to logits (B, classes, z, y, x)."""
        features = pad_to_multiple(images, self.multiple)
        skips = []
        for encoder in self.encoders:
            features = encoder(features)
            skips.append(features)
        features = self.bottom(features)
        for decoder in self.decoders:
            features = decoder(torch.cat([skips.pop(), features], 1))
        return crop_to(features, images.shape[2:])
