"""What is done when the memory of the device runs out: less at once, then less on the device."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from kitsbench.devices.peaks import forget_since, peak_memory

Try = TypeVar("Try")
Result = TypeVar("Result")

HOST = torch.device("cpu")


def ran_out(error: BaseException) -> bool:
    """Whether torch itself says that memory ran out; what a network raises may say it in words."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError))


def ways(tiles: int, device: torch.device) -> Iterator[tuple[int, torch.device]]:
    """Tiles of one pass and where their sums lie: the quickest first, the most frugal last."""
    for home in dict.fromkeys((device, HOST)):
        fewer = tiles
        while fewer:
            yield fewer, home
            fewer //= 2


def first_that_fits(
    tries: Sequence[Try],
    work: Callable[[Try], Result],
    exhausted: Callable[[BaseException], bool],
    device: torch.device,
) -> Result:
    """Result of the first way to do something for which there is enough memory.

    Parameters
    ----------
    tries : sequence
        What ``work`` is called with, one after the other.
    work : callable
        Starts anew each time.
    exhausted : callable
        Whether an exception means that memory ran out. Others are raised at once.
    device : torch.device
        Whose memory is given back in between, and whose peak forgets the tries that failed.

    Raises
    ------
    Exception
        What the last way raised.
    """
    for one in tries[:-1]:
        peak = peak_memory(device)
        try:
            return work(one)
        except Exception as error:
            if not exhausted(error):
                raise
        # Outside of the block above, since an exception holds on to all that its frames hold.
        release(device, peak)
    return work(tries[-1])


def release(device: torch.device, peak: int) -> None:
    """Give memory that a failed try has left back to the device.

    Parameters
    ----------
    device : torch.device
    peak : int
        As of :func:`~kitsbench.devices.peaks.peak_memory` before the try.
    """
    gc.collect()
    if device.type == "cuda" and torch.cuda.is_available():
        torch.cuda.empty_cache()
    forget_since(device, peak)
