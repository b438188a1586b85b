"""Instance normalisation on a GPU in kernels of its own, for every network that uses torch's.

Torch runs it there as batch normalisation with one block of threads for each channel of a sample,
which leaves most of the card idle where maps are large and channels few, and it copies what lies
channels-last. The kernels of :mod:`kitsbench.devices.norm_kernels` give the same to rounding.
"""

from __future__ import annotations

import errno
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

KINDS = (torch.float32, torch.bfloat16, torch.float16)
PLAIN = (Tensor, nn.Parameter)

# Whether the kernels work, by the number of a device; one that failed later is off for good.
_working: dict[int, bool] = {}


class InstanceNorm3d(nn.InstanceNorm3d):
    """Torch's layer with kernels that use the whole card; it has nothing that torch's has not.

    What they do not cover is left to torch: tensors that are no plain ones of a GPU, running
    statistics, other precisions, maps that lie in neither layout, compiling and tracing, and
    whatever is an error.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[N, C, D, H, W]`` over its places; see :class:`torch.nn.InstanceNorm3d`."""
        if torch.compiler.is_compiling() or not _covers(self, input):
            return super().forward(input)
        try:
            made: Tensor = _Normalise.apply(input, self.weight, self.bias, self.eps)
            return made
        except Exception as error:
            if _no_memory(error):
                raise
            _working[input.device.index] = False
        return super().forward(input)


def fast_norms(network: nn.Module, device: torch.device) -> int:
    """Give a network's instance norms in 3D the kernels, where they work; only on CUDA.

    Parameters
    ----------
    network : nn.Module
        Changed in place: only classes change, so that parameters, names and copies stay. A class
        that derives from torch's may do something else and is left as it is.
    device : torch.device

    Returns
    -------
    int
        How many there are.
    """
    # The exact class; looked at first, since a look at the kernels may have to build them.
    found = [module for module in network.modules() if type(module) is nn.InstanceNorm3d]
    if device.type != "cuda" or not found or not _work(device):
        return 0
    for module in found:
        module.__class__ = InstanceNorm3d
    return len(found)


def norm_kernels(device: torch.device) -> Literal["triton", "torch"]:
    """Whose kernels instance norms run in on a GPU, for the record."""
    try:
        return "triton" if _work(device) else "torch"
    except Exception:  # no memory; training will say so
        return "torch"


def _work(device: torch.device) -> bool:
    """Whether the kernels can be built and give what torch's give, tried once on a small map.

    They cannot without triton or a C compiler, or on a card that triton does not know.
    """
    number = device.index
    try:
        if number is None:
            number = torch.cuda.current_device()
        if number not in _working and not _watched():
            _working[number] = _right(torch.device("cuda", number))
        return _working.get(number, False)
    except Exception as error:
        if _no_memory(error):
            raise
        return _working.setdefault(number or 0, False)


def _right(device: torch.device) -> bool:
    with torch.inference_mode(False), torch.enable_grad():
        # Not drawn: generators stay as they are.
        places = torch.arange(2 * 3 * 60, device=device, dtype=torch.float32)
        x = (places * 0.7).sin().reshape(2, 3, 3, 4, 5)
        weight = torch.tensor([0.5, 1.0, 2.0], device=device)
        dy = x.square()
        x, weight = x.requires_grad_(), weight.requires_grad_()
        ours = _Normalise.apply(x, weight, weight, 1e-5)
        theirs = nn.functional.instance_norm(x, None, None, weight, weight)
        pairs = zip(
            (ours, *torch.autograd.grad(ours, (x, weight), dy)),
            (theirs, *torch.autograd.grad(theirs, (x, weight), dy)),
            strict=True,
        )
    return all(torch.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in pairs)


def _no_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):  # a compiler that could not be started
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and "out of memory" in str(error).lower()


def _covers(module: nn.InstanceNorm3d, x: Tensor) -> bool:
    """Whether the kernels do for this map what torch would, without an error or a warning."""
    if type(x) not in PLAIN or x.device.type != "cuda" or not _working.get(x.device.index):
        return False
    if x.dtype not in KINDS or x.dim() != 5 or x.shape[1] != module.num_features:
        return False
    if module.track_running_stats or module.running_mean is not None:
        return False
    if x.numel() <= x.shape[0] * x.shape[1]:  # nothing, or one place a channel: torch's error
        return False
    if _last(x) is None:
        return False
    return all(_fits(one, x) for one in (module.weight, module.bias)) and not _watched()


def _last(x: Tensor) -> bool | None:
    """Whether channels lie last in memory; None where a map lies in neither layout."""
    if x.is_contiguous():
        return False
    return True if x.is_contiguous(memory_format=torch.channels_last_3d) else None


def _fits(weight: Tensor | None, x: Tensor) -> bool:
    return weight is None or (
        type(weight) in PLAIN
        and weight.device == x.device
        and weight.dtype in (torch.float32, x.dtype)
        and weight.shape == x.shape[1:2]
        and weight.is_contiguous()
    )


def _watched() -> bool:
    """Whether something looks at or transforms single operations, as vmap, jvp and tracing do."""
    return bool(
        torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    )


class _Normalise(torch.autograd.Function):
    """Normalise; only the map, its statistics and the weight are kept for the way back."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        from kitsbench.devices.norm_kernels import normalise

        y, mean, rstd = normalise(x, weight, bias, eps, bool(_last(x)))
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        from kitsbench.devices.norm_kernels import gradients

        x, weight, mean, rstd = ctx.saved_tensors
        wanted = tuple(ctx.needs_input_grad[:3])
        # A gradient that is itself derived, as for a penalty on it, is made of torch's operations.
        if not torch.is_grad_enabled() and type(dy) is Tensor and not _watched():
            try:
                # Asked again: what keeps tensors elsewhere may bring them back in another layout.
                if (last := _last(x)) is None:
                    x, last = x.contiguous(), False
                return *gradients(dy, x, weight, mean, rstd, last, wanted), None
            except Exception as error:
                if _no_memory(error):
                    raise
                _working[x.device.index] = False
        return *differentiable_gradients(dy, x, weight, ctx.eps, wanted), None


def differentiable_gradients(
    dy: Tensor, x: Tensor, weight: Tensor | None, eps: float, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients by map, weight and bias of instance normalisation, in torch's operations.

    Parameters
    ----------
    dy, x : Tensor, [N, C, D, H, W]
    weight : Tensor or None, [C]
    eps : float
    wanted : (bool, bool, bool)

    Returns
    -------
    Tensor or None, three times
        Those that are wanted, in the precisions of ``x`` and ``weight``.
    """
    places, others = (2, 3, 4), (0, 2, 3, 4)
    slope, value = dy.float(), x.float()
    value = value - value.mean(places, keepdim=True)
    rstd = (value.square().mean(places, keepdim=True) + eps).rsqrt()
    value = value * rstd
    kind = torch.float32 if weight is None else weight.dtype
    dx = dw = db = None
    if wanted[0]:
        scale = rstd if weight is None else rstd * weight.float().reshape(1, -1, 1, 1, 1)
        shared = (slope * value).mean(places, keepdim=True)
        dx = (slope - slope.mean(places, keepdim=True) - value * shared) * scale
        dx = dx.to(x.dtype)
    if wanted[1]:
        dw = (slope * value).sum(others).to(kind)
    if wanted[2]:
        db = slope.sum(others).to(kind)
    return dx, dw, db
