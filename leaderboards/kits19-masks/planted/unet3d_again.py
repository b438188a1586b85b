"""A planted control: 3D U-Net under another name. Nothing may separate it from ``unet3d``."""

from __future__ import annotations

import torch
from kitsbench_plugins.unet3d import plugin
from torch import nn

from kitsbench.architecture import Spec


class UNet3DAgain(plugin.UNet3D):
    """The same network in every respect but for the numbers that its first weights are drawn by."""

    title = "3D U-Net again"
    planted = "unet3d under another name"

    def build(self, spec: Spec) -> nn.Module:
        """Make the network from other random numbers.

        Initial weights follow from seed and fold alone, so that without this the two would be one
        training, equal to the last digit, and the statistics would have nothing to decide.
        """
        torch.rand(1)
        return super().build(spec)
