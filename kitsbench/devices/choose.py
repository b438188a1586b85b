"""Devices that a user names."""

from __future__ import annotations

import torch

from kitsbench.errors import UsageError


def choose_devices(wish: str) -> tuple[str, ...]:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:0,cuda:1`` into devices of this machine.

    Raises
    ------
    UsageError
        The text is none of these, or a device does not exist.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    every = tuple(f"cuda:{index}" for index in range(count))
    if wish == "auto":
        return every or ("cpu",)
    if wish == "cpu":
        return ("cpu",)
    if wish.partition(":")[0] == "mps":
        raise UsageError(
            "--device mps: kitsbench trains on CPUs and on CUDA devices, and was checked on no "
            "other. Use --device cpu on this machine."
        )
    named = every if wish == "cuda" else tuple(part.strip() for part in wish.split(","))
    if not all(name.removeprefix("cuda:").isdigit() and name[:5] == "cuda:" for name in named):
        raise UsageError(
            f"The device '{wish}' cannot be read; write auto, cpu, cuda, or GPUs such as "
            "cuda:0,cuda:1."
        )
    if len(set(named)) < len(named):
        raise UsageError(f"The device '{wish}' names a GPU twice.")
    if missing := sorted(set(named) - set(every)) or ([wish] if not named else []):
        found = f"it finds {', '.join(every)}" if every else "it finds none"
        raise UsageError(
            f"torch can use no CUDA device {', '.join(missing)} here: {found}. Name another "
            "--device, leave it out, or see `kitsbench doctor`."
        )
    return named


def choose_device(wish: str) -> torch.device:
    """The one device that a wish means: the named one, or the first of several.

    Raises
    ------
    UsageError
        As of :func:`choose_devices`, or the wish names several GPUs.
    """
    if "," in wish:
        raise UsageError(
            f"The device '{wish}' names several GPUs, and one is used here; name one, such as "
            f"{wish.partition(',')[0].strip()}."
        )
    return torch.device(choose_devices(wish)[0])
