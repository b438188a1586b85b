"""Runs the kernels of instance norms in triton's interpreter, on a CPU; prints errors as JSON.

A program of its own: the interpreter is chosen when triton is imported.
"""

from __future__ import annotations

import json
import os

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton
from torch.nn.functional import instance_norm

from kitsbench.devices import norm_kernels
from kitsbench.devices.norms import _Normalise

# samples, channels, extent, weights, precision, mean, elements of a tile, programs of a launch
CASES = {
    "one tile": (1, 3, (4, 5, 6), True, "float32", 0.0, 1024, 4096),
    "odd channels": (2, 11, (5, 7, 5), True, "float32", 0.0, 1024, 4096),
    "groups of channels": (1, 67, (2, 3, 3), True, "float16", 0.0, 1024, 4096),
    "two places": (2, 4, (1, 1, 2), False, "float32", 0.0, 1024, 4096),
    "many chunks": (1, 3, (9, 11, 13), True, "float32", 0.0, 128, 4096),
    "many tiles a chunk": (2, 3, (9, 11, 13), True, "bfloat16", 0.0, 128, 12),
    "a large mean": (1, 2, (12, 12, 13), False, "float32", 1000.0, 512, 6),
}


@triton.jit
def _loop(number):
    for _ in range(number):
        pass


def errors(name: str, last: bool) -> dict[str, object]:
    """Largest errors by the largest value, of the kernels and of torch, against float64."""
    samples, channels, extent, affine, precision, mean, tile, programs = CASES[name]
    norm_kernels.TILE = norm_kernels.SMALL = tile
    norm_kernels.PROGRAMS = {False: programs, True: programs}
    draw = torch.Generator().manual_seed(0)
    kind = getattr(torch, precision)
    x = (torch.randn(samples, channels, *extent, generator=draw) + mean).to(kind)
    x[:, 0, 0, 0, 0] -= 5  # no value stands for its channel
    dy = torch.randn(x.shape, generator=draw).to(kind)
    dy = dy.transpose(2, 4).contiguous().transpose(2, 4)  # in neither layout
    if last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    weights = [torch.randn(channels, generator=draw) for _ in range(2)] if affine else []

    def run(function, dtype=None):
        leaves = [x, *weights] if dtype is None else [one.to(dtype) for one in (x, *weights)]
        leaves = [one.detach().clone().requires_grad_() for one in leaves]
        made = function(leaves[0], *(leaves[1:] or (None, None)))
        return [made, *torch.autograd.grad(made, leaves, dy.to(made.dtype))]

    def theirs(x, weight, bias):
        return instance_norm(x, None, None, weight, bias)

    def ours(x, weight, bias):
        return _Normalise.apply(x, weight, bias, 1e-5)

    exact, found = run(theirs, torch.float64), run(ours)
    # Torch on a CPU takes float32 weights with float32 maps alone.
    usual = run(theirs) if precision == "float32" else []
    cut = norm_kernels.plan(x, last)
    return {
        "ours": [off(*pair) for pair in zip(found, exact, strict=True)],
        "theirs": [off(*pair) for pair in zip(usual, exact, strict=False)],
        "strides": found[0].stride() == x.stride() == found[1].stride(),
        "dtypes": [str(one.dtype) for one in found],
        "cut": [cut.chunks, cut.tiles],
    }


def off(found: torch.Tensor, right: torch.Tensor) -> float:
    """Largest difference by the largest value."""
    with torch.no_grad():
        return float((found.double() - right).abs().max() / right.abs().max())


def others() -> dict[str, object]:
    """Gradients that are not all wanted, of gradients, and of what was laid out anew."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 4, 4, generator=draw, requires_grad=True)
    weight = torch.randn(3, generator=draw, requires_grad=True)
    bias = torch.randn(3, generator=draw, requires_grad=True)
    dy = torch.randn(x.shape, generator=draw)

    def penalty(function):
        slope = torch.autograd.grad(function(x, weight, bias), x, dy, create_graph=True)[0]
        return torch.autograd.grad(slope.square().sum(), (x, weight))

    ours = penalty(lambda *three: _Normalise.apply(*three, 1e-5))
    theirs = penalty(lambda x, w, b: instance_norm(x, None, None, w, b))
    right = torch.autograd.grad(instance_norm(x, None, None, weight, bias), weight, dy)
    _Normalise.apply(x.detach(), weight, bias.detach(), 1e-5).backward(dy)
    # What keeps tensors elsewhere meanwhile may bring them back in another layout.
    last = x.detach().contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda kept: kept, lambda kept: kept.clone(memory_format=torch.contiguous_format)
    ):
        moved = torch.autograd.grad(_Normalise.apply(last, weight, bias, 1e-5), (last, weight), dy)
    usual = torch.autograd.grad(instance_norm(x, None, None, weight, bias), (x, weight), dy)
    return {
        "moved meanwhile": [off(*pair) for pair in zip(moved, usual, strict=True)],
        "penalty": [off(*pair) for pair in zip(ours, theirs, strict=True)],
        "weight alone": off(weight.grad, right[0]),
        "others are left": x.grad is None and bias.grad is None,
        "nothing to derive": _Normalise.apply(x.detach(), None, None, 1e-5).requires_grad,
    }


if __name__ == "__main__":
    try:
        _loop[(1,)](2)
    except Exception as error:  # older releases do not go with every release of numpy
        raise SystemExit(f"cannot interpret: {error}") from None
    print(
        json.dumps(
            {f"{name}, {last}": errors(name, last) for name in CASES for last in (False, True)}
            | {"others": others()}
        )
    )
