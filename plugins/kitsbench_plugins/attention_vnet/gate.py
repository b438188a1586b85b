"""Additive attention gate on a skip connection."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kitsbench_plugins.blocks import Shape

OPEN_BIAS = 3.0  # sigmoid(3) = 0.953: nearly everything passes


class AttentionGate(nn.Module):
    """Weights a skip by one map in (0, 1), from the skip and a coarser decoder feature.

    Tureckova et al. 2019, section 2.3; order of layers as in ``grid_attention_layer.py`` of the
    authors (one gate, additive).

    Parameters
    ----------
    channels : int
        Of the skip; also of everything inside.
    below : int
        Channels of the gating signal, one level deeper.
    stride : (int, int, int)
        Between the two levels, (z, y, x).
    """

    def __init__(self, channels: int, below: int, stride: Shape):
        super().__init__()
        self.theta = nn.Conv3d(channels, channels, stride, stride, bias=False)
        self.phi = nn.Conv3d(below, channels, 1)
        self.psi = nn.Conv3d(channels, 1, 1)
        self.output = nn.Sequential(
            nn.Conv3d(channels, channels, 1),
            nn.InstanceNorm3d(channels),
            nn.Conv3d(channels, channels, 1),
            nn.InstanceNorm3d(channels),
            nn.ReLU(),
        )

    def open(self) -> None:
        """Let the map begin at 0.953 everywhere, so that the gate passes its skip on."""
        nn.init.zeros_(self.psi.weight)
        nn.init.constant_(self.psi.bias, OPEN_BIAS)  # type: ignore[arg-type]

    def weight(self, skip: Tensor, signal: Tensor) -> Tensor:
        """Map of one channel, (B, 1, z, y, x) as the skip.

        Parameters
        ----------
        skip : Tensor
            (B, channels, z, y, x).
        signal : Tensor
            (B, below, z', y', x'), the skip's size divided by the stride.
        """
        coarse = (self.psi((self.theta(skip) + self.phi(signal)).relu())).sigmoid()
        return F.interpolate(coarse, size=skip.shape[2:], mode="trilinear", align_corners=False)

    def forward(self, skip: Tensor, signal: Tensor) -> Tensor:
        """Weighted and recombined skip, (B, channels, z, y, x)."""
        return self.output(self.weight(skip, signal) * skip)
