"""The running average of a network's weights, which a recipe may ask for as the result."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of a network's weights and statistics.

    Parameters
    ----------
    network : nn.Module
    decay : float
        Weight of the old average in each step. While few steps were done it is
        ``(1 + steps) / (10 + steps)``, since a long memory would keep the initial weights alive.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay = decay
        self.state = {name: value.clone() for name, value in network.state_dict().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved average."""
        for name, value in state.items():
            self.state[name].copy_(value)

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Add the weights after a step; ``steps`` were done before it."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for name, value in network.state_dict().items():
            kept = self.state[name]
            if kept.is_floating_point():
                kept.lerp_(value.detach(), 1 - decay)
            else:
                kept.copy_(value)
