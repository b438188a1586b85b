"""Lists of tensors, written in few launches: small tensors cost a device what launches cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Pair = tuple[list[Tensor], list[Tensor]]


def by_type(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> Iterator[Pair]:
    """Pairs of tensors in lists of one type each; torch takes only such lists in one kernel."""
    kinds: dict[torch.dtype, Pair] = {}
    for target, source in zip(targets, sources, strict=True):
        ours, theirs = kinds.setdefault(target.dtype, ([], []))
        ours.append(target)
        theirs.append(source)
    yield from kinds.values()


@torch.no_grad()
def copy_all(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy tensors into others of their shape."""
    for ours, theirs in by_type(targets, sources):
        torch._foreach_copy_(ours, theirs)
