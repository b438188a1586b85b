"""A planted control: 3D U-Net with a tenth of the budget. It must be found to be worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from kitsbench_plugins.unet3d import plugin
from torch import Tensor, nn

from kitsbench.architecture import Setting, Spec, Stage, Task


class UNet3DTenth(plugin.UNet3D):
    """The same network, which learns by a whole schedule in the first tenth and then no more."""

    title = "3D U-Net, a tenth of the budget"
    planted = "unet3d that learns in the first tenth of its budget"

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """Two stages: all weights train in the first, none that matter in the second."""
        stages = (
            Stage("learning", share=0.1, train=("network.*",)),
            Stage("idling", share=0.9, train=("idle",)),
        )
        return replace(super().spec(config, task), stages=stages)

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        return Idling(super().build(spec))


class Idling(nn.Module):
    """A network with one more weight, which changes nothing that it predicts."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.idle = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add one number to the logits of all classes, which softmax takes out again."""
        return {head: logits + self.idle for head, logits in self.network(inputs).items()}
