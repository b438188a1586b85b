"""Networks onto a device that the machine does not have: parameters and buffers as fake tensors."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from kitsbench.conformance.fake_gpu.gradient import replaced
from kitsbench.conformance.fake_gpu.watching import device


@functools.cache
def mode() -> Any:
    """The owner of all fake tensors of this process, since a plugin may keep one of them."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


def move(network: nn.Module) -> None:
    """Put parameters and buffers on the device, each once, however often it is registered.

    Parameters stay the tensors that they are, as on a real device, so that whoever else keeps one
    has it moved too; a buffer, which may be a table of the whole module, gives way to another.
    Torch itself moves fake tensors by others in their place, and none that it meets twice.
    """
    moved: dict[int, tuple[Tensor, Tensor]] = {}  # with what each was, so that its id stays its own
    for module in network.modules():
        registered: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for own in registered:
            for name, value in own.items():
                if value is None or value.device.type == "cuda":
                    continue
                if id(value) not in moved:
                    moved[id(value)] = value, _on_device(value)
                own[name] = moved[id(value)][1]
    # Some move along what they keep beside these.
    with replaced(nn.Module, "_apply", _stays):
        for module in network.modules():
            if type(module)._apply is not _stays:
                module._apply(_moved)


def _stays(module: nn.Module, *_: Any, **__: Any) -> nn.Module:
    return module


def _moved(value: Tensor) -> Tensor:
    return torch.empty_like(value, device=device()) if value.is_meta else value.to(device())


def _on_device(value: Tensor) -> Tensor:
    """A tensor as a fake one on the device, a parameter under its own identity if that can be."""
    from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

    with unset_fake_temporarily():
        form = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
    fake: Tensor = FakeTensor(mode(), form, device())
    if not isinstance(value, nn.Parameter):
        return fake
    fake.requires_grad_(value.requires_grad)
    fake._is_param = True  # as torch.nn.Parameter marks tensors of other classes
    try:
        torch.utils.swap_tensors(value, fake)
    except RuntimeError:  # something refers to it that would not see the other
        return fake
    return value
