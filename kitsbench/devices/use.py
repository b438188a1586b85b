"""Set a process up for its device, once, before anything runs on it."""

from __future__ import annotations

from typing import Any

import torch

from kitsbench.devices.norms import norm_kernels

MATMUL = "highest"  # float32 products are float32, on every card


def use_device(device: torch.device, threads: int | None = None) -> None:
    """Make a device the one that this process works on.

    Parameters
    ----------
    device : torch.device
    threads : int, optional
        CPU threads; left as they are by default.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    # Set, and not only hoped for: an environment variable of torch or an import may have changed
    # it, and with it the last digits of what a plugin multiplies in float32.
    torch.set_float32_matmul_precision(MATMUL)
    if device.type != "cuda":
        return
    # Whatever is called without a device means this one: events, streams, generators, libraries.
    # Without it every process would open a context, of half a gigabyte, on the first GPU as well.
    if device.index is not None:
        torch.cuda.set_device(device)
    # Patches have one shape, so a search for the fastest convolution is made once and pays always.
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True  # convolutions in float32, as torch has it by default


def settings(device: torch.device) -> dict[str, Any]:
    """What is in force in this process, as plain data for the record of a trial.

    Returns
    -------
    dict
        ``matmul_precision``; on CUDA also ``cudnn_benchmark``, ``cudnn_tf32`` and
        ``instance_norm``, the kernels of instance norms: ``triton`` or ``torch``.
    """
    found: dict[str, Any] = {"matmul_precision": torch.get_float32_matmul_precision()}
    if device.type == "cuda":
        found["cudnn_benchmark"] = torch.backends.cudnn.benchmark
        found["cudnn_tf32"] = torch.backends.cudnn.allow_tf32
        found["instance_norm"] = norm_kernels(device)
    return found
