"""MedNeXt of MONAI in its four sizes, with kernels of 3 or 5 voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from kitsbench_plugins.blocks import scaled
from torch import Tensor, nn

from kitsbench import pretrained
from kitsbench.architecture import WIDTH, Key, Setting, Spec
from kitsbench.recipe import Optimiser, Recipe
from kitsbench_zoo.base import DEEP_SUPERVISION, Zoo, needs_monai
from kitsbench_zoo.recipes import nnunet_with

needs_monai()

BASE = 32  # channels at full resolution
HALVINGS = 4

RECIPE = replace(
    nnunet_with("nnUNetTrainerV2_MedNeXt.py of the authors: nnU-Net's but for what follows"),
    name="mednext",
    spacing=(1.0, 1.0, 1.0),
    patch=(128, 128, 128),
    optimiser=Optimiser("adamw", lr=1e-3, weight_decay=3e-5, arguments=(("eps", 1e-4),)),
)

KEYS: dict[str, Key] = {
    "width": WIDTH,
    "kernel": Key(
        "3",
        "nnUNetTrainerV2_MedNeXt.py of the authors; both published",
        options=("3", "5"),
        help="edge, voxels",
    ),
    "depth": Key(HALVINGS, "MedNextV1.py of the authors", low=2, high=HALVINGS, help="halvings"),
    "block_cap": Key(
        0,
        "nnUNetTrainerV2_MedNeXt.py",
        low=0,
        high=8,
        help="most blocks of a stage; 0 for no limit",
    ),
    "deep_supervision": DEEP_SUPERVISION,
    "weights": Key.file(
        "UpKern of the authors",
        help="state dict of the same network, also one with kernels of 3 for kernel=5",
    ),
}


class MedNeXtS(Zoo):
    """The smallest: two blocks a stage, which widen their channels twice; base of the others."""

    title = "MedNeXt-S"
    paper = "Roy et al. 2023, arXiv:2303.09975"
    keys: ClassVar[Mapping[str, Key]] = KEYS
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.5, "depth": 2, "block_cap": 1},
        "small": {"width": 0.5},
    }
    paper_patch = (128, 128, 128)
    # Of the stages down, and of the bottom; up is down, mirrored.
    expansion: ClassVar[tuple[int, ...]] = (2, 2, 2, 2, 2)
    blocks: ClassVar[tuple[int, ...]] = (2, 2, 2, 2, 2)

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Four, or fewer."""
        return int(config["depth"])  # type: ignore[arg-type]

    def strides(self, config: Mapping[str, Setting]) -> Sequence[int]:
        """A head at every level, the bottom included."""
        deep = config["deep_supervision"] == "on"
        return [2**level for level in range(1, self.halvings(config) + 1)] if deep else []

    def recipe_for(self, config: Mapping[str, Setting]) -> Recipe:
        """The large kernel is trained at a tenth of the rate on KiTS19, "for stability"."""
        if config["kernel"] == "3":
            return RECIPE
        return replace(RECIPE, optimiser=replace(RECIPE.optimiser, lr=1e-4))

    def network(self, spec: Spec) -> nn.Module:
        """MONAI's network, cut off below the halvings that are asked for."""
        from monai.networks.nets import MedNeXt

        depth = spec["depth"]
        most = spec["block_cap"] or max(self.blocks)
        blocks = [min(most, count) for count in (*self.blocks[:depth], self.blocks[-1])]
        return MedNeXt(
            init_filters=scaled(BASE, spec["width"]),
            out_channels=spec.classes,
            encoder_expansion_ratio=self.expansion[:depth],
            bottleneck_expansion_ratio=self.expansion[-1],
            decoder_expansion_ratio=self.expansion[:depth][::-1],
            kernel_size=int(spec["kernel"]),
            deep_supervision=spec["deep_supervision"] == "on",
            use_residual_connection=True,
            blocks_down=blocks[:-1],
            blocks_bottleneck=blocks[-1],
            blocks_up=blocks[:-1][::-1],
        )

    def weights(
        self, network: nn.Module, files: Mapping[str, Path], spec: Spec
    ) -> dict[str, Tensor] | None:
        """Weights of a file, kernels that are smaller than the network's enlarged (UpKern)."""
        if not files:
            return None
        own = network.state_dict()
        found = pretrained.default_weights(network, files)
        for name, value in found.items():
            edges = own[name].shape[2:] if name in own else ()
            if value.ndim == len(edges) + 2 == 5 and value.shape[2:] != edges:
                found[name] = F.interpolate(value, size=tuple(edges), mode="trilinear")
        return found


class MedNeXtB(MedNeXtS):
    """Blocks that widen up to four times."""

    title = "MedNeXt-B"
    expansion = (2, 3, 4, 4, 4)


class MedNeXtM(MedNeXtB):
    """As B, with three to four blocks a stage."""

    title = "MedNeXt-M"
    sizes: ClassVar = {
        "tiny": {"width": 0.5, "depth": 2, "block_cap": 2},
        "small": {"width": 0.5},
    }
    blocks = (3, 4, 4, 4, 4)


class MedNeXtL(MedNeXtS):
    """Up to eight blocks a stage, which widen up to eight times."""

    title = "MedNeXt-L"
    sizes: ClassVar = {
        "tiny": {"width": 0.25, "depth": 2, "block_cap": 2},
        "small": {"width": 0.5, "block_cap": 4},
    }
    expansion = (3, 4, 8, 8, 8)
    blocks = (3, 4, 8, 8, 8)
