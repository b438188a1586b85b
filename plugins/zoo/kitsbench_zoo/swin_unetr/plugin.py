"""Swin UNETR of MONAI and its second version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from kitsbench_plugins.blocks import scaled
from torch import nn

from kitsbench.architecture import WIDTH, Key, Setting, Spec
from kitsbench_zoo.base import NORM, Zoo, needs_monai
from kitsbench_zoo.recipes import BTCV

needs_monai()

BASE = 48  # features of the first stage
MULTIPLE = 12  # of the features, as MONAI asks
STAGES = 4


class SwinUNETR(Zoo):
    """Four stages of shifted windows; a convolutional decoder with five skips."""

    title = "Swin UNETR"
    paper = "Hatamizadeh et al. 2022, arXiv:2201.01266"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": WIDTH,
        "blocks": Key(2, "MONAI's default", low=1, high=6, help="of each stage"),
        "window": Key(7, "MONAI's default", low=2, high=14, help="edge, in tokens"),
        "token": Key(
            "2",
            "MONAI's default",
            options=("1", "2"),
            help="edge of a token, voxels",
        ),
        "norm": NORM,
        "drop_path": Key(0.0, "main.py of the authors", low=0, high=0.9, help="stochastic depth"),
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.25, "blocks": 1, "window": 4, "token": "1", "norm": "group"},
        "small": {"width": 0.5},
    }
    paper_patch = (96, 96, 96)
    recipe = BTCV
    second: ClassVar[bool] = False

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """One for the tokens, if they are larger than a voxel, and one for each stage."""
        return STAGES + (config["token"] == "2")

    def network(self, spec: Spec) -> nn.Module:
        """MONAI's network."""
        from kitsbench_zoo.swin_unetr.network import swin_unetr

        return swin_unetr(
            spec.classes,
            scaled(BASE, spec["width"], MULTIPLE, MULTIPLE),
            blocks=spec["blocks"],
            window=spec["window"],
            token=int(spec["token"]),
            drop_path=spec["drop_path"],
            norm=spec["norm"],
            v2=self.second,
        )


class SwinUNETRV2(SwinUNETR):
    """Swin UNETR with a residual convolution before each stage."""

    title = "SwinUNETR-V2"
    paper = "He et al. 2023, doi:10.1007/978-3-031-43901-8_40"
    recipe = replace(
        BTCV,
        sources=(*BTCV.sources, ("recipe", "CHOICE: Swin UNETR's; the paper has one a dataset")),
    )
    second = True
