"""Checks of targets, loss, gradients, and learning itself."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kitsbench.architecture import Stage
from kitsbench.conformance.checks.modes import check_evaluation, dice, on_primary
from kitsbench.conformance.driven.subject import (
    Subject,
    batch,
    copies,
    outputs_of,
    refuse_changes,
    trained_by,
)
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.conformance.telling.explain import failure
from kitsbench.spec import Head, Progress

STEPS, SECONDS, DICE = 200, 60.0, 0.75
NAMED = 3  # parameters, in a hint


class When(NamedTuple):
    """A moment of a training."""

    fraction: float
    step: int
    told: str = ""

    @property
    def within(self) -> float:
        """Progress within a stage, which is over when its end has come."""
        return 1.0 if self.told else self.fraction


BEGINNING, HALFWAY = When(0.0, 0), When(0.5, 500)
# As under a long budget in time, whose number of steps nobody knows beforehand.
END = When(0.999, 1_000_000, " at its end (step 1,000,000)")


@looks_at("targets")
def targets_fit(subject: Subject) -> None:
    """Each head has a target of its shape and range; labels are not changed."""
    spec, (_, labels) = subject.spec, batch(subject.spec)
    before = copies(labels)
    targets = subject.architecture.targets(labels, spec)
    if any(not torch.equal(labels[name], before[name]) for name in labels):
        raise Violation("targets() changed the labels it was given: work on copies.")
    for head in spec.heads:
        if head.name not in targets:
            raise Violation(
                f"targets() gives nothing for head '{head.name}': give one for each head."
            )
        _check_target(targets[head.name], head)


def _check_target(target: Tensor, head: Head) -> None:
    exclusive = head.kind == "softmax"
    space = () if head.kind == "scalar" else head.shape
    wanted = (2, *space) if exclusive else (2, len(head.channels), *space)
    if tuple(target.shape) != wanted or (exclusive and target.dtype != torch.int64):
        raise Violation(
            f"the target of head '{head.name}' is {tuple(target.shape)} {target.dtype}: for kind "
            f"{head.kind} give {wanted}{' int64' if exclusive else ''}."
        )
    high = len(head.channels) - 1 if exclusive else 1
    if target.min() < 0 or target.max() > high:
        raise Violation(
            f"the target of head '{head.name}' goes from {target.min():g} to {target.max():g}: it "
            f"must lie in 0 to {high}."
        )


@looks_at("loss")
def loss_is_finite(subject: Subject) -> str:
    """Scalar, finite, with named parts, in every stage and at its end, whatever a patch holds."""
    hint = ""
    spec, network = subject.spec, subject.network()
    inputs, labels = batch(spec)
    for stage, (what, found), when in _moments(subject, labels):
        where = f"in stage '{stage.name}'{what}{when.told}"
        try:
            loss, parts = _loss(subject, network, inputs, found, stage, when, watched=True)
        except Exception as error:
            if isinstance(error, Violation) or not (what or when.told):
                raise
            said = failure(error, subject).removesuffix(": repair it.").rstrip(".")
            raise Violation(f"{where} {said}: repair it.", at="") from error
        if loss.ndim != 0 or not torch.isfinite(loss):
            raise Violation(
                f"the loss {where} is {_value(loss)} of shape {tuple(loss.shape)}: return a "
                "finite scalar, with smoothing where a class may be absent."
            )
        if not loss.requires_grad:
            raise Violation(f"the loss {where} carries no gradient: do not detach it.")
        for name, part in parts.items():
            number = float(part)
            # What is named as the whole loss is not read.
            if not isinstance(name, str) or not (math.isfinite(number) or name == "loss"):
                raise Violation(f"part '{name}' of the loss {where} is {number}: keep it finite.")
            if isinstance(part, Tensor) and part.requires_grad:
                raise Violation(f"part '{name}' of the loss holds the graph: return it detached.")
        for name in (name for name in stage.watched if name not in parts):
            raise Violation(
                f"stage '{stage.name}' waits for '{name}', which is no part of its loss "
                f"({', '.join(parts)}): name one of these."
            )
        if "loss" in parts and not math.isclose(float(parts["loss"]), float(loss), rel_tol=1e-4):
            hint = (
                "Part 'loss' is not written down, since the curve shows under that name what "
                "loss() returns first: give it another name."
            )
    return hint


def _moments(
    subject: Subject, labels: Mapping[str, Tensor]
) -> Iterator[tuple[Stage, tuple[str, dict[str, Tensor]], When]]:
    """Each stage with all that a patch may hold when it begins, and with its scene at its end."""
    scenes = list(_scenes(subject, labels))
    for stage in subject.spec.stages:
        yield from ((stage, scene, BEGINNING) for scene in scenes)
        yield stage, scenes[0], END


def _scenes(
    subject: Subject, labels: Mapping[str, Tensor]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Labels as they are, and one label everywhere; each with its name for people."""
    yield "", dict(labels)
    for name, value in (("background", 0), *subject.spec.labels):
        told = f" on a patch of {name}" + " alone" * bool(value)
        yield told, {grid: torch.full_like(own, value) for grid, own in labels.items()}


