"""What can be told about a network on the meta device: parameters and FLOPs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from kitsbench.architecture import Architecture, Spec


@dataclass(frozen=True)
class Cost:
    """What a network costs, without running it.

    Attributes
    ----------
    parameters : int
    flops_forward, flops_step : int or None
        Of one sample: forward, and forward with backward. A multiply-add counts as two. None
        where an operation is unknown to the counter.
    """

    parameters: int
    flops_forward: int | None
    flops_step: int | None


def count_cost(architecture: Architecture, spec: Spec) -> Cost:
    """Count parameters and FLOPs of a built network for one sample of its grids."""
    with torch.device("meta"):
        network = architecture.build(spec)
        inputs = {grid.name: torch.zeros(1, 1, *grid.shape) for grid in spec.grids}
    parameters = sum(p.numel() for p in network.parameters())
    try:
        with FlopCounterMode(display=False) as forward:
            outputs = network(inputs)
        with FlopCounterMode(display=False) as backward:
            torch.stack([o.float().sum() for o in outputs.values()]).sum().backward()
    except Exception:  # counting must not fail a plugin; training will say what is wrong
        return Cost(parameters, None, None)
    first = forward.get_total_flops()
    return Cost(parameters, first, first + backward.get_total_flops())
