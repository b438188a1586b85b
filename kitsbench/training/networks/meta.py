"""What can be told about a network on the meta device: parameters and FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from kitsbench.architecture import Architecture, Stage
from kitsbench.spec import Spec
from kitsbench.training.optimisation.stages import freeze, training_mode


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
    """Count parameters and FLOPs of a built network for one sample of its grids.

    All parameters train and all heads are learned, as in the last stage of most architectures.
    """
    network = _build(architecture, spec)
    parameters = sum(p.numel() for p in network.parameters())
    try:
        forward, backward = _count(network, spec, [head.name for head in spec.heads], 1)
    except Exception:  # counting must not fail a plugin; training will say what is wrong
        return Cost(parameters, None, None)
    return Cost(parameters, forward, forward + backward)


def count_step(architecture: Architecture, spec: Spec, stage: Stage, batch: int) -> int | None:
    """FLOPs of a training step in a stage: forward and backward, a multiply-add counts as two.

    Counted are the operations that :mod:`torch.utils.flop_counter` knows: convolutions, matrix
    products and attention. What is frozen has no backward pass of its own, and what leads to no
    head of the stage is not gone through backwards.

    Returns
    -------
    int or None
        None where the network cannot be run on the meta device.
    """
    network = _build(architecture, spec)
    freeze(network, stage)
    training_mode(network)
    names = [h.name for h in spec.heads if stage.heads is None or h.name in stage.heads]
    try:
        return sum(_count(network, spec, names, batch))
    except Exception:  # as above
        return None


def _build(architecture: Architecture, spec: Spec) -> nn.Module:
    with torch.device("meta"):
        return architecture.build(spec)


def _count(network: nn.Module, spec: Spec, heads: Sequence[str], batch: int) -> tuple[int, int]:
    """FLOPs forward, and backward from the sum of some heads."""
    # Not above: it brings triton, which who only plans does without.
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        inputs = {grid.name: torch.zeros(batch, 1, *grid.shape) for grid in spec.grids}
    with FlopCounterMode(display=False) as forward:
        outputs = network(inputs)
    total = torch.stack([outputs[name].float().sum() for name in heads]).sum()
    with FlopCounterMode(display=False) as backward:
        total.backward()
    return forward.get_total_flops(), backward.get_total_flops()
