"""The running average of a network's weights, which a recipe may ask for as the result."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kitsbench.training.optimisation.foreach import by_type


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
        state = network.state_dict()
        self.state = {name: value.clone() for name, value in state.items()}
        # Where each value is kept: a module may hold another tensor there later on.
        self._places: list[tuple[Mapping[str, Tensor | None], str, Tensor]] = []
        for prefix, module in network.named_modules(remove_duplicate=False):
            for place in (module._parameters, module._buffers):
                for name, own in place.items():
                    full = f"{prefix}.{name}" if prefix else name
                    if own is not None and _same(own, state.get(full)):
                        self._places.append((place, name, self.state[full]))
        # Else a module makes up a part of its state, which only it can tell.
        self._plain = len(self._places) == len(self.state)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved average."""
        for name, value in state.items():
            self.state[name].copy_(value)

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Add the weights after a step; ``steps`` were done before it.

        Parameters
        ----------
        network : nn.Module
            The one that it was made for.
        steps : int
        """
        decay = min(self.decay, (1 + steps) / (10 + steps))
        if self._plain:  # to ask for the state would take longer than to average it
            found = [(kept, place[name]) for place, name, kept in self._places]
        else:
            state = network.state_dict()
            found = [(kept, state.get(name)) for name, kept in self.state.items()]
        pairs = [(kept, value.detach()) for kept, value in found if value is not None]
        for olds, news in by_type([kept for kept, _ in pairs], [value for _, value in pairs]):
            if olds[0].is_floating_point():
                torch._foreach_lerp_(olds, news, 1 - decay)
            else:
                torch._foreach_copy_(olds, news)


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.data_ptr() == other.data_ptr() and one.shape == other.shape
