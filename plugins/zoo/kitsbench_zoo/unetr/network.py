"""UNETR out of MONAI's blocks, for tokens and depths other than MONAI's own."""

from __future__ import annotations

from itertools import pairwise

from kitsbench_plugins.blocks import Shape
from monai.networks.blocks import UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock
from monai.networks.blocks.dynunet_block import UnetOutBlock
from monai.networks.nets import ViT
from torch import Tensor, nn


class UNETRNetwork(nn.Module):
    """At a token of 16 voxels and 12 layers the network of MONAI, with its names of weights.

    Parameters
    ----------
    classes : int
    patch : (int, int, int)
        Voxels; positions are learned for them.
    token : {4, 8, 16}
        Edge of a token, voxels. Each halving less is a level less in the decoder.
    hidden, heads, layers : int
        Of the transformer.
    features : int
        Channels of the decoder at full resolution.
    """

    def __init__(
        self,
        classes: int,
        patch: Shape,
        *,
        token: int,
        hidden: int,
        heads: int,
        layers: int,
        features: int,
    ):
        super().__init__()
        common = {"spatial_dims": 3, "kernel_size": 3, "norm_name": "instance", "res_block": True}
        # Between full resolution and the tokens: one level for each halving but the last.
        levels = token.bit_length() - 2
        self.grid = [edge // token for edge in patch]
        self.taken = [layers * place // (levels + 1) for place in range(1, levels + 1)]
        self.vit = ViT(1, patch, (token,) * 3, hidden, 4 * hidden, layers, heads, proj_type="conv")
        widths = [features * 2**level for level in range(levels + 1)]
        self.encoder1 = UnetrBasicBlock(in_channels=1, out_channels=features, stride=1, **common)
        for level, width in enumerate(widths[1:], start=2):
            block = UnetrPrUpBlock(
                in_channels=hidden,
                out_channels=width,
                num_layer=levels + 1 - level,
                stride=1,
                upsample_kernel_size=2,
                conv_block=True,
                **common,
            )
            self.add_module(f"encoder{level}", block)
        steps = list(enumerate(pairwise([*widths, hidden]), start=2))
        for level, (outputs, inputs) in reversed(steps):
            step = UnetrUpBlock(
                in_channels=inputs, out_channels=outputs, upsample_kernel_size=2, **common
            )
            self.add_module(f"decoder{level}", step)
        self.out = UnetOutBlock(3, features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 1, z, y, x) to logits (B, classes, z, y, x)."""
        found, hidden = self.vit(images)
        skips = [self.encoder1(images)]
        for level, layer in enumerate(self.taken, start=2):
            skips.append(self.get_submodule(f"encoder{level}")(self._as_image(hidden[layer])))
        found = self._as_image(found)
        for level in range(len(skips), 0, -1):
            found = self.get_submodule(f"decoder{level + 1}")(found, skips[level - 1])
        return self.out(found)  # type: ignore[no-any-return]

    def _as_image(self, tokens: Tensor) -> Tensor:
        """(B, tokens, hidden) as (B, hidden, z, y, x)."""
        return tokens.transpose(1, 2).unflatten(2, self.grid).contiguous()
