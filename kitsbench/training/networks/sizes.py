"""Which patches a network takes, found by trying: to say what its size rule should be.

Networks are run without values, so a large patch costs no more than a small one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture
from kitsbench.errors import telling
from kitsbench.registry.weightless import build_weightless
from kitsbench.spec import LARGEST_EDGE, Shape, SizeRule, Spec, Task
from kitsbench.training.failures import TrialFailure, can_be_smaller
from kitsbench.training.networks.build import check_outputs
from kitsbench.training.networks.meta import fake_values

Way = Literal["meta", "fake"]
WAYS: tuple[Way, ...] = ("meta", "fake")

# Edges that most networks take, so that one is known from which to look for others.
FRIENDLY = (64, 96, 128, 32, 48, 160, 192)
# Some take none of these: those that cut their borders and pool in between.
NEIGHBOURS = range(40, 73)
# Powers of two first: they are what pooling makes, and none but the smallest is looked for.
MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 20, 24, 28, 48, 96)
POWERS = MULTIPLES[:7]
APART = (1, 3, 5)  # so many multiples beyond an edge that is taken
BATCH = 2
NO_VALUES = "meta tensor"  # in what torch says where a number is read
SECONDS = 20.0  # of CPU time, so that a busy machine finds no less
MOST_MINIMA = 64
ENOUGH = 24  # patches that are refused, after which the only one that is taken is the rule


@dataclass(frozen=True)
class Tried:
    """What became of a patch.

    Attributes
    ----------
    shape : (int, int, int)
    cut : (int, int, int) or None
        By how much the output is smaller, in voxels of the first grid; None where there is none.
    trouble : str
        Empty where the outputs are what the spec says.
    error : Exception or None
        What the network raised.
    """

    shape: Shape
    cut: Shape | None
    trouble: str
    error: Exception | None = None


def spec_of(architecture: Architecture, spec: Spec, shape: Shape | None) -> Spec:
    """The spec of the same configured architecture for another patch."""
    return architecture.spec(dict(spec.config), Task(spec.labels, shape, spec.spacing))


def try_patch(
    architecture: Architecture,
    spec: Spec,
    ways: Sequence[Way] = WAYS,
    network: nn.Module | None = None,
) -> Tried:
    """Run a network forward in training mode, on a batch of two, without values.

    Parameters
    ----------
    architecture : Architecture
    spec : Spec
    ways : sequence of str
        In which way; the next is for networks that cannot do the one before.
    network : nn.Module, optional
        As of :func:`~kitsbench.registry.weightless.build_weightless`, where it is built already.
    """
    shape = spec.grids[0].shape
    answer: Tried | None = None
    for way in ways:
        try:
            if network is None:
                network = build_weightless(architecture, spec)
            network.train()
            with fake_values() if way == "fake" else contextlib.nullcontext():
                device = "cpu" if way == "fake" else "meta"
                network.to_empty(device=device)
                shapes = spec.input_shapes(BATCH)
                inputs = {n: torch.zeros(own, device=device) for n, own in shapes.items()}
                outputs = network(inputs)
        except Exception as error:
            answer = answer or Tried(shape, None, telling(error), error)  # the first one's counts
            continue
        return Tried(shape, _cut(outputs, spec), _misfit(outputs, spec))
    assert answer is not None
    return answer


def wants_values(tried: Tried) -> bool:
    """Whether a network failed since its ``forward`` reads a number, which is not there."""
    return tried.error is not None and NO_VALUES in str(tried.error).lower()


def _cut(outputs: Any, spec: Spec) -> Shape | None:
    head = spec.primary
    found = outputs.get(head.name) if isinstance(outputs, dict) else None
    if not isinstance(found, Tensor) or found.ndim != 5:
        return None
    edges = zip(spec.grids[0].shape, found.shape[2:], head.stride, strict=True)
    z, y, x = (edge - have * step for edge, have, step in edges)
    return z, y, x


def _misfit(outputs: Any, spec: Spec) -> str:
    try:
        check_outputs(outputs, spec, BATCH)
    except TrialFailure as failure:
        return str(failure)
    return ""


def seems_to_need(
    architecture: Architecture, spec: Spec, refused: Shape | None = None
) -> SizeRule | None:
    """The size rule that a network keeps by what it takes, or None where none was found.

    Parameters
    ----------
    architecture : Architecture
    spec : Spec
        For any patch. Its own rule is not asked.
    refused : (int, int, int), optional
        A patch that the network did not take, which the rule must not admit.
    """
    return _Search(architecture, spec, refused).rule()


def in_words(rule: SizeRule) -> str:
    """What a network that keeps a rule needs, and the rule as one writes it."""
    needs = []
    if rule.multiple != (1, 1, 1):
        needs.append(f"multiples of {_edges(rule.multiple)}")
        if rule.offset != (0, 0, 0):
            needs[-1] += f" and {_edges(rule.offset)} more"
    if rule.is_fixed:
        needs = [f"patches of {_edges(rule.minimum)} voxels alone"]
    elif rule.minimum != (1, 1, 1):
        needs.append(f"at least {_edges(rule.minimum)} voxels an edge")
    if rule.maximum is not None and not rule.is_fixed:
        needs.append(f"at most {_edges(rule.maximum)}")
    said = f"it seems to need {' and '.join(needs)}" if needs else ""
    if rule.shrink != (0, 0, 0):
        said += f"{', and' if said else 'it seems'} to cut {_edges(rule.shrink)} voxels off"
    given = [
        f"{field.name}={getattr(rule, field.name)}"
        for field in fields(rule)
        if getattr(rule, field.name) != field.default
    ]
    if rule == SizeRule.fixed(rule.minimum, rule.shrink):
        cut = f", shrink={rule.shrink}" if rule.shrink != (0, 0, 0) else ""
        return f"{said}: SizeRule.fixed({rule.minimum}{cut})"
    return f"{said or 'it seems to take every patch'}: SizeRule({', '.join(given)})"


def _edges(shape: Sequence[int]) -> str:
    return str(shape[0]) if len(set(shape)) == 1 else "x".join(map(str, shape))


def rule_told(architecture: Architecture, spec: Spec) -> str | None:
    """What to do where a network does not take the patch of its spec; None if that is not why."""
    if not try_patch(architecture, spec).trouble:
        return None
    rule = seems_to_need(architecture, spec, spec.grids[0].shape)
    if rule is None:
        return None
    patch, output = rule.nearest(spec.grids[0].shape)
    if rule == spec.size_rule or min(output) < 1:
        return None
    remedy = f"{in_words(rule)}, which its spec should state"
    if patch == spec.grids[0].shape:
        return f"{remedy}."
    return f"{remedy}; until then ask for --patch {','.join(map(str, patch))}."


@contextlib.contextmanager
def size_rule_is_told(
    architecture: Architecture, spec: Spec, first: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Add to the failure of a first step what patches the network takes, if that is why.

    Parameters
    ----------
    architecture, spec : Architecture, Spec
    first : callable
        Whether no step has been done; after one, its patch is not what is wrong.

    Raises
    ------
    TrialFailure
        What was raised, with a sentence more.
    """
    try:
        yield
    except Exception as error:
        known = isinstance(error, TrialFailure)
        elsewhere = isinstance(error, TrialFailure) and error.reason != "plugin error"
        if elsewhere or can_be_smaller(error) or not first():
            raise
        told = None
        with contextlib.suppress(Exception):  # the failure itself is told in any case
            told = rule_told(architecture, spec)
        if told is None:
            raise
        said = (str(error) if known else telling(error)).rstrip(".")
        patch = "x".join(map(str, spec.grids[0].shape))
        raise TrialFailure(
            "plugin error", f"{said}. With a patch of {patch} it does not run: {told}"
        ) from error


