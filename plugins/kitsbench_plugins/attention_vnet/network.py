"""U-shaped network with strided convolutions, gated skips and summed heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsbench_plugins.attention_vnet.gate import AttentionGate
from kitsbench_plugins.blocks import Shape, crop_to, pad_to_multiple

SLOPE = 0.01  # of the leaky ReLU, also what the initial weights are scaled for
GATED = 2  # the finest skips


def unit(
    inputs: int, outputs: int, kernel: Shape, stride: Shape = (1, 1, 1), dropout: float = 0.0
) -> nn.Sequential:
    """Convolution, dropout if there is any, instance norm with affine, leaky ReLU."""
    padding = tuple(edge // 2 for edge in kernel)
    layers: list[nn.Module] = [nn.Conv3d(inputs, outputs, kernel, stride, padding)]
    if dropout:
        layers.append(nn.Dropout3d(dropout))
    layers += [nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def two_units(
    inputs: int, outputs: int, kernel: Shape, stride: Shape = (1, 1, 1), dropout: float = 0.0
) -> nn.Sequential:
    """Two units, the first with the stride."""
    return nn.Sequential(
        unit(inputs, outputs, kernel, stride, dropout),
        unit(outputs, outputs, kernel, dropout=dropout),
    )


class AttentionVNetNetwork(nn.Module):
    """Network of Tureckova et al. 2019 (section 2.3).

    Parameters
    ----------
    channels : sequence of int
        Of each level, finest first.
    strides : sequence of (int, int, int)
        Between the levels, finest first; one fewer than levels.
    classes : int
        Output channels.
    heads : {"summed", "none", "aux"}
        ``summed``: each decoder level has a head, and the enlarged sum of the deeper ones is added
        to it. ``none``: the finest level alone has one. ``aux``: each level puts out its own.
    gates : bool
        Attention gates on the two finest skips.
    open_gates : bool
        Begin with gates that let nearly everything pass.
    kernels : sequence of (int, int, int), optional
        Of each level's encoder; a decoder takes that of the level below it. 3x3x3 if not given.
    dropout : float
        Probability, of whole channels.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Shape],
        classes: int,
        *,
        heads: str = "summed",
        gates: bool = True,
        open_gates: bool = True,
        kernels: Sequence[Shape] | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        kernels = kernels or [(3, 3, 3)] * len(channels)
        self.strides = tuple(strides)
        self.multiple = [math.prod(edges) for edges in zip(*strides, strict=True)]
        self.heads_mode = heads
        self.encoders = nn.ModuleList(
            two_units(source, target, kernel, stride, dropout)
            for source, target, kernel, stride in zip(
                [1, *channels[:-1]], channels, kernels, [(1, 1, 1), *strides], strict=True
            )
        )
        # Everything of the decoder is listed by level, finest first.
        steps = list(zip(channels[:-1], channels[1:], strides, kernels[1:], strict=True))
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(below, own, stride, stride, bias=False)
            for own, below, stride, _ in steps
        )
        self.decoders = nn.ModuleList(
            two_units(2 * own, own, kernel, dropout=dropout) for own, _, _, kernel in steps
        )
        self.gates = nn.ModuleList(
            AttentionGate(own, below, stride)
            for own, below, stride, _ in steps[: GATED if gates else 0]
        )
        self.heads = nn.ModuleList(
            nn.Conv3d(own, classes, 1, bias=False)
            for own, *_ in (steps[:1] if heads == "none" else steps)
        )
        self._initialise(open_gates)

    def _initialise(self, open_gates: bool) -> None:
        """He et al. 2015 for a leaky ReLU, biases zero (section 2.4 of the paper)."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for gate in self.gates if open_gates else ():
            gate.open()  # type: ignore[operator]

    def decode(self, images: Tensor) -> list[Tensor]:
        """Feature of each decoder level, finest first, of an image of admissible size."""
        features, skips = images, []
        for encoder in self.encoders:
            features = encoder(features)
            skips.append(features)
        decoded = []
        for level in reversed(range(len(self.decoders))):
            skip = skips[level]
            if level < len(self.gates):
                skip = self.gates[level](skip, features)
            features = torch.cat([self.ups[level](features), skip], 1)
            features = self.decoders[level](features)
            decoded.append(features)
        return decoded[::-1]

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Map (B, 1, z, y, x) to logits (B, classes, z, y, x).

        With heads ``aux`` to the logits of every level, finest first; in evaluation mode to those
        of the finest only.
        """
        decoded = self.decode(pad_to_multiple(images, self.multiple))
        if self.heads_mode == "summed":
            total = self.heads[-1](decoded[-1])
            for level in reversed(range(len(decoded) - 1)):
                scale = [float(step) for step in self.strides[level]]
                total = F.interpolate(
                    total, scale_factor=scale, mode="trilinear", align_corners=False
                )
                total = total + self.heads[level](decoded[level])
            return crop_to(total, images.shape[2:])
        finest = crop_to(self.heads[0](decoded[0]), images.shape[2:])
        if self.heads_mode == "none":
            return finest
        if not self.training:
            return [finest]
        coarser = zip(self.heads[1:], decoded[1:], strict=True)
        return [finest, *(head(features) for head, features in coarser)]
