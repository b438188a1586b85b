"""The networks of Sun et al. 2019: the 3D U-Net with what MSAN adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kitsbench_plugins.blocks import Shape, crop_to
from kitsbench_plugins.msan.parts import AuxiliaryHead, MultiScaleAttention, Res2Block
from kitsbench_plugins.unet3d.network import UNet3DNetwork

TAPS = 2  # auxiliary heads: after the last two max-pools


class MsanNetwork(UNet3DNetwork):
    """3D U-Net whose skips are recalibrated by coarser levels.

    Parameters
    ----------
    base : int
        Channels of the first convolution.
    strides : sequence of (int, int, int)
        Of each max-pool, finest first.
    classes : int
        Output channels.
    momentum : float
        Of the running statistics of batch normalisation.
    source : {"fine", "sum"}
        What the attention multiplies.
    span : {"next", "all"}
        Coarser levels that a skip sees: the next, or all.
    res2 : {"off", "add", "concat"}
        A Res2Net block beside the bottom, and how both are merged; after ``concat`` a linear
        1x1x1 convolution brings the channels back to the bottom's.
    scale : int
        Groups of the Res2Net block.
    """

    def __init__(
        self,
        base: int,
        strides: Sequence[Shape],
        classes: int,
        *,
        momentum: float = 0.1,
        source: str = "fine",
        span: str = "next",
        res2: str = "off",
        scale: int = 4,
    ):
        super().__init__(base, strides, classes, momentum=momentum)
        self.widths = [base * 2 ** (level + 1) for level in range(len(strides) + 1)]
        self.strides = tuple(strides)
        self.span = span
        self.attention = nn.ModuleList(
            MultiScaleAttention(wide, self._seen(self.widths, level), source)
            for level, wide in enumerate(self.widths[:-1])
        )
        above, bottom = self.widths[-2:]
        self.res2 = None if res2 == "off" else Res2Block(above, bottom, scale, momentum)
        self.merge = nn.Conv3d(2 * bottom, bottom, 1) if res2 == "concat" else None

    def _seen(self, levels: Sequence[Any], level: int) -> Sequence[Any]:
        """Coarser levels that take part in the attention of a level."""
        return levels[level + 1 : level + 2 if self.span == "next" else None]

    def encode(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Output of each level, the bottom last, and of each max-pool."""
        levels, pooled = super().encode(images)
        if self.res2 is not None:
            beside = self.res2(pooled[-1])
            if self.merge is None:
                levels[-1] = levels[-1] + beside
            else:
                levels[-1] = self.merge(torch.cat([levels[-1], beside], 1))
        return levels, pooled

    def decode(self, levels: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """Logits from the outputs of the levels, cut to the shape of the image."""
        skips = [
            attention(levels[level], self._seen(levels, level))
            for level, attention in enumerate(self.attention)
        ]
        return super().decode([*skips, levels[-1]], shape)


class SupervisedMsan(nn.Module):
    """MSAN with auxiliary heads on the last pooled maps, which evaluation does without.

    Parameters
    ----------
    network : MsanNetwork
    classes : int
        Output channels.
    up : {"trilinear", "deconv"}
        How auxiliary logits become as large as the input.
    """

    def __init__(self, network: MsanNetwork, classes: int, up: str):
        super().__init__()
        self.network = network
        self.auxiliary = nn.ModuleDict(
            {
                name: AuxiliaryHead(network.widths[pool - 1], classes, network.strides[:pool], up)
                for name, pool in tap_names(len(network.strides)).items()
            }
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map {"image": (B, 1, z, y, x)} to {head: logits (B, classes, z, y, x)}."""
        image = inputs["image"]
        levels, pooled = self.network.encode(image)
        outputs = {"segmentation": self.network.decode(levels, image.shape[2:])}
        if self.training:
            for name, pool in tap_names(len(pooled)).items():
                logits = self.auxiliary[name](pooled[pool - 1], levels[0].shape[2:])
                outputs[name] = crop_to(logits, image.shape[2:])
        return outputs


def tap_names(pools: int) -> dict[str, int]:
    """Auxiliary heads: {name: number of the max-pool after which it sits, from 1}."""
    return {f"pool{pool}": pool for pool in range(max(1, pools - TAPS + 1), pools + 1)}