class _Search:
    """Tries patches, each once, until it is sure or has no time left."""

    def __init__(self, architecture: Architecture, spec: Spec, refused: Shape | None = None):
        self.architecture, self.spec, self.refused = architecture, spec, refused
        self.end = time.process_time() + SECONDS
        self.way: Way = "meta"
        self.known: dict[Shape, Tried] = {}

    def rule(self) -> SizeRule | None:
        """The rule, or None where none was found in time."""
        start: Shape | None = None
        with contextlib.suppress(TimeoutError):
            start = self._start()
            if start is None:
                return None
            base = self.cut(start)
            if base is None or min(base) < 0:
                return None  # an output larger than its input is no matter of sizes
            common = self._multiple(start, (0, 1, 2))
            if common is None:
                return self._limited(start, base)
            steps = [step for step in MULTIPLES if common % step == 0]
            z, y, x = (self._multiple(start, (axis,), steps) or common for axis in range(3))
            offset = start[0] % z, start[1] % y, start[2] % x
            rule = self._with_minimum(SizeRule((z, y, x), offset, base))
            return None if rule is None else self._with_maximum(rule, start)
        taken = [shape for shape, tried in self.known.items() if tried.cut is not None]
        if start is None or taken != [start] or len(self.known) < ENOUGH:
            return None
        return SizeRule.fixed(start, self.known[start].cut or (0, 0, 0))

    def _limited(self, start: Shape, base: Shape) -> SizeRule | None:
        """The rule where edges have an end, as where position embeddings are of one length."""
        free = [self._multiple(start, (axis,), POWERS) for axis in range(3)]
        bound = [axis for axis in range(3) if free[axis] is None]
        if not bound:
            return None  # each may grow, and not all of them
        step = self._step_below(start, base, bound)
        least = most = 0  # by how much the bound ones may change together
        if step is not None:
            while self._takes(_grown(start, least - step, bound), base):
                least -= step
            while self._takes(_grown(start, most + step, bound), base):
                most += step
        steps = _shape([multiple or step or 1 for multiple in free])
        low, high = list(_grown(start, least, bound)), list(_grown(start, most, bound))
        for axis in (axis for axis in range(3) if axis not in bound):
            low[axis], high[axis] = self._least_along(axis, steps[axis], start, base), LARGEST_EDGE
        offset = _shape([edge % by for edge, by in zip(start, steps, strict=True)])
        return SizeRule(steps, offset, base, _shape(low), _shape(high))

    def _takes(self, shape: Shape, base: Shape) -> bool:
        """Whether a patch is taken and cut as others are."""
        return min(edge - cut for edge, cut in zip(shape, base, strict=True)) > 0 and (
            self.cut(shape) == base
        )

    def _step_below(self, start: Shape, base: Shape, axes: Sequence[int]) -> int | None:
        """The smallest step by which edges may shrink; None where they may not."""
        steps = (step for step in POWERS if self._takes(_grown(start, -step, axes), base))
        return next(steps, None)

    def _least_along(self, axis: int, step: int, start: Shape, base: Shape) -> int:
        """A small edge that is taken along an axis, the others staying as they are."""
        edge = start[axis] % step + step
        while edge < start[axis] and not self._takes(
            _grown(start, edge - start[axis], (axis,)), base
        ):
            edge += edge - start[axis] % step
        return min(edge, start[axis])

    def cut(self, shape: Shape) -> Shape | None:
        """By how much the output for a patch is smaller; None where the network fails."""
        if shape not in self.known:
            if time.process_time() > self.end:
                raise TimeoutError
            self.known[shape] = self._try(shape)
        return self.known[shape].cut

    def _try(self, shape: Shape) -> Tried:
        spec = spec_of(self.architecture, self.spec, shape)
        before = spec.grids[0].shape
        if before != shape:
            # A rule that is wrong must not keep its own mistakes from being seen.
            grids = (replace(g, shape=shape) if g.shape == before else g for g in spec.grids)
            spec = replace(spec, grids=tuple(grids))
        return try_patch(self.architecture, spec, (self.way,))

    def _start(self) -> Shape | None:
        """Some patch that the network takes, in the first way in which it takes any."""
        paper = self.architecture.paper_patch
        known = [(edge, edge, edge) for edge in FRIENDLY]
        known += [*([paper] if paper else []), self.spec.grids[0].shape]
        more = [(edge, edge, edge) for edge in NEIGHBOURS]
        for way, shapes in ((way, shapes) for shapes in (known, more) for way in WAYS):
            self.way = way
            self.known.clear()
            for shape in shapes:
                if self.cut(shape) is not None:
                    return shape
            # What is wrong with every patch in the same words is no matter of its size.
            if way == WAYS[-1] and len({tried.trouble for tried in self.known.values()}) == 1:
                return None
        return None

    def _multiple(
        self, start: Shape, axes: Sequence[int], steps: Sequence[int] = MULTIPLES
    ) -> int | None:
        """The smallest step by which edges may grow, the others staying as they are."""
        base = self.cut(start)
        for step in steps:
            larger = (_grown(start, step * apart, axes) for apart in APART)
            if all(self.cut(shape) == base for shape in larger):
                return step
        return None

    def _with_minimum(self, rule: SizeRule) -> SizeRule | None:
        """The rule with the smallest patch from which on the network takes them."""
        least, _ = rule.nearest((1, 1, 1))
        shape = least
        for _ in range(MOST_MINIMA):
            z, y, x = (edge + step for edge, step in zip(shape, rule.multiple, strict=True))
            left = min(edge - cut for edge, cut in zip(shape, rule.shrink, strict=True))
            if left > 0 and self.cut(shape) == self.cut((z, y, x)) == rule.shrink:
                return rule if shape == least else replace(rule, minimum=shape)
            shape = z, y, x
        return None

    def _with_maximum(self, rule: SizeRule, start: Shape) -> SizeRule | None:
        """The rule with an end, where it admits patches that are known to be refused."""
        base = rule.shrink
        if self.refused is not None:
            self.cut(self.refused)
        wrong = [shape for shape, tried in self.known.items() if tried.cut != base]
        wrong = [shape for shape in wrong if rule.admits(shape)]
        high = [LARGEST_EDGE] * 3
        for axis, step in enumerate(rule.multiple):
            longer = sorted(shape[axis] for shape in wrong if shape[axis] > start[axis])
            if any(not self._takes_edge(start, axis, edge, base) for edge in longer):
                high[axis] = start[axis]
                while self._takes_edge(start, axis, high[axis] + step, base):
                    high[axis] += step
        if min(high) < LARGEST_EDGE:
            rule = replace(rule, maximum=_shape(high))
        return None if any(rule.admits(shape) for shape in wrong) else rule

    def _takes_edge(self, start: Shape, axis: int, edge: int, base: Shape) -> bool:
        """Whether a patch is taken that has another edge along an axis."""
        return self._takes(_grown(start, edge - start[axis], (axis,)), base)


def _shape(edges: Sequence[int]) -> Shape:
    z, y, x = edges
    return z, y, x


def _grown(shape: Shape, by: int, axes: Sequence[int]) -> Shape:
    z, y, x = (edge + by * (axis in axes) for axis, edge in enumerate(shape))
    return z, y, x
