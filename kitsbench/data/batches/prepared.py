"""What the host has prepared for the augmentation of one step.

Everything that is drawn or computed on the host is in here, as tensors and as plain numbers, so
that a batch goes to a device in one copy and its augmentation asks the host for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kitsbench.data.batches.intensity import Change
from kitsbench.data.batches.paths import Box, DevicePath, Path
from kitsbench.data.batches.rows import touched_rows

ALIGNED = 64  # bytes; where a tensor begins in the buffer of a batch


@dataclass(frozen=True)
class Course:
    """What is done to one sample on one grid.

    Attributes
    ----------
    box : Box
        The voxels of the source patch that are needed.
    path : Path, DevicePath or None
        Where each voxel comes from; None where the box is the patch.
    flips : tuple of bool
        Axes (z, y, x) along which a patch without a path is mirrored.
    changes : tuple of Change
        Of intensities, in order.
    """

    box: Box
    path: Path | DevicePath | None = None
    flips: tuple[bool, bool, bool] = (False, False, False)
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a source patch lies in its scan.

    Attributes
    ----------
    start : tuple of int
        First voxel, may be negative.
    shape : tuple of int
        Of the scan, in voxels of the grid.
    spacing : tuple of float
        mm.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """Source voxels of one sample on one grid, and what is done to them.

    Attributes
    ----------
    image : Tensor (z, y, x)
        HU of the course's box; flat, where its path says that only the touched rows came.
    label : Tensor (z, y, x)
        uint8.
    course : Course
    more : tuple of Tensor
        As ``image``, of the grid's other channels whose voxels are read: HU, or any float32.
    place : Place or None
        None where the grid shows the CT alone.
    """

    image: Tensor
    label: Tensor
    course: Course
    more: tuple[Tensor, ...] = ()
    place: Place | None = None

    def for_device(self) -> Sample:
        """As it is wanted by any device but a CPU, with no voxels that its path does not touch."""
        path = self.course.path
        if not isinstance(path, Path):
            return self
        there, volumes = path.on_device(), [self.image, self.label, *self.more]
        rows = touched_rows(path) if self.image.device.type == "cpu" else None
        if rows is not None:
            there = replace(there, begins=rows.begins())
            volumes = rows.cut(*volumes)
        image, label, *more = volumes
        return Sample(image, label, replace(self.course, path=there), tuple(more), self.place)

    def map(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """Change each tensor."""
        path = self.course.path and self.course.path.map(change)
        image, label, *more = (change(v) for v in (self.image, self.label, *self.more))
        return Sample(image, label, replace(self.course, path=path), tuple(more), self.place)


@dataclass(frozen=True)
class Arrival:
    """A copy to a device that is under way.

    Attributes
    ----------
    done : torch.cuda.Event
        Recorded behind the copy on the stream that makes it.
    buffer : Tensor
        What is copied to.
    """

    done: Any
    buffer: Tensor

    def wait(self) -> None:
        """Let the device's current stream wait for the copy; the host does not."""
        stream = torch.cuda.current_stream(self.buffer.device)
        stream.wait_event(self.done)
        # The memory belongs to the copying stream. It may be used again only when this one is
        # through with it.
        self.buffer.record_stream(stream)


@dataclass(frozen=True)
class Prepared:
    """A batch, ready for the device half of the augmentation.

    Attributes
    ----------
    grids : dict of str to tuple of Sample
        {grid: one for each sample}.
    cases : tuple of str
        Case of each sample.
    step : int
    numbers : dict of str to Tensor
        {input: (B, size)}, float32.
    buffer : Tensor or None
        uint8; what all tensors are views of, once they are packed.
    arrival : Arrival or None
        Of a batch that is being copied to a device.
    """

    grids: Mapping[str, tuple[Sample, ...]]
    cases: tuple[str, ...]
    step: int
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    buffer: Tensor | None = None
    arrival: Arrival | None = field(default=None, compare=False)

    def map(self, change: Callable[[Tensor], Tensor]) -> Prepared:
        """Change each tensor, always in the same order."""
        grids = {
            name: tuple(sample.map(change) for sample in samples)
            for name, samples in self.grids.items()
        }
        numbers = {name: change(values) for name, values in self.numbers.items()}
        return replace(self, grids=grids, numbers=numbers)

    def tensors(self) -> list[Tensor]:
        """All tensors, in the order of :meth:`map`."""
        found: list[Tensor] = []

        def note(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        self.map(note)
        return found

    def for_device(self) -> Prepared:
        """With tables and voxels as they are wanted by any device but a CPU."""
        grids = {
            name: tuple(sample.for_device() for sample in samples)
            for name, samples in self.grids.items()
        }
        return replace(self, grids=grids)

    def pack(self, pin: bool = False) -> Prepared:
        """Copy all tensors into one buffer, in page-locked memory if asked for."""
        tensors = self.tensors()
        places = [0]
        for tensor in tensors:
            size = tensor.numel() * tensor.element_size()
            places.append(places[-1] + -(-size // ALIGNED) * ALIGNED)
        buffer = torch.empty(places[-1], dtype=torch.uint8, pin_memory=pin)
        packed = self._in(buffer, places)
        for target, tensor in zip(packed.tensors(), tensors, strict=True):
            # By numpy, which starts no threads of its own in a thread of the loader.
            np.copyto(target.numpy(), tensor.numpy())
        return packed

    def to(self, device: torch.device) -> Prepared:
        """The batch on a device, for the stream that is current there.

        A batch that is on its way is waited for there, and the host goes on.
        """
        if self.arrival is not None:
            self.arrival.wait()
            return self
        if device.type == "cpu":
            return self
        ready = self.for_device()
        if any(tensor.device.type != "cpu" for tensor in ready.tensors()):
            # Patches that lie there already, and tables that do not.
            return ready.map(lambda tensor: tensor.to(device))
        if ready.buffer is None:
            ready = ready.pack()
        assert ready.buffer is not None
        return ready.moved(ready.buffer.to(device, non_blocking=True))

    def moved(self, buffer: Tensor) -> Prepared:
        """The same as views of a copy of the buffer."""
        assert self.buffer is not None
        begin = self.buffer.data_ptr()
        return self._in(buffer, [tensor.data_ptr() - begin for tensor in self.tensors()])

    def _in(self, buffer: Tensor, places: list[int]) -> Prepared:
        """The same tensors as views of a buffer; their values are those that lie there."""
        begins: Iterator[int] = iter(places)
        # Each call of torch lets other threads in, and who launches kernels waits to get back: so
        # one for each tensor, and one for each type.
        kinds: dict[torch.dtype, Tensor] = {torch.uint8: buffer}

        def view(tensor: Tensor) -> Tensor:
            kind = tensor.dtype
            if kind not in kinds:
                kinds[kind] = buffer.view(kind)
            whole = kinds[kind]
            begin = whole.storage_offset() + next(begins) // tensor.element_size()
            return whole.as_strided(tensor.shape, _strides(tensor.shape), begin)

        return replace(self.map(view), buffer=buffer)


def _strides(shape: torch.Size) -> tuple[int, ...]:
    """Of a contiguous tensor."""
    strides, step = [], 1
    for edge in reversed(shape):
        strides.append(step)
        step *= edge
    return tuple(reversed(strides))
