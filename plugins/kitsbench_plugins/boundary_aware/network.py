"""The network of Myronenko and Hatamizadeh 2019 (arXiv:1909.06684).

A residual encoder-decoder after Myronenko 2018 (arXiv:1810.11654) and, beside its decoder, a
stream of features of the boundaries that is gated by the encoder's features. Shapes are
(B, C, z, y, x).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsbench_plugins.blocks import Shape, crop_to, pad_to_multiple

GROUPS = 8  # of every group normalisation
BOTTOM_BLOCKS = 4  # section 3.1


class ResidualBlock(nn.Module):
    """Input plus twice group normalisation, ReLU, 3x3x3 convolution (pre-activation)."""

    def __init__(self, channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [
                nn.GroupNorm(GROUPS, channels),
                nn.ReLU(inplace=True),
                nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Keep shape and channels."""
        return features + self.layers(features)


class Gate(nn.Module):
    """Attention of the boundary stream, decided by it and by the encoder's features.

    Parameters
    ----------
    channels : int
        Of both.
    maps : int
        Attention maps: one for all channels, or one each.
    kernel : int
        Of the two convolutions that meet.
    concat : bool
        They meet side by side instead of as a sum.
    residual : bool
        The features are multiplied by one plus the attention.
    """

    def __init__(self, channels: int, maps: int, kernel: int = 3, *, concat: bool, residual: bool):
        super().__init__()
        self.boundary = nn.Conv3d(channels, channels, kernel, padding=kernel // 2)
        self.encoder = nn.Conv3d(channels, channels, kernel, padding=kernel // 2)
        self.attention = nn.Conv3d(channels * (1 + concat), maps, 1)
        self.concat, self.residual = concat, residual

    def forward(self, boundary: Tensor, encoded: Tensor) -> Tensor:
        """Weight the boundary features."""
        mine, theirs = self.boundary(boundary), self.encoder(encoded)
        met = torch.cat([mine, theirs], 1) if self.concat else mine + theirs
        weight = self.attention(met.relu()).sigmoid()
        return boundary * (1 + weight if self.residual else weight)


class BoundaryStream(nn.Module):
    """From the two deepest levels of the encoder to boundary features at full resolution.

    Parameters
    ----------
    channels : sequence of int
        Of the encoder's levels, finest first.
    strides : sequence of (int, int, int)
        Between them.
    gates : mapping
        ``maps`` (``one`` or ``all``) and the options of :class:`Gate`.
    blocks : bool
        A residual block between two gates.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Shape],
        gates: Mapping[str, Any],
        *,
        blocks: bool,
    ):
        super().__init__()
        options = dict(gates)
        every = options.pop("maps") == "all"
        first = channels[-2]
        self.start = nn.Sequential(
            nn.Conv3d(channels[-1] + first, first, 1, bias=False), ResidualBlock(first)
        )
        levels = list(reversed(range(len(channels) - 1)))
        self.gates = nn.ModuleList(
            Gate(channels[i], channels[i] if every else 1, **options) for i in levels
        )
        self.reduce = nn.ModuleList(
            nn.Conv3d(channels[i], channels[i - 1], 1, bias=False) for i in levels[:-1]
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(channels[i - 1]) if blocks else nn.Identity() for i in levels[:-1]
        )
        self.strides = list(strides)

    def forward(self, encoded: Sequence[Tensor]) -> Tensor:
        """Map the encoder's features, finest first, to features of the finest level."""
        deepest = enlarge(encoded[-1], self.strides[-1])
        features = self.start(torch.cat([deepest, encoded[-2]], 1))
        for index, gate in enumerate(self.gates):
            level = len(encoded) - 2 - index
            features = gate(features, encoded[level])
            if level:
                features = enlarge(self.reduce[index](features), self.strides[level - 1])
                features = self.blocks[index](features)
        return features


class BoundaryAwareNetwork(nn.Module):
    """Regions, and their boundaries beside them.

    Parameters
    ----------
    regions : int
        Output channels of either head.
    base : int
        Channels of the finest level, a multiple of 8; every level has twice as many.
    strides : sequence of (int, int, int)
        Between the levels, finest first.
    boundary : bool
        Whether the boundary stream is there.
    edge_head : bool
        Whether the boundaries are an output.
    fuse : {"features", "prob"}
        What of the stream joins the decoder: its features or its probabilities.
    gates : mapping
        See :class:`BoundaryStream`.
    blocks : bool
        See :class:`BoundaryStream`.
    dropout : float
        Spatial dropout after the first convolution.
    """

    def __init__(
        self,
        regions: int,
        base: int,
        strides: Sequence[Shape],
        *,
        boundary: bool,
        edge_head: bool,
        fuse: str,
        gates: Mapping[str, Any],
        blocks: bool,
        dropout: float = 0.0,
    ):
        super().__init__()
        channels = [base * 2**level for level in range(len(strides) + 1)]
        self.multiple = [math.prod(edges) for edges in zip(*strides, strict=True)]
        self.strides, self.edge_head, self.fuse = list(strides), edge_head, fuse
        self.first = nn.Conv3d(1, base, 3, padding=1, bias=False)
        self.dropout = nn.Dropout3d(dropout)
        counts = [1] * len(strides) + [BOTTOM_BLOCKS]
        self.encoders = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(wide) for _ in range(count)))
            for wide, count in zip(channels, counts, strict=True)
        )
        self.downs = nn.ModuleList(
            nn.Conv3d(wide, 2 * wide, 3, stride, padding=1, bias=False)
            for wide, stride in zip(channels, strides, strict=False)
        )
        # Deepest first, in the order in which they are applied.
        up = list(reversed(channels[:-1]))
        self.reduce = nn.ModuleList(nn.Conv3d(2 * wide, wide, 1, bias=False) for wide in up)
        self.decoders = nn.ModuleList(ResidualBlock(wide) for wide in up)
        self.last = nn.Sequential(nn.GroupNorm(GROUPS, base), nn.ReLU(inplace=True))
        self.stream = BoundaryStream(channels, strides, gates, blocks=blocks) if boundary else None
        wants_edges = boundary and (edge_head or fuse == "prob")
        self.edges = nn.Conv3d(base, regions, 1) if wants_edges else None
        joined = (base if fuse == "features" else regions) if boundary else 0
        self.head = nn.Conv3d(base + joined, regions, 1)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map {``image``: (B, 1, z, y, x)} to {``segmentation``, ``boundary``: logits}."""
        image = inputs["image"]
        features = self.dropout(self.first(pad_to_multiple(image, self.multiple)))
        encoded = []
        for level, encoder in enumerate(self.encoders):
            features = encoder(self.downs[level - 1](features) if level else features)
            encoded.append(features)
        steps = zip(reversed(encoded[:-1]), reversed(self.strides), strict=True)
        for index, (skip, stride) in enumerate(steps):
            features = enlarge(self.reduce[index](features), stride) + skip
            features = self.decoders[index](features)
        found = {"segmentation": self.last(features)}
        if self.stream is not None:
            self._join_boundary(found, self.stream(encoded))
        found["segmentation"] = self.head(found["segmentation"])
        return {name: crop_to(logits, image.shape[2:]) for name, logits in found.items()}

    def _join_boundary(self, found: dict[str, Tensor], stream: Tensor) -> None:
        edges = None if self.edges is None else self.edges(stream)
        joining = stream if self.fuse == "features" or edges is None else edges.sigmoid()
        found["segmentation"] = torch.cat([found["segmentation"], joining], 1)
        if self.edge_head and edges is not None:
            found["boundary"] = edges


def enlarge(features: Tensor, stride: Shape) -> Tensor:
    """Enlarge by ``stride``, trilinearly."""
    shape = [edge * step for edge, step in zip(features.shape[2:], stride, strict=True)]
    return F.interpolate(features, size=shape, mode="trilinear", align_corners=False)


def edge_voxels(regions: Tensor) -> Tensor:
    """Voxels at which a binary region has a gradient: the shell on both sides of its boundary.

    Parameters
    ----------
    regions : Tensor
        (B, C, z, y, x) in {0, 1}.

    Returns
    -------
    Tensor
        1 where the magnitude of the 3D Sobel operator is above 0, else 0; the outermost voxels are
        repeated beyond the border. A single voxel has 26 edge voxels around it and none at its
        centre.
    """
    padded = F.pad(regions.float(), [1] * 6, mode="replicate")
    found = torch.zeros_like(regions, dtype=torch.bool)
    for direction in range(3):
        gradient = padded
        for axis in range(3):
            count = gradient.shape[axis + 2] - 2
            near, middle, far = (gradient.narrow(axis + 2, start, count) for start in range(3))
            gradient = far - near if axis == direction else near + 2 * middle + far
        # Sums of zeros and ones are exact, so that 0 means 0.
        found |= gradient != 0
    return found.to(regions.dtype)
