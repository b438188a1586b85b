"""The backward pass of fake tensors on a device that the machine does not have.

Torch's own engine asks the driver for the streams of a tensor's device, so the graph is walked
here, one node after the other.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor


def backward(loss: Tensor) -> None:
    """Add the gradient of a scalar to the leaves of its graph."""
    root: Any = loss.grad_fn
    waiting = _counts(root)
    given: dict[Any, list[Tensor | None]] = {root: [torch.ones_like(loss)]}
    ready = [root]
    with torch.no_grad():
        while ready:
            node = ready.pop()
            found = iter(_gradients(node, given.pop(node, [None])))
            for following, place in node.next_functions:
                value = next(found, None)
                if following is None:
                    continue
                if value is not None:
                    _add(given, following, place, value)
                waiting[following] -= 1
                if not waiting[following]:
                    ready.append(following)


def _counts(root: Any) -> dict[Any, int]:
    """How many gradients each node of a graph waits for."""
    counts: dict[Any, int] = defaultdict(int)
    todo = [root]
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is None:
                continue
            if not counts[node]:
                todo.append(node)
            counts[node] += 1
    return counts


def _gradients(node: Any, given: list[Tensor | None]) -> list[Tensor | None]:
    """What a node hands on, one for each of its ``next_functions``."""
    if all(value is None for value in given):
        return []
    if not _is_somebodys_own(node):
        found = node(*given)
        return list(found) if isinstance(found, tuple) else [found]
    # A function of somebody's own: it is given zeros for nothing, and answers for all arguments.
    whole = [
        torch.zeros(tuple(form.shape), dtype=form.dtype, device=form.device)
        if value is None
        else value
        for value, form in zip(given, node._input_metadata, strict=False)
    ]
    found = node.apply(*whole)
    answers = found if isinstance(found, tuple) else (found,)
    wanted = iter([a for a, needed in zip(answers, node.needs_input_grad, strict=False) if needed])
    return [next(wanted, None) if f is not None else None for f, _ in node.next_functions]


def _is_somebodys_own(node: Any) -> bool:
    return isinstance(node, torch.autograd.function.BackwardCFunction)


def _add(given: dict[Any, list[Tensor | None]], node: Any, place: int, value: Tensor) -> None:
    """Add to what a node is given, in the shape and type of what it was computed from."""
    forms = node._input_metadata
    slots = given.setdefault(node, [None] * max(len(forms), place + 1))
    if place < len(forms):
        if value.dtype != forms[place].dtype:
            value = value.to(forms[place].dtype)
        shape = tuple(forms[place].shape)
        value = value if tuple(value.shape) == shape else value.sum_to_size(shape)
    before = slots[place]
    slots[place] = value if before is None else before + value
