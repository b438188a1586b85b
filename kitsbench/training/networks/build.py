"""Networks as training needs them: seeded, laid out for speed, with outputs as declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture
from kitsbench.data.batches.patches import generator
from kitsbench.devices.layout import Layout, set_layout
from kitsbench.devices.norms import fast_norms
from kitsbench.spec import Spec
from kitsbench.training.failures import TrialFailure, plugin_code


def seed_everything(*key: int) -> None:
    """Seed torch's generators by a counter; networks draw weights and dropout from them."""
    torch.manual_seed(int(generator(*key).integers(2**62)))


def build_network(
    architecture: Architecture,
    spec: Spec,
    seed: int,
    fold: int,
    device: torch.device,
    layout: Layout | None = None,
    initialise: Callable[[nn.Module], object] | None = None,
) -> nn.Module:
    """Build on a device, with initial weights that depend on (seed, fold) alone.

    ``initialise`` may load others into the network as it was built, before anything of it is moved.

    On a GPU they lie as ``layout`` says, contiguous if it says nothing; on a CPU as
    :func:`lay_out_on_cpu` finds. On CUDA, instance norms run in kernels of
    :mod:`kitsbench.devices.norms`.
    """
    seed_everything(seed, 4, fold)
    with plugin_code("build"):
        network = architecture.build(spec)
    if not isinstance(network, nn.Module):
        raise TrialFailure(
            "plugin error", f"build() returned a {type(network).__name__}, and no torch.nn.Module."
        )
    if initialise is not None:
        initialise(network)
    network = network.to(device)
    if device.type == "cpu":
        lay_out_on_cpu(network, spec)
    else:
        fast_norms(network, device)
        set_layout(network, layout or "contiguous")
    return network.train()


def lay_out_on_cpu(network: nn.Module, spec: Spec) -> None:
    """Lay weights out channels-last, unless the network's code cannot cope with it.

    Convolutions on a CPU are faster that way; code that calls ``view`` on a feature map fails.
    Tried on one patch, since the meta device does not show it.
    """
    try:
        set_layout(network, "channels_last_3d")
        with torch.no_grad():
            network.eval()
            network({grid.name: torch.zeros(1, 1, *grid.shape) for grid in spec.grids})
    except Exception:
        set_layout(network, "contiguous")


def check_outputs(outputs: Mapping[str, Tensor], spec: Spec, batch: int) -> None:
    """Compare a network's outputs with the heads that its spec declares.

    Raises
    ------
    TrialFailure
        A head is missing or has another shape.
    """
    if not isinstance(outputs, Mapping):
        raise TrialFailure("plugin error", "forward() returned no {head name: logits}.")
    for head in spec.heads:
        wanted = (batch, len(head.channels), *(() if head.kind == "scalar" else head.shape))
        if head.name not in outputs:
            raise TrialFailure("plugin error", f"forward() returned no head '{head.name}'.")
        if not isinstance(outputs[head.name], Tensor):
            raise TrialFailure("plugin error", f"forward() returned no tensor for '{head.name}'.")
        if tuple(outputs[head.name].shape) != wanted:
            raise TrialFailure(
                "plugin error",
                f"forward() returned head '{head.name}' of shape "
                f"{tuple(outputs[head.name].shape)}; its spec says {wanted}.",
            )
