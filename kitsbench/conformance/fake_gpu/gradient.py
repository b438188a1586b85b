"""The backward pass of fake tensors on a device that the machine does not have.

Torch's own engine asks the driver for the streams of a tensor's device, so the graph is walked
here, one node after the other; so it is where a step computes activations again that it did not
keep, which asks that engine and the driver as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor


def backward(loss: Tensor) -> None:
    """Add the gradient of a scalar to the leaves of its graph."""
    with backward_by_walking():
        _walk([loss], [torch.ones_like(loss)])


@contextmanager
def activations_can_be_computed_again() -> Iterator[None]:
    """Let checkpoints of activations ask for the precision and random numbers of no device."""
    with ExitStack() as stack:
        for owner, name, answer in (
            (torch.cuda.amp.common, "amp_definitely_not_available", False),
            (torch.cuda, "is_bf16_supported", True),
            (torch.utils.checkpoint, "get_device_states", ([], [])),
        ):
            stack.enter_context(replaced(owner, name, _always(answer)))
        yield


@contextmanager
def backward_by_walking() -> Iterator[None]:
    """Walk the graphs for which somebody else, or a node of a graph, asks torch's engine."""
    engine = torch.autograd
    # All that one pass asks for is computed again once, where torch knows of such groups.
    group = getattr(torch.utils.checkpoint, "GraphExecGroup", nullcontext)
    with (
        replaced(engine, "backward", _in_its_place),
        replaced(engine, "_is_checkpoint_valid", _always(True)),
        group(),
    ):
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let a name of a module or a class stand for something else."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _always(answer: Any) -> Any:
    return lambda *args, **options: answer


def _in_its_place(
    tensors: Tensor | Sequence[Tensor],
    gradients: Tensor | Sequence[Tensor | None] | None = None,
    *others: Any,
    **options: Any,
) -> None:
    """As torch's function of that name, for what the backward of a function of its own asks."""
    roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    given = [gradients] * len(roots) if gradients is None else gradients
    given = [given] if isinstance(given, Tensor) else given
    pairs = zip(roots, given, strict=True)
    _walk(roots, [torch.ones_like(t) if g is None else g for t, g in pairs])


def _walk(tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Add the gradients of tensors, given that of each of them, to the leaves of their graph."""
    given: dict[Any, list[Tensor | None]] = {}
    for tensor, gradient in zip(tensors, gradients, strict=True):
        edge = torch.autograd.graph.get_gradient_edge(tensor)
        _add(given, edge.node, edge.output_nr, gradient)
    waiting = _counts(list(given))
    ready = [node for node in given if not waiting[node]]
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


def _counts(roots: list[Any]) -> dict[Any, int]:
    """How many gradients of other nodes each node of a graph waits for."""
    counts: dict[Any, int] = defaultdict(int)
    todo, seen = list(roots), set(roots)
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is None:
                continue
            if node not in seen:
                seen.add(node)
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
