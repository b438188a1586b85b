"""U-Net with spatial attention at both ends and channel attention at the bottom."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsbench_plugins.blocks import Shape, crop_to, norm_act, pad_to_multiple, up_convolution

REDUCTION = 16  # of the channel attention's hidden layer, as in CBAM


class SpatialAttention(nn.Module):
    """Map in (0, 1) of one channel, from the mean and the maximum over channels.

    Parameters
    ----------
    stride : (int, int, int)
        Change of size of the block that the map weights.
    grows : bool
        The block enlarges by ``stride`` instead of reducing.
    """

    def __init__(self, stride: Shape, *, grows: bool):
        super().__init__()
        self.convolution = nn.Conv3d(2, 1, 7, padding=3, bias=False)
        self.stride, self.grows = stride, grows

    def forward(self, features: Tensor) -> Tensor:
        """Map the block's input (B, C, z, y, x) to (B, 1, ...) of its output's size."""
        summary = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        weight = self.convolution(summary)
        if self.grows:
            scale = [float(step) for step in self.stride]
            weight = F.interpolate(weight, scale_factor=scale, mode="nearest")
        else:
            weight = F.max_pool3d(weight, self.stride, self.stride)
        return weight.sigmoid()


class ChannelAttention(nn.Module):
    """Weight in (0, 1) for each channel, from global average and maximum (CBAM with GELU).

    Parameters
    ----------
    channels : int
    floor : int
        Fewest hidden channels.
    """

    def __init__(self, channels: int, floor: int):
        super().__init__()
        hidden = max(floor, channels // REDUCTION)
        self.shared = nn.Sequential(
            nn.Conv3d(channels, hidden, 1, bias=False),
            nn.GELU(),
            nn.Conv3d(hidden, channels, 1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, z, y, x) to (B, C, 1, 1, 1)."""
        axes = (2, 3, 4)
        average = self.shared(features.mean(axes, keepdim=True))
        return (average + self.shared(features.amax(axes, keepdim=True))).sigmoid()


class ScauNetwork(nn.Module):
    """U-Net whose first and last block and bottom may be weighted by attention.

    Parameters
    ----------
    channels : sequence of int
        Of each encoder.
    bottom : int
        Channels of the bottom.
    strides : sequence of (int, int, int)
        Of each encoder; the first encoder already halves.
    classes : int
        Output channels.
    spatial, channel : bool
        Which attention is there.
    logit_prelu : bool
        A PReLU on the logits.
    floor : int
        Fewest hidden channels of the channel attention.
    """

    def __init__(
        self,
        channels: Sequence[int],
        bottom: int,
        strides: Sequence[Shape],
        classes: int,
        *,
        spatial: bool = True,
        channel: bool = True,
        logit_prelu: bool = True,
        floor: int = 2,
    ):
        super().__init__()
        self.multiple = [math.prod(edges) for edges in zip(*strides, strict=True)]
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Conv3d(source, target, 3, stride, 1), *norm_act(target))
            for source, target, stride in zip([1, *channels[:-1]], channels, strides, strict=True)
        )
        self.bottom = nn.Sequential(nn.Conv3d(channels[-1], bottom, 3, 1, 1), *norm_act(bottom))
        self.decoders = nn.ModuleList()
        below = bottom
        for level in reversed(range(1, len(channels))):
            target = channels[level - 1]
            self.decoders.append(
                nn.Sequential(
                    up_convolution(channels[level] + below, target, strides[level]),
                    *norm_act(target),
                )
            )
            below = target
        wide = channels[0] + below
        self.top = up_convolution(wide, wide, strides[0])
        self.head = nn.Conv3d(wide, classes, 1, bias=False)
        self.logit_act = nn.PReLU() if logit_prelu else nn.Identity()
        self.first_attention = SpatialAttention(strides[0], grows=False) if spatial else None
        self.last_attention = SpatialAttention(strides[0], grows=True) if spatial else None
        self.bottom_attention = ChannelAttention(channels[-1], floor) if channel else None

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 1, z, y, x) to logits (B, classes, z, y, x)."""
        features = pad_to_multiple(images, self.multiple)
        skips = []
        for index, encoder in enumerate(self.encoders):
            gate = self.first_attention if index == 0 else None
            features = _weighted(encoder, gate, features)
            skips.append(features)
        features = _weighted(self.bottom, self.bottom_attention, features)
        for decoder in self.decoders:
            features = decoder(torch.cat([skips.pop(), features], 1))
        features = torch.cat([skips.pop(), features], 1)
        logits = self.logit_act(self.head(_weighted(self.top, self.last_attention, features)))
        return crop_to(logits, images.shape[2:])


def _weighted(block: nn.Module, attention: nn.Module | None, features: Tensor) -> Tensor:
    """Output of a block times the attention that its input earns."""
    outputs = block(features)
    return outputs if attention is None else outputs * attention(features)
