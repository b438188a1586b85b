"""Batches on their way to a device: drawn in threads, copied a batch ahead of what computes.

A batch is prepared in a thread of the loader, in its order, and packed into one page-locked buffer.
One copy on a stream of its own takes it to the device while the step before computes. Nothing here
waits for the device: the step's stream waits for the copy, in
:meth:`kitsbench.data.batches.prepared.Prepared.to`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from kitsbench.data.batches.patches import PatchSource, Planner
from kitsbench.data.batches.prepared import Arrival, Prepared

Drawn = TypeVar("Drawn")

MOST_THREADS = 4
AHEAD = 3  # batches that wait for a slow device, with one thread
ROUNDED = 2**21  # bytes; buffers of one size are used again, of many sizes they pile up


def loader_threads(device: torch.device) -> int:
    """How many threads draw batches for a device: half of the process's cores, 2 to 4.

    One where there is one core, and beside a network that trains on the CPU itself.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    if device.type == "cpu" or cores == 1:
        return 1
    return min(max(cores // 2, 2), MOST_THREADS)


def feed(
    source: PatchSource,
    planner: Planner,
    device: torch.device,
    first: int = 0,
    threads: int | None = None,
) -> Generator[Prepared]:
    """Batches from step ``first`` on, on their way to a device.

    Parameters
    ----------
    source : PatchSource
        Closed when the iterator is.
    planner : Planner
        The augmentation that follows.
    device : torch.device
        On a CPU batches are prepared in a thread, and that is all.
    first : int
    threads : int, optional
        By default as of :func:`loader_threads`. Batches do not depend on it.

    Yields
    ------
    Prepared
        To be taken by :meth:`~kitsbench.data.batches.prepared.Prepared.to` within the step, so that
        the step's clock charges for a copy that comes late.
    """
    threads = threads or loader_threads(device)
    cuda = device.type == "cuda"
    if cuda and device.index is None:
        # What is current here need not be what is current in a new thread.
        device = torch.device("cuda", torch.cuda.current_device())

    def draw(step: int) -> Prepared:
        batch = source.prepared(step, planner)
        if not cuda:
            return batch
        # Page-locked memory belongs to a device's context, which is that of the thread.
        with torch.cuda.device(device):
            return batch.for_device().pack(pin=True)

    with contextlib.closing(source):
        drawn = in_order(draw, first, threads, AHEAD if threads == 1 else threads + 2)
        with contextlib.closing(drawn):
            if cuda:
                yield from _a_batch_ahead(drawn, Uploader(device))
            else:
                for future in drawn:
                    yield future.result()


def in_order(
    draw: Callable[[int], Drawn], first: int, threads: int, ahead: int
) -> Generator[concurrent.futures.Future[Drawn]]:
    """What ``draw`` returns for step ``first`` and all after it, as futures, drawn in threads."""
    # Numpy lets go of the interpreter's lock while it copies. No more than ``ahead`` batches wait,
    # however slow the device is.
    with concurrent.futures.ThreadPoolExecutor(threads, "kitsbench-loader") as pool:
        waiting = deque(pool.submit(draw, first + k) for k in range(ahead))
        step = first + ahead
        try:
            while True:
                yield waiting.popleft()
                waiting.append(pool.submit(draw, step))
                step += 1
        finally:
            for future in waiting:
                future.cancel()


def _a_batch_ahead(
    drawn: Generator[concurrent.futures.Future[Prepared]], upload: Uploader
) -> Generator[Prepared]:
    """Upload each batch while the step before it computes, if it has been drawn by then."""
    batch = upload(next(drawn).result())
    for following in drawn:
        # Not to be waited for: the step that this batch is for could begin. Nor shall it fail for
        # a later one, which may not be needed.
        sound = following.done() and following.exception() is None
        early = upload(following.result()) if sound else None
        yield batch
        # The step has been queued; the copy that is begun here still goes beside it.
        batch = early or upload(following.result())


class Uploader:
    """Copies packed batches to a CUDA device on a stream of its own.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device):
        self.device, self.largest = device, 0
        self.stream = torch.cuda.Stream(device)

    def __call__(self, batch: Prepared) -> Prepared:
        """Begin to copy a batch; the tensors of what is returned are there after its arrival.

        Parameters
        ----------
        batch : Prepared
            Packed in page-locked memory. It is returned as it is where the device has no memory
            for it: within the step, where it is copied then, that can be helped.
        """
        assert batch.buffer is not None
        with torch.cuda.stream(self.stream):
            try:
                buffer = self._room(batch.buffer.numel())
            except torch.OutOfMemoryError:
                return batch
            # Torch's allocator of page-locked memory notes the copy, and gives the memory to
            # nobody else before it is done.
            buffer.copy_(batch.buffer, non_blocking=True)
            done = torch.cuda.Event()
            done.record(self.stream)
        return replace(batch.moved(buffer), arrival=Arrival(done, buffer))

    def _room(self, size: int) -> Tensor:
        """Memory of the copying stream for a batch."""
        self.largest = max(self.largest, -(-size // ROUNDED) * ROUNDED)
        return torch.empty(self.largest, dtype=torch.uint8, device=self.device)[:size]
