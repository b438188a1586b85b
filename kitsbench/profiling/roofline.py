"""How much of what the device can do a network gets, by the device's own measured peaks.

The model is that of Williams, Waterman and Patterson (2009): work that makes few operations of
each byte is bounded by the memory, other work by the arithmetic. Both bounds are measured on the
device and not taken from a data sheet, which knows nothing of its clocks, threads and libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kitsbench.devices.use import use_device
from kitsbench.errors import KitsbenchError
from kitsbench.profiling.apart import measured_apart
from kitsbench.profiling.repeat import Effort, finish, repeat, wholes

# Large enough to leave the caches, small enough for a second on a CPU.
EDGES = {"cpu": 768, "cuda": 8192}
CHANNELS = {"cpu": 64, "cuda": 256}
PATCH = {"cpu": 24, "cuda": 64}
COPIED = {"cpu": 2**26, "cuda": 2**29}  # float32 numbers


def measure_peaks(device: torch.device, precision: str, effort: Effort) -> dict[str, float]:
    """The most that the device does: multiply matrices, convolve, and copy.

    Parameters
    ----------
    device : torch.device
    precision : {"float32", "bfloat16", "float16"}
    effort : Effort

    Returns
    -------
    dict
        ``flops_per_s``, the better of ``matmul_flops_per_s`` and ``convolution_flops_per_s``; and
        ``bytes_per_s``, each the best of the repetitions.
    """
    kind, edge = device.type, EDGES[device.type]
    with torch.random.fork_rng([device] if kind == "cuda" else []):
        torch.manual_seed(0)
        kept = {"device": device, "dtype": getattr(torch, precision)}
        left, right = (torch.randn(edge, edge, device=device).to(**kept) for _ in range(2))
        channels, size = CHANNELS[kind], PATCH[kind]
        layer = nn.Conv3d(channels, channels, 3, padding=1, bias=False).to(**kept)
        layer = layer.to(memory_format=torch.channels_last_3d)
        patch = torch.randn(2, channels, size, size, size, device=device).to(**kept)
        patch = patch.to(memory_format=torch.channels_last_3d)
    source = torch.zeros(COPIED[kind], device=device)
    target = torch.empty_like(source)

    def best(work: Callable[[], object]) -> float:
        with torch.inference_mode():
            found = min(wholes(repeat(work, device, effort)))
        finish(device)
        return found

    matmul = 2 * edge**3 / best(lambda: left @ right)
    convolution = 2 * 27 * channels**2 * 2 * size**3 / best(lambda: layer(patch))
    return {
        "flops_per_s": max(matmul, convolution),
        "matmul_flops_per_s": matmul,
        "convolution_flops_per_s": convolution,
        # Each number is read once and written once.
        "bytes_per_s": 2 * 4 * COPIED[kind] / best(lambda: target.copy_(source)),
    }


class ByteCounter(torch.utils._python_dispatch.TorchDispatchMode):
    """Bytes of the tensors that operations read and write, as if no cache held any of them.

    What an operation keeps on the chip is not counted; what several fused operations would not
    write is. So it is what the network moves when it runs as it is written.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        """Count, and do what was asked."""
        found = function(*arguments, **(options or {}))
        # A view moves nothing.
        if not getattr(function, "is_view", False):
            self.bytes += _bytes(arguments) + _bytes(found)
        return found


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(_bytes(one) for one in value)
    return 0


def count_bytes(work: Callable[[], object]) -> int:
    """Bytes that operations of some work read and write."""
    with ByteCounter() as counter:
        work()
    return counter.bytes


def place(
    flops: float | None, moved: float | None, seconds: float, peaks: Mapping[str, float]
) -> dict[str, Any] | None:
    """Where work lies under the roof.

    Parameters
    ----------
    flops, moved : float or None
        Operations of the work, and bytes.
    seconds : float
    peaks : mapping
        As of :func:`measure_peaks`.

    Returns
    -------
    dict or None
        ``flops_per_s`` and ``bytes_per_s`` that were achieved; ``flops_share`` and ``bytes_share``
        of the peaks; ``intensity`` and ``ridge``, FLOPs a byte of the work and of the device;
        ``roof_share``, of what the work could get at best; ``bound``, ``arithmetic`` or ``memory``.
        None where FLOPs cannot be counted.
    """
    if not flops or not moved or seconds <= 0:
        return None
    ridge = peaks["flops_per_s"] / peaks["bytes_per_s"]
    intensity = flops / moved
    roof = min(peaks["flops_per_s"], intensity * peaks["bytes_per_s"])
    return {
        "flops_per_s": flops / seconds,
        "bytes_per_s": moved / seconds,
        "flops_share": flops / seconds / peaks["flops_per_s"],
        "bytes_share": moved / seconds / peaks["bytes_per_s"],
        "intensity": intensity,
        "ridge": ridge,
        "roof_share": flops / seconds / roof,
        "bound": "memory" if intensity < ridge else "arithmetic",
    }


def read(found: Mapping[str, Any]) -> str:
    """The reading of :func:`place` in words."""
    limit = "bandwidth of the memory" if found["bound"] == "memory" else "arithmetic"
    text = (
        f"{found['flops_per_s'] / 1e9:.3g} GFLOP/s and {found['bytes_per_s'] / 1e9:.3g} GB/s, "
        f"{100 * found['flops_share']:.0f} % and {100 * found['bytes_share']:.0f} % of the "
        f"device's measured peaks; at {found['intensity']:.3g} FLOPs a byte its roof is the "
        f"{limit}"
    )
    if found["roof_share"] > 1:
        return text + ", and it does better than that: caches hold part of what it moves"
    share = f"{100 * found['roof_share']:.0f} %"
    if found["roof_share"] < 0.25:
        return (
            text + f", of which it reaches {share}: small operations and their launches take time"
        )
    return text + f", of which it reaches {share}"


@dataclass(frozen=True)
class PeaksJob:
    """The device whose peaks are measured, and how.

    Parameters
    ----------
    device, precision : str
    threads : int
        CPU threads.
    seconds, warm, least
        As of :class:`~kitsbench.profiling.job.ProfileJob`.
    """

    device: str
    precision: str
    threads: int
    seconds: float = 0.3
    warm: int = 1
    least: int = 3

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"the peak speed of {self.device}"


def peaks_of(job: PeaksJob) -> dict[str, float]:
    """Measure, in a process of its own; empty where it cannot be done.

    A device that is slower at float16 than anybody would wait for has no peaks there.
    """
    try:
        return measured_apart(_peaks, job, timeout=60.0)
    except KitsbenchError:
        return {}


def _peaks(job: PeaksJob) -> dict[str, float]:
    device = torch.device(job.device)
    use_device(device, job.threads)
    return measure_peaks(device, job.precision, job)
