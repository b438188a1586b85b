"""Primus out of dynamic-network-architectures, whatever release of timm is installed.

The package takes its blocks of attention from timm, by arguments that timm has from 1.0 on.
segmentation-models-pytorch-3d pins timm 0.9.7, whose block also leaves the first token unrotated.
So the block is our own, with the package's names of weights; everything else is the package's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from dynamic_network_architectures.building_blocks.eva import Eva
from dynamic_network_architectures.building_blocks.patch_encode_decode import (
    PatchDecode,
    PatchEmbed,
)
from dynamic_network_architectures.building_blocks.regularization import DropPath
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from kitsbench_plugins.blocks import Shape
from torch import Tensor, nn


class PrimusNetwork(nn.Module):
    """Tokens of voxels, a transformer, and transposed convolutions back to voxels.

    Parameters
    ----------
    classes : int
    patch : (int, int, int)
        Voxels; positions are learned for them.
    token : int
        Edge of a token, voxels, a power of two.
    channels, heads, layers : int
        Of the transformer; channels of a head are a multiple of 6.
    drop_path, scale : float
        Stochastic depth of the last layer; what each branch is multiplied by at first.
    """

    def __init__(
        self,
        classes: int,
        patch: Shape,
        *,
        token: int,
        channels: int,
        heads: int,
        layers: int,
        drop_path: float,
        scale: float,
    ):
        super().__init__()
        edges = (token,) * 3
        self.grid = tuple(edge // token for edge in patch)
        self.down_projection = PatchEmbed(edges, 1, channels)
        self.up_projection = PatchDecode(edges, channels, classes)
        self.eva = Eva(
            embed_dim=channels,
            depth=layers,
            num_heads=heads,
            ref_feat_shape=self.grid,
            drop_path_rate=drop_path,
            init_values=scale,
            scale_attn_inner=True,
            rope_impl=Positions,
            block_fn=Block,
        )
        for part in (self.down_projection, self.up_projection):
            part.apply(InitWeights_He(1e-2))

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 1, z, y, x) to logits (B, classes, z, y, x)."""
        tokens = self.down_projection(images).flatten(2).transpose(1, 2)
        found, _ = self.eva(tokens)
        return self.up_projection(found.transpose(1, 2).unflatten(2, self.grid))  # type: ignore[no-any-return]


class Positions(nn.Module):
    """Angles by which queries and keys are rotated, a third of the channels for each axis.

    Su et al. 2021, arXiv:2104.09864, in the frequencies of language models.

    Parameters
    ----------
    dim : int
        Two thirds of a head's channels, a multiple of 4.
    feat_shape : (int, int, int)
        Tokens along each axis.
    """

    def __init__(self, dim: int, feat_shape: Shape, **_: Any):
        super().__init__()
        bands = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float32) / (dim // 4))
        axes = [torch.arange(edge, dtype=torch.float32) for edge in feat_shape]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3, 1)
        # Channels 2k and 2k + 1 are a pair, which one angle rotates.
        angles = (grid * bands).flatten(1).repeat_interleave(2, 1)
        self.register_buffer("angles", torch.stack([angles.sin(), angles.cos()]), persistent=False)

    def get_embed(self) -> Tensor:
        """Sine and cosine, (2, tokens, channels of a head)."""
        return self.angles  # type: ignore[return-value]


class Block(nn.Module):
    """Attention and a gated perceptron, each normalised before, scaled and added.

    Parameters
    ----------
    dim, num_heads : int
        Channels; heads.
    mlp_ratio : float
        Inner channels of the perceptron for one outer.
    drop_path, init_values : float
        Stochastic depth; first scale of what is added.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        drop_path: float,
        init_values: float,
        **_: Any,
    ):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = Attention(dim, num_heads), GatedMlp(dim, int(dim * mlp_ratio))
        self.gamma_1 = nn.Parameter(init_values * torch.ones(dim))
        self.gamma_2 = nn.Parameter(init_values * torch.ones(dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, rope: Tensor) -> Tensor:
        """Map (B, tokens, channels) to as many."""
        tokens = tokens + self.drop_path(self.gamma_1 * self.attn(self.norm1(tokens), rope))
        return tokens + self.drop_path(self.gamma_2 * self.mlp(self.norm2(tokens)))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention of all tokens to all, rotated by their places; what it gives is normalised."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels, bias=False)
        self.v_proj = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, rope: Tensor) -> Tensor:
        """Map (B, tokens, channels) to as many."""
        parts = (self.q_proj(tokens), self.k_proj(tokens), self.v_proj(tokens))
        query, key, value = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in parts)
        query, key = rotate(query, rope).to(value.dtype), rotate(key, rope).to(value.dtype)
        found = F.scaled_dot_product_attention(query, key, value)
        return self.proj(self.norm(found.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]


class GatedMlp(nn.Module):
    """SwiGLU with a norm inside (Fang et al. 2023, arXiv:2303.11331)."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.fc1_g, self.fc1_x = nn.Linear(channels, inner), nn.Linear(channels, inner)
        self.norm = nn.LayerNorm(inner)
        self.fc2 = nn.Linear(inner, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, tokens, channels) to as many."""
        return self.fc2(self.norm(F.silu(self.fc1_g(tokens)) * self.fc1_x(tokens)))  # type: ignore[no-any-return]


def rotate(features: Tensor, rope: Tensor) -> Tensor:
    """Rotate pairs of channels (B, heads, tokens, channels) by the angles of their tokens."""
    sine, cosine = rope
    even, odd = features[..., ::2], features[..., 1::2]
    return features * cosine + torch.stack([-odd, even], -1).flatten(-2) * sine
