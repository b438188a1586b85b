"""Residual U-Net as a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from kitsbench.architecture import WIDTH, Key, Plain, Setting, Spec
from kitsbench_plugins.blocks import scaled
from kitsbench_plugins.paper003 import PAPER_KEYS, Paper003
from kitsbench_plugins.residual_unet.network import ResidualUNetNetwork

CHANNELS = (16, 32, 64, 128, 256)


class ResidualUNet(Paper003):
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
        **PAPER_KEYS,
    }
    paper_patch = (64, 160, 160)

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Every level but the bottom halves."""
        return int(config["depth"]) - 1

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        strides = self.pooling(dict(spec.config), spec.grids[0].shape).strides
        channels = [scaled(c, spec["width"]) for c in CHANNELS[: len(strides) + 1]]
        return Plain(ResidualUNetNetwork(channels, strides, spec.classes))
