"""SCAU U-Net as a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from kitsbench.architecture import WIDTH, Key, Plain, Setting, Spec
from kitsbench_plugins.blocks import Shape, scaled
from kitsbench_plugins.paper003 import PAPER_KEYS, Paper003
from kitsbench_plugins.scau_unet.network import ScauNetwork

# preset -> channels of the encoders, channels of the bottom
PRESETS = {
    "paper": ((32, 64, 128), 128),
    "repo": ((64, 128, 256, 512), 512),
}


class ScauUNet(Paper003):
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
            help="strided encoders, as far as the patch allows; 0 takes the preset's",
        ),
        "preset": Key(
            "paper",
            "section 2.4; repo is SCUnet.py of the authors after their submission",
            options=("paper", "repo"),
            help="channels: 32 64 128 128, or 64 128 256 512 512",
        ),
        "attention": Key(
            "on",
            "section 2.4; off is the control with the same decoder",
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
        **PAPER_KEYS,
    }
    paper_patch = (64, 128, 128)

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Every encoder halves, the first too."""
        return int(config["depth"] or len(PRESETS[str(config["preset"])][0]))

    def recipe_patch(self, config: Mapping[str, Setting]) -> Shape:
        """The preset ``repo`` was trained on larger patches (train.py)."""
        return self.paper_patch if config["preset"] == "paper" else (64, 160, 160)

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        strides = self.pooling(dict(spec.config), spec.grids[0].shape).strides
        channels, bottom = PRESETS[spec["preset"]]
        # Encoders beyond the preset's are as wide as its last.
        deeper = len(strides) - len(channels)
        channels = (*channels[: len(strides)], *channels[-1:] * deeper)
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
