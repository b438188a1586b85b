"""Checks that nothing depends on what was called before: hooks and networks keep no state."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from kitsbench.conformance.checks.behaviour import decodable
from kitsbench.conformance.driven.plugin_state import told
from kitsbench.conformance.driven.subject import Subject, batch, outputs_of
from kitsbench.conformance.outcome import Place, Violation, looks_at
from kitsbench.spec import Progress
from kitsbench.training.optimisation.accumulation import Buffers

WATCHED = 4  # steps after which tensors of the second and the third are looked for
REMEDY = (
    "keep no state outside parameters and buffers, and draw random numbers from torch's global "
    "generator, which the harness seeds for each step"
)


@looks_at("forward")
def forward_repeats(subject: Subject) -> None:
    """In training mode equal weights, buffers, inputs and seeds give equal outputs."""
    spec, network = subject.spec, subject.network()
    inputs, others = batch(spec)[0], batch(spec, seed=1)[0]
    buffers, found = Buffers(network), []
    buffers.keep()
    for seed, given in ((7, inputs), (8, others), (7, inputs)):
        torch.manual_seed(seed)
        with torch.no_grad():
            found.append(outputs_of(network, {k: v.clone() for k, v in given.items()}, spec))
        buffers.put_back()
    for name, value in found[0].items():
        if not torch.equal(value, found[2][name]):
            raise Violation(
                f"in training mode head '{name}' differs between two calls with equal weights, "
                f"buffers, inputs and seed: {REMEDY}."
            )


@looks_at("class")
def hooks_keep_no_state(subject: Subject) -> None:
    """Equal arguments give equal targets, losses and labels, whatever came between."""
    spec, architecture = subject.spec, subject.architecture
    network = subject.network()
    stage = spec.stages[0].name
    asked: list[tuple[Any, Any]] = []
    for seed in (0, 1):
        inputs, labels = batch(spec, seed=seed)
        with torch.no_grad():
            outputs = outputs_of(network.train(), inputs, spec)
            decided = decodable(network.eval()(inputs), spec, 0)
        asked.append(((outputs, labels), decided))

    def answers(which: int) -> dict[Place, Any]:
        (outputs, labels), decided = asked[which]
        torch.manual_seed(which)
        targets = architecture.targets({k: v.clone() for k, v in labels.items()}, spec)
        where = Progress(stage, which * 0.5, which * 0.5, which * 10)
        own = {k: v.clone().requires_grad_() for k, v in outputs.items()}
        loss = architecture.loss(own, dict(targets), where, spec)
        given = {k: v.clone() for k, v in decided.items()}
        labels = architecture.decode(given, spec)
        maps = {head.name: decided[head.name].clone() for head in spec.heads if head.at_inference}
        cleaned = architecture.postprocess(labels.clone(), maps, (3.0, 1.0, 1.0), spec)
        return {"targets": targets, "loss": loss, "decode": labels, "postprocess": cleaned}

    subject.forget()
    first, _, again = answers(0), answers(1), answers(0)
    # What depends on the very first call shows where another one comes first.
    subject.forget()
    _, anew = answers(1), answers(0)
    for hook, value in first.items():
        if not (_same(value, again[hook]) and _same(value, anew[hook])):
            raise Violation(
                f"{hook}() answers equal arguments differently once it was asked something else: "
                f"{REMEDY}; what changes in training stands in progress.",
                at=hook,
            )


@looks_at("class")
def holds_no_more_with_each_step(subject: Subject) -> None:
    """What a step has computed is gone some steps later, so that memory does not run out."""
    spec, architecture, network = subject.spec, subject.architecture, subject.network()
    subject.forget()
    inputs, labels = batch(spec)
    made: list[_Made] = []
    for number in range(WATCHED + 2):
        with _Made() as own:
            outputs = outputs_of(network.train(), inputs, spec)
            targets = architecture.targets({k: v.clone() for k, v in labels.items()}, spec)
            where = Progress(spec.stages[0].name, number / 10, number / 10, number)
            loss = architecture.loss(outputs, targets, where, spec)[0]
            loss.backward()
            network.zero_grad(set_to_none=True)
            with torch.no_grad():
                architecture.decode(decodable(outputs, spec, 0), spec)
        del outputs, targets, loss
        made.append(own)
    # The first one makes what is kept for all, and the last ones may be those that are kept.
    middle = made[1:WATCHED]
    if all(one.left() for one in middle):
        gc.collect()
    if all(one.left() for one in middle):
        kept = subject.forget()
        place = f" (in {told(kept)})" if kept else ""
        raise Violation(
            f"tensors of each step are still there some steps later{place}, so memory runs out in "
            "a long training: keep numbers, or the last tensor alone and that by .detach()."
        )


class _Made(TorchFunctionMode):
    """Remembers, without holding them, the tensors that are made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._all: list[weakref.ref[Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        # What is changed in place was there before.
        given = (*args, *(kwargs or {}).values())
        if isinstance(found, Tensor) and not any(found is own for own in given):
            self._all.append(weakref.ref(found))
        return found

    def left(self) -> bool:
        """Whether one of them is there."""
        return any(one() is not None for one in self._all)


def _same(one: Any, other: Any) -> bool:
    pairs = zip(tree_leaves(one), tree_leaves(other), strict=False)
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        for a, b in pairs
    )
