"""SCAU U-Net as a plugin."""

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
    Pooling,
    Shape,
    dice_cross_entropy,
    plan_pooling,
    pooled_spec,
    scaled,
)
from kitsbench_plugins.recipes import PAPER_LR, scau_recipe
from kitsbench_plugins.scau_unet.network import ScauNetwork

# preset -> channels of the encoders, channels of the bottom
PRESETS = {
    "paper": ((32, 64, 128), 128),
    "repo": ((64, 128, 256, 512), 512),
}
BOTTOM = 2  # smallest edge at the bottom, voxels: instance norm needs more than one voxel


class ScauUNet(Architecture):
    """U-Net with spatial attention at both ends and channel attention at the bottom."""

    title = "SCAU U-Net"
    paper = "Gohil and Lad 2022, doi:10.1007/978-3-030-98385-7_20"
    keys: ClassVar = {
        "width": WIDTH,
        "depth": Key(
            0,
            "the preset's: paper 3, repo 4",
            low=0,
            high=4,
            help="strided encoders; 0 takes the preset's",
        ),
        "preset": Key(
            "paper",
            "section 2.7; repo is SCUnet.py of the authors after their submission",
            options=("paper", "repo"),
            help="channels: 32 64 128 128, or 64 128 256 512 512",
        ),
        "attention": Key(
            "on",
            "section 2.7; off is the control with the same decoder",
            options=("on", "off", "spatial", "channel"),
            help="which attention is there",
        ),
        "logit_prelu": Key(
            "on",
            "SCUnet.py of the authors, and part of the published count; the paper is silent",
            options=("on", "off"),
            help="a PReLU on the logits",
        ),
        "attention_floor": Key(
            2,
            "the count of the reduced network; with 4, width 1/4 has 128 parameters more",
            low=1,
            high=64,
            help="fewest hidden channels of the channel attention",
        ),
        "dice_background": DICE_BACKGROUND,
        "paper_lr": PAPER_LR,
    }
    sizes: ClassVar = {"tiny": {"width": 0.25}, "small": {"width": 0.5}}
    paper_labels = KITS21
    paper_patch = (64, 128, 128)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One softmax head; the strides follow the patch."""
        pooling = _pooling(config, task.patch or self.paper_patch)
        # The preset `repo` was trained on larger patches (train.py).
        patch = self.paper_patch if config["preset"] == "paper" else (64, 160, 160)
        return pooled_spec(config, task, pooling, paper=scau_recipe(patch, config["paper_lr"]))

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        strides = _pooling(dict(spec.config), spec.grids[0].shape).strides
        channels, bottom = PRESETS[spec["preset"]]
        channels = channels[: len(strides)]
        if spec["preset"] == "paper" or len(strides) < 4:
            bottom = channels[-1]  # the bottom has as many channels as the last encoder
        width, attention = spec["width"], spec["attention"]
        return Plain(
            ScauNetwork(
                [scaled(c, width) for c in channels],
                scaled(bottom, width),
                strides,
                spec.classes,
                spatial=attention in ("on", "spatial"),
                channel=attention in ("on", "channel"),
                logit_prelu=spec["logit_prelu"] == "on",
                floor=spec["attention_floor"],
            )
        )

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


def _pooling(config: Mapping[str, Setting], patch: Shape) -> Pooling:
    steps = config["depth"] or len(PRESETS[str(config["preset"])][0])
    return plan_pooling(patch, int(steps), BOTTOM)
