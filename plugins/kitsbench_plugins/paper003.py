"""What SCAU U-Net and its baseline have in common: the task, loss and recipe of Gohil and Lad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from kitsbench.architecture import (
    KITS21,
    Architecture,
    Key,
    Progress,
    Setting,
    Spec,
    Task,
)
from kitsbench_plugins.blocks import (
    DICE_BACKGROUND,
    Pooling,
    Shape,
    dice_cross_entropy,
    plan_pooling,
    pooled_spec,
)
from kitsbench_plugins.recipes import PAPER_LR, scau_recipe

BOTTOM = 2  # smallest edge at the bottom, voxels: instance norm needs more than one voxel

PAPER_KEYS: dict[str, Key] = {"dice_background": DICE_BACKGROUND, "paper_lr": PAPER_LR}


class Paper003(Architecture):
    """Base of the two networks that Gohil and Lad 2022 compare.

    A subclass adds its own keys to :data:`PAPER_KEYS`, says how often it halves its input, and
    builds the network.
    """

    # Both compute so little at full resolution that a narrow one learns nothing in a short run.
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.75},
        "small": {"width": 0.875},
    }
    paper_labels = KITS21

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """How often the network halves a patch that is large enough."""
        raise NotImplementedError

    def recipe_patch(self, config: Mapping[str, Setting]) -> Shape:
        """Patch that the authors trained the configured network on, voxels."""
        return self.paper_patch

    def pooling(self, config: Mapping[str, Setting], patch: Shape) -> Pooling:
        """Strides that a patch allows."""
        return plan_pooling(patch, self.halvings(config), BOTTOM)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One softmax head; the strides follow the patch."""
        pooling = self.pooling(config, task.patch or self.paper_patch)
        recipe = scau_recipe(self.recipe_patch(config), float(config["paper_lr"]))
        return pooled_spec(config, task, pooling, paper=recipe)

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
