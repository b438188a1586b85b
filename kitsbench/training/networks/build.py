"""Networks as training needs them: seeded, laid out for speed, with outputs as declared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache

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
    seed = int(generator(*key).integers(2**62))
    if _has_accelerator():
        torch.manual_seed(seed)
    else:
        # For each kind of device that is not there torch would note the seed with the whole stack
        # of calls: milliseconds, which are a share of every step.
        torch.default_generator.manual_seed(seed)


@cache
def _has_accelerator() -> bool:
    """Whether there is a device beside the CPU whose generators are to be seeded."""
    return torch.accelerator.is_available()


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
    if (told := without_values(network)) is not None:
        raise TrialFailure("plugin error", told)
    if initialise is not None:
        initialise(network)
    network = network.to(device)
    if device.type == "cpu":
        lay_out_on_cpu(network, spec)
    else:
        fast_norms(network, device)
        set_layout(network, layout or "contiguous")
    return network.train()


def without_values(network: nn.Module) -> str | None:
    """What is wrong with a network that was built without values; None where it has them all."""
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_meta:
            return (
                f"build() left '{name}' on the meta device, without values: give every weight its "
                "initial value there; weights of a file are loaded by the hook weights()."
            )
    return None


def lay_out_on_cpu(network: nn.Module, spec: Spec) -> None:
    """Lay weights out channels-last, unless the network's code cannot cope with it.

    Convolutions on a CPU are faster that way; code that calls ``view`` on a feature map fails.
    Tried on one patch, since the meta device does not show it.
    """
    try:
        set_layout(network, "channels_last_3d")
        with torch.no_grad():
            network.eval()
            network({name: torch.zeros(shape) for name, shape in spec.input_shapes().items()})
    except Exception:
        set_layout(network, "contiguous")


def check_outputs(outputs: Mapping[str, Tensor], spec: Spec, batch: int) -> None:
    """Compare a network's outputs with the heads that its spec declares.

    Raises
    ------
    TrialFailure
        A head is missing or has another shape.
    """
    told = misfit(outputs, spec, batch, [head.name for head in spec.heads])
    if told:
        raise TrialFailure("plugin error", told)


def misfit(outputs: object, spec: Spec, batch: int, wanted: Collection[str]) -> str:
    """What is wrong with a network's outputs, in a sentence; empty where nothing is.

    Parameters
    ----------
    outputs : object
        What ``forward`` returned.
    spec : Spec
    batch : int
        Samples that it was given.
    wanted : collection of str
        Heads that must be there; others may be.
    """
    names = [head.name for head in spec.heads] + [own.name for own in spec.maps]
    remedy = (
        "return {head name: logits}, for one grid and one head by wrapping the network in Plain"
    )
    if not isinstance(outputs, Mapping):
        return f"forward() returned {_kind(outputs)}, and the spec's heads are {names}: {remedy}."
    if not set(wanted) <= set(outputs) <= set(names):
        found = sorted(map(str, outputs))
        return f"forward() returned {found} but the spec's heads are {names}: {remedy}."
    for head in (head for head in spec.heads if head.name in outputs):
        value = outputs[head.name]
        if not isinstance(value, Tensor):
            return (
                f"forward() returned {_kind(value)} for head '{head.name}', where logits are one "
                "tensor: take the one of full size, and for deep supervision give each of the "
                "others a head of its own with its stride."
            )
        shape = (batch, len(head.channels), *(() if head.kind == "scalar" else head.shape))
        if tuple(value.shape) == shape:
            continue
        told = (
            f"forward() returned head '{head.name}' of shape {tuple(value.shape)} for a patch of "
            f"{spec.grids[0].shape}; its spec says {shape}"
        )
        if value.ndim == len(shape) and value.shape[1] != shape[1]:
            return (
                f"{told}, a channel for each of {head.channels}: make {shape[1]} output channels "
                "by spec.classes or by the head's channels, and none by a number of your own."
            )
        if stride := _coarser(tuple(value.shape[2:]), shape[2:]):
            have = tuple(value.shape[2:])
            return (
                f"{told}. It has one voxel for {'x'.join(map(str, stride))} of those: enlarge it "
                f"in the network, or give the head shape={have} and "
                f"stride={tuple(a * b for a, b in zip(stride, head.stride, strict=True))}."
            )
        return f"{told}: correct the network, the head's shape or the size rule."
    for own in (own for own in spec.maps if own.name in outputs):
        value, wanted_shape = outputs[own.name], (batch, 1, *own.shape)
        if not isinstance(value, Tensor) or tuple(value.shape) != wanted_shape:
            return (
                f"forward() returned {_kind(value)} for map '{own.name}'; its spec says a tensor "
                f"of shape {wanted_shape}, one channel."
            )
    return ""


def _coarser(have: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """By how much an output is coarser along each axis; empty where it is not that."""
    if len(have) != 3 or len(wanted) != 3 or min(have) < 1:
        return ()
    if any(w % h for h, w in zip(have, wanted, strict=True)):
        return ()
    return tuple(w // h for h, w in zip(have, wanted, strict=True))


def _kind(value: object) -> str:
    """What something is, for people."""
    if isinstance(value, (list, tuple)):
        inside = {type(item).__name__ for item in value}
        name = {"Tensor": "tensor"}.get(*inside, *inside) if len(inside) == 1 else "value"
        return f"a {type(value).__name__} of {len(value)} {name}{'s' * (len(value) != 1)}"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"
