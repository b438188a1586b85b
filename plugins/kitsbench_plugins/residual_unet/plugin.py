"""Residual U-Net as a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from kitsbench.architecture import (
    KITS21,
    WIDTH,
    Architecture,
    Key,
    Plain,
    Progress,
    Setting,
    Spec,
    Task,
)
from kitsbench_plugins.blocks import (
    DICE_BACKGROUND,
    dice_cross_entropy,
    plan_pooling,
    pooled_spec,
    scaled,
)
from kitsbench_plugins.recipes import PAPER_LR, scau_recipe
from kitsbench_plugins.residual_unet.network import ResidualUNetNetwork

CHANNELS = (16, 32, 64, 128, 256)
BOTTOM = 2  # smallest edge at the bottom, voxels: instance norm needs more than one voxel


class ResidualUNet(Architecture):
    """U-Net of residual units; the baseline that SCAU U-Net is compared with."""

    title = "Residual U-Net"
    paper = "Kerfoot et al. 2018, doi:10.1007/978-3-030-12029-0_40"
    keys: ClassVar = {
        "width": WIDTH,
        "depth": Key(
            5,
            "section 2.5 of Gohil and Lad 2022: 16 to 256 channels",
            low=3,
            high=5,
            help="resolution levels, the bottom included",
        ),
        "dice_background": DICE_BACKGROUND,
        "paper_lr": PAPER_LR,
    }
    sizes: ClassVar = {"tiny": {"width": 0.25}, "small": {"width": 0.5}}
    paper_labels = KITS21
    paper_patch = (64, 160, 160)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One softmax head; the strides follow the patch."""
        pooling = plan_pooling(task.patch or self.paper_patch, config["depth"] - 1, BOTTOM)
        return pooled_spec(
            config, task, pooling, paper=scau_recipe(self.paper_patch, config["paper_lr"])
        )

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        strides = plan_pooling(spec.grids[0].shape, spec["depth"] - 1, BOTTOM).strides
        channels = [scaled(c, spec["width"]) for c in CHANNELS[: len(strides) + 1]]
        return Plain(ResidualUNetNetwork(channels, strides, spec.classes))

    def loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        progress: Progress,
        spec: Spec,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Dice over all classes, background included, + cross-entropy."""
        return dice_cross_entropy(
            outputs["segmentation"],
            targets["segmentation"],
            background=spec["dice_background"] == "on",
        )
