"""The precision that networks are computed in: what a device is made for, and what was asked for.

Weights, losses and optimisers are float32 in any case; torch's autocast rounds what convolutions
and matrix products read and write.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch

from kitsbench.errors import UsageError

Precision = Literal["float32", "bfloat16", "float16"]

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_BFLOAT16, _FLOAT16 = 8, 7  # major compute capability from which on tensor cores take it


def best_precision(device: torch.device) -> Precision:
    """What a device computes fastest in without harm to training.

    bfloat16 from compute capability 8 on, float16 on 7.x, float32 below and on a CPU. Below 8,
    cuDNN has no convolutions in bfloat16, and torch's own are many times slower.
    """
    if device.type != "cuda":
        return "float32"
    major, _ = torch.cuda.get_device_capability(device)
    if major >= _BFLOAT16:
        return "bfloat16"
    return "float16" if major == _FLOAT16 else "float32"


def choose_precision(wish: str, kind: str, best: Precision) -> Precision:
    """What a trial computes in.

    Parameters
    ----------
    wish : {"auto", "float32", "bfloat16", "float16"}
    kind : {"cpu", "cuda"}
    best : {"float32", "bfloat16", "float16"}
        As of :func:`best_precision`.

    Raises
    ------
    UsageError
        The device cannot, only by detours that make it many times slower, or gives wrong numbers.
    """
    if wish == "auto":
        return best
    if wish == "float16" and kind == "cpu":
        raise UsageError(
            "--precision float16 needs a GPU; a CPU computes in float32, or in bfloat16 where it "
            "is asked to. Leave --precision out, or choose another --device."
        )
    if wish == "bfloat16" and kind == "cuda" and best != "bfloat16":
        raise UsageError(
            "--precision bfloat16 needs a GPU of compute capability 8 or more (Ampere or later), "
            f"and this one is older. Leave --precision out, which means {best} here."
        )
    if wish == "bfloat16" and kind == "cpu" and not cpu_is_right_in_bfloat16():
        raise UsageError(
            f"--precision bfloat16 is wrong on this processor: torch {torch.__version__} takes "
            "gradients of convolutions over maps of two voxels from memory that nobody filled. "
            "Leave --precision out, which means float32 here."
        )
    known: dict[str, Precision] = {
        "float32": "float32",
        "bfloat16": "bfloat16",
        "float16": "float16",
    }
    return known[wish]


@functools.cache
def cpu_is_right_in_bfloat16() -> bool:
    """Whether convolutions in bfloat16 read nothing here but what they are given; tried once.

    On a processor with instructions for bfloat16 (AVX512-BF16) torch 2.14 takes weights' gradients
    over maps two voxels deep from memory as it lies there.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # Not drawn: generators stay as they are.
        image = torch.linspace(-1, 1, 16 * 2 * 4 * 4).sin().reshape(1, 16, 2, 4, 4)
        weight = torch.linspace(-1, 1, 8 * 16 * 27).cos().reshape(8, 16, 3, 3, 3)
        (right,) = _gradient_of_weights(image, weight, torch.float32)
        for kind in (torch.contiguous_format, torch.channels_last_3d):
            given = image.to(memory_format=kind), weight.to(memory_format=kind)
            for _ in range(12):  # it goes by what lay there before, and well now and then
                for size in range(2, 14):
                    torch.full((6, 2**size), math.nan, dtype=torch.bfloat16)
                (found,) = _gradient_of_weights(*given, torch.bfloat16)
                if not torch.allclose(found, right, rtol=0.1, atol=0.1 * float(right.abs().max())):
                    return False
    return True


def _gradient_of_weights(
    image: torch.Tensor, weight: torch.Tensor, kind: torch.dtype
) -> tuple[torch.Tensor, ...]:
    weight = weight.detach().clone().requires_grad_()
    with torch.autocast("cpu", kind, enabled=kind != torch.float32):
        made = torch.nn.functional.conv3d(image, weight, padding=1)
    return torch.autograd.grad(made.float().square().mean(), weight)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which networks and losses run.

    Parameters
    ----------
    device : torch.device
    precision : {"float32", "bfloat16", "float16"}
    """
    kind = _TYPES.get(precision)
    return torch.autocast(device.type, kind or torch.bfloat16, enabled=kind is not None)


def gradient_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler | None:
    """What keeps gradients in float16 from vanishing; None for what needs no scaling.

    Parameters
    ----------
    device : torch.device
    precision : {"float32", "bfloat16", "float16"}
    """
    return torch.amp.GradScaler(device.type) if precision == "float16" else None
