"""What can be told about a network without its values: parameters and FLOPs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture, Stage
from kitsbench.recipe import Optimiser
from kitsbench.registry.weightless import build_weightless
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
    # Batch normalisation of one voxel at the bottom wants a second sample.
    for batch in (1, 2):
        network = build_weightless(architecture, spec)
        parameters = sum(p.numel() for p in network.parameters())
        found = _counted(network, spec, [head.name for head in spec.heads], batch)
        if found is not None:
            return Cost(parameters, found[0] // batch, sum(found) // batch)
    return Cost(parameters, None, None)


def count_step(
    architecture: Architecture,
    spec: Spec,
    stage: Stage,
    batch: int,
    rule: Optimiser | None = None,
) -> int | None:
    """FLOPs of a training step in a stage: forward and backward, a multiply-add counts as two.

    Counted are the operations that :mod:`torch.utils.flop_counter` knows: convolutions, matrix
    products and attention. What is frozen has no backward pass of its own, and what leads to no
    head of the stage is not gone through backwards.

    Returns
    -------
    int or None
        None where the network cannot be followed without values.
    """
    network = build_weightless(architecture, spec)
    freeze(network, stage, rule)
    training_mode(network)
    names = [h.name for h in spec.heads if stage.heads is None or h.name in stage.heads]
    found = _counted(network, spec, names, batch)
    return None if found is None else sum(found)


@contextlib.contextmanager
def fake_values() -> Iterator[None]:
    """What is computed inside has shapes, types and the CPU as its device, and no values.

    Tensors from outside may take part. Torch logs the errors of such tensors, which whoever tries
    something does not want to see.
    """
    # Not above: it brings much of torch's compiler.
    from torch._subclasses.fake_tensor import FakeTensorMode

    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        logger.disabled = before


def _counted(
    network: nn.Module, spec: Spec, heads: Sequence[str], batch: int
) -> tuple[int, int] | None:
    """FLOPs forward, and backward from the sum of some heads; None where nothing can follow."""
    # Counting must not fail a plugin: training will say what is wrong.
    with contextlib.suppress(Exception):
        with torch.device("meta"):
            inputs = {n: torch.zeros(own) for n, own in spec.input_shapes(batch).items()}
        return _count(network, inputs, heads)
    # Tables that a network keeps beside its buffers lie on the CPU, as nothing on meta may.
    with contextlib.suppress(Exception), fake_values():
        network.to_empty(device="cpu")
        inputs = {n: torch.zeros(own) for n, own in spec.input_shapes(batch).items()}
        return _count(network, inputs, heads)
    return None


def _count(network: nn.Module, inputs: dict[str, Tensor], heads: Sequence[str]) -> tuple[int, int]:
    # Not above: it brings triton, which who only plans does without.
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as forward:
        outputs = network(inputs)
    total = torch.stack([outputs[name].float().sum() for name in heads]).sum()
    with FlopCounterMode(display=False) as backward:
        total.backward()
    return forward.get_total_flops(), backward.get_total_flops()
