"""UNETR, whose positions are learned, so that a network belongs to one patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kitsbench_plugins.blocks import scaled
from torch import nn

from kitsbench.architecture import Key, Setting, Spec
from kitsbench_zoo.base import SINGLE, Zoo, needs_monai
from kitsbench_zoo.recipes import BTCV

needs_monai()

HIDDEN, HEADS = 768, 12


class UNETR(Zoo):
    """Twelve layers of attention over blocks of 16 voxels; skips after each fourth of them."""

    title = "UNETR"
    paper = "Hatamizadeh et al. 2022, arXiv:2103.10504"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": Key(
            1.0,
            "1 is ViT-B's",
            low=1 / 64,
            high=4,
            help="multiplies the transformer's channel counts",
        ),
        "features": Key(
            16,
            "main.py of the authors, feature_size",
            low=2,
            high=64,
            help="channels of the decoder at full resolution",
        ),
        "layers": Key(
            12, "Hatamizadeh et al. 2022; fixed in MONAI", low=3, high=24, help="of attention"
        ),
        "token": Key(
            "16",
            "Hatamizadeh et al. 2022; fixed in MONAI",
            options=("4", "8", "16"),
            help="edge of a token, voxels; each halving less is a level less in the decoder",
        ),
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.125, "layers": 4, "token": "4"},
        "small": {"width": 0.5},
    }
    paper_patch = (96, 96, 96)
    recipe = BTCV
    bottom = SINGLE  # tokens are normalised one by one

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Those that a token takes."""
        return int(config["token"]).bit_length() - 1  # type: ignore[arg-type]

    def network(self, spec: Spec) -> nn.Module:
        """The network for the patch of the spec."""
        from kitsbench_zoo.unetr.network import UNETRNetwork

        return UNETRNetwork(
            spec.classes,
            spec.grids[0].shape,
            token=int(spec["token"]),
            hidden=scaled(HIDDEN, spec["width"], HEADS, HEADS),
            heads=HEADS,
            layers=spec["layers"],
            features=spec["features"],
        )