@looks_at("loss")
def every_parameter_learns(subject: Subject) -> str:
    """Gradients are finite, each stage has some; a hint names parameters that never get one."""
    spec, network = subject.spec, subject.network()
    inputs, labels = batch(spec)
    reached: set[str] = set()
    trained_somewhere: set[str] = set()
    for stage in spec.stages:
        trained = trained_by(stage, network)
        trained_somewhere |= set(trained)
        _freeze(network, trained)
        here: set[str] = set()
        moments = [(scene, BEGINNING) for scene in _scenes(subject, labels)]
        for (what, found), when in (*moments, (moments[0][0], HALFWAY)):
            network.zero_grad(set_to_none=True)
            _loss(subject, network, inputs, found, stage, when)[0].backward()
            for name, parameter in network.named_parameters():
                if parameter.grad is None:
                    continue
                if not torch.isfinite(parameter.grad).all():
                    raise Violation(
                        f"the gradient of '{name}' is not finite in stage '{stage.name}'{what}: "
                        "look for a division, a root or a logarithm without a small constant."
                    )
                here.add(name)
        if not here:
            raise Violation(
                f"no parameter gets a gradient in stage '{stage.name}', which trains "
                f"{', '.join(stage.train)}: let its loss depend on one of them."
            )
        reached |= here
    names = [name for name, _ in network.named_parameters()]
    frozen = [name for name in names if name not in trained_somewhere]
    unused = [name for name in names if name in trained_somewhere and name not in reached]
    return " ".join(
        f"{len(found)} parameter{'s' * (len(found) > 1)} {what}: {_some(found)}."
        for found, what in (
            (frozen, "are trained by no stage" if len(frozen) > 1 else "is trained by no stage"),
            (unused, "get no gradient in any stage" if len(unused) > 1 else "gets no gradient"),
        )
        if found
    )


def _some(names: list[str]) -> str:
    """A few of several names."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


@looks_at("class")
def learns_one_volume(subject: Subject) -> None:
    """A few steps on one easy patch reproduce its labels, and evaluation decides them too."""
    best, steps = 0.0, 0
    for rate in (1e-2, 1e-3):
        network = subject.network()
        score, steps, in_time = _overfit(subject, network, rate)
        best = max(best, score)
        if score >= DICE:
            check_evaluation(subject, network)
            return
        if not in_time:
            raise Violation(
                f"only {steps} steps were done in {SECONDS:g} s of CPU time, reaching Dice "
                f"{best:.2f}: offer a small network as sizes['tiny']."
            )
    raise Violation(
        f"after {steps} steps on one easy patch the decoded labels have Dice {best:.2f}, expected "
        f"is {DICE} and more: look at targets(), loss() and the order of channels in decode()."
    )


def _overfit(subject: Subject, network: nn.Module, rate: float) -> tuple[float, int, bool]:
    """Dice that is reached, steps that it took, and whether time was left."""
    spec = subject.spec
    network.train()
    inputs, labels = batch(spec)
    truth = on_primary(labels[spec.grids[0].name], spec)
    started, score, steps = time.process_time(), 0.0, 0
    for stage in spec.stages:
        trained = trained_by(stage, network)
        _freeze(network, trained)
        chosen = [p for name, p in network.named_parameters() if name in set(trained)]
        optimiser = torch.optim.Adam(chosen, lr=rate)
        for step in range(STEPS):
            optimiser.zero_grad(set_to_none=True)
            when = When(step / STEPS, int(1000 * step / STEPS))
            loss, _ = _loss(subject, network, inputs, labels, stage, when)
            if not torch.isfinite(loss):
                raise Violation(f"the loss is {_value(loss)} after {steps} steps: keep it finite.")
            loss.backward()
            optimiser.step()
            steps += 1
            if step % 5 == 4:
                score = dice(subject, network, inputs, truth)
                if score >= DICE:
                    break
                if time.process_time() - started > SECONDS:
                    return score, steps, False
    return score, steps, True


def _loss(
    subject: Subject,
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    stage: Stage,
    when: When = BEGINNING,
    *,
    watched: bool = False,
) -> tuple[Tensor, dict[str, Any]]:
    spec = subject.spec
    outputs = outputs_of(network, inputs, spec)
    targets = subject.architecture.targets(labels, spec)
    progress = Progress(stage.name, when.within, when.fraction, when.step)
    before = [copies(outputs), copies(targets)] if watched else []
    given = [dict(outputs), dict(targets)]
    returned = subject.architecture.loss(outputs, targets, progress, spec)
    for what, own, kept in zip(("output", "target"), given, before, strict=False):
        refuse_changes("loss", what, own, kept)
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Tensor)):
        raise Violation("loss() must return (scalar tensor, {part: value}).")
    return returned


def _freeze(network: nn.Module, trained: list[str]) -> None:
    names = set(trained)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in names)


def _value(tensor: Tensor) -> str:
    return f"{float(tensor):g}" if tensor.numel() == 1 else "a tensor"
