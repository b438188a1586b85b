"""Tensors of a device, copied to the host while the device goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

ALIGNED = 64  # bytes; the largest type has 16


class Snapshot:
    """Copies whatever holds tensors, and hands the copy out when it has arrived.

    What lies on CUDA goes into one block of pinned memory, which is kept for the next time; what
    lies on the host is cloned at once.
    """

    def __init__(self) -> None:
        self._block: Tensor | None = None

    def take(self, content: Any) -> Callable[[], Any]:
        """Ask for a copy of dicts, lists and tuples of tensors and plain values.

        The copies are queued on the device's current stream, so they show what the tensors hold
        after all that was asked of it so far and before anything that is asked later.

        Returns
        -------
        callable
            Waits for the copies and returns the content with tensors on the host, which share no
            memory. To be called before another one is taken.
        """
        found = [tensor for tensor in _tensors(content) if tensor.is_cuda]
        block = self._room(sum(map(_padded, found))) if found else None
        views = [] if block is None else views_of(block, found)
        for view, tensor in zip(views, found, strict=True):
            view.copy_(tensor.detach(), non_blocking=True)
        arrived = [
            torch.cuda.current_stream(device).record_event()
            for device in {tensor.device for tensor in found}
        ]
        # By identity: tensors compare by value.
        copies: dict[int, Tensor] = dict(zip(map(id, found), views, strict=True))
        own = _changed(content, lambda one: one if one.is_cuda else one.detach().clone())

        def get() -> Any:
            for event in arrived:
                event.synchronize()
            # A view would bring the whole block along where it is written.
            return _changed(
                own, lambda tensor: copies[id(tensor)].clone() if id(tensor) in copies else tensor
            )

        return get

    def _room(self, size: int) -> Tensor:
        if self._block is None or self._block.numel() < size:
            self._block = None  # before the next is asked for
            try:
                self._block = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            except RuntimeError:  # the system pins no more; the copy then waits for the device
                self._block = torch.empty(size, dtype=torch.uint8)
        return self._block


def views_of(block: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Places for tensors in a block of bytes, in the order of their memory where they are dense.

    Parameters
    ----------
    block : Tensor
        Bytes.
    tensors : sequence of Tensor
    """
    views, begin = [], 0
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        flat = block[begin : begin + size].view(tensor.dtype)
        begin += _padded(tensor)
        # In its own order it is one transfer; in another it would be laid out anew on the device.
        dense = tensor.is_contiguous() or (
            tensor.dim() == 5 and tensor.is_contiguous(memory_format=torch.channels_last_3d)
        )
        views.append(
            flat.as_strided(tensor.shape, tensor.stride(), flat.storage_offset())
            if dense
            else flat.view(tensor.shape)
        )
    return views


def _padded(tensor: Tensor) -> int:
    return -(-tensor.numel() * tensor.element_size() // ALIGNED) * ALIGNED


def _tensors(content: Any) -> Iterator[Tensor]:
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _tensors(value)


def _changed(content: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with other tensors; all other values as they are."""
    if isinstance(content, Tensor):
        return change(content)
    if isinstance(content, dict):
        return {name: _changed(value, change) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_changed(value, change) for value in content)
    return content
