"""The precision that networks are computed in: what a device is made for, and what was asked for.

Weights, losses and optimisers are float32 in any case; torch's autocast rounds what convolutions
and matrix products read and write.
"""

from __future__ import annotations

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
        The device cannot, or only by detours that make it many times slower.
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
    known: dict[str, Precision] = {
        "float32": "float32",
        "bfloat16": "bfloat16",
        "float16": "float16",
    }
    return known[wish]


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
