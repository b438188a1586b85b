"""Checks of targets, loss, gradients, decoding, post-processing, and learning itself."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kitsbench.architecture import Stage
from kitsbench.conformance.checks.modes import check_evaluation, dice, on_primary
from kitsbench.conformance.driven.subject import (
    SMALL,
    Subject,
    batch,
    outputs_of,
    refuse_changes,
    trained_by,
)
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.spec import Head, Progress

STEPS, SECONDS, DICE = 200, 60.0, 0.75
ODD = 17, 23, 19  # voxels (z, y, x) of a scan
NAMED = 3  # parameters, in a hint
SLAB = 5  # voxels along z that a label of a scene takes


@looks_at("targets")
def targets_fit(subject: Subject) -> None:
    """Each head has a target of its shape and range; labels are not changed."""
    spec, (_, labels) = subject.spec, batch(subject.spec)
    copies = {name: values.clone() for name, values in labels.items()}
    targets = subject.architecture.targets(labels, spec)
    if any(not torch.equal(labels[name], copies[name]) for name in labels):
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
    """Scalar, finite, with named parts, in every stage; for patches of background too."""
    hint = ""
    spec, network = subject.spec, subject.network()
    inputs, labels = batch(spec)
    for stage, values in ((s, v) for s in spec.stages for v in (1, 0)):
        found = {name: label * values for name, label in labels.items()}
        loss, parts = _loss(subject, network, inputs, found, stage, watched=True)
        where = f"in stage '{stage.name}'" + ("" if values else " on a patch of background")
        if loss.ndim != 0 or not torch.isfinite(loss):
            raise Violation(
                f"the loss {where} is {_value(loss)} of shape {tuple(loss.shape)}: return a "
                "finite scalar, with smoothing where a class may be absent."
            )
        if not loss.requires_grad:
            raise Violation(f"the loss {where} carries no gradient: do not detach it.")
        for name, part in parts.items():
            number = float(part)
            if not isinstance(name, str) or not math.isfinite(number):
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
        for fraction in (0.0, 0.5):
            network.zero_grad(set_to_none=True)
            _loss(subject, network, inputs, labels, stage, fraction)[0].backward()
            for name, parameter in network.named_parameters():
                if parameter.grad is None:
                    continue
                if not torch.isfinite(parameter.grad).all():
                    raise Violation(
                        f"the gradient of '{name}' is not finite in stage '{stage.name}': look "
                        "for a division or a logarithm without a small constant."
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


@looks_at("decode")
def decodes_voxel_by_voxel(subject: Subject) -> None:
    """Labels of the task as uint8, each voxel decided by its own probabilities."""
    spec, values = subject.spec, {0, *(v for _, v in subject.task.labels)}
    generator = torch.Generator().manual_seed(0)
    sizes = {h.name: len(h.channels) for h in spec.heads if h.role == "primary" or h.at_inference}
    drawn = {n: torch.randn(c, 6, 7, 8, generator=generator) * 3 for n, c in sizes.items()}
    kinds = {head.name: head.kind for head in spec.heads}
    maps = {n: v.softmax(0) if kinds[n] == "softmax" else v.sigmoid() for n, v in drawn.items()}
    given = _copies(maps)
    whole = subject.architecture.decode(dict(given), spec)
    _check_labels(whole, (6, 7, 8), values, "decode()")
    refuse_changes("decode", "probabilities", given, maps)
    order = torch.randperm(6 * 7 * 8, generator=generator)
    mixed = {n: v.flatten(1)[:, order].reshape(-1, 6, 7, 8) for n, v in maps.items()}
    moved = subject.architecture.decode(mixed, spec).flatten()
    if torch.equal(moved, whole.flatten()[order]):
        # Fewer voxels at a time, for what is measured over all of them.
        few = [{n: v[:, k : k + 1, :2, :2].clone() for n, v in maps.items()} for k in range(6)]
        alone = torch.cat([subject.architecture.decode(piece, spec) for piece in few])
        if torch.equal(alone, whole[:, :2, :2]):
            return
    raise Violation(
        "decode() decides a voxel by other voxels too: the harness passes volumes in pieces, so "
        "move this to postprocess()."
    )


@looks_at("postprocess")
def postprocess_keeps_the_shape(subject: Subject) -> None:
    """A label map of the same voxels, with labels of the task; nothing is changed in place."""
    spec, values = subject.spec, {0, *(v for _, v in subject.task.labels)}
    if spec.members:  # it has no grid, and cleans what its members have decided
        slabs = torch.tensor(sorted(values), dtype=torch.uint8).repeat_interleave(SLAB)
        scene = slabs[:, None, None].repeat(1, SMALL[1], SMALL[2])
    else:
        scene = batch(spec, 1)[1][spec.grids[0].name][0].to(torch.uint8)
    # Scans have edges of any number of voxels, which no pooling divides.
    odd = scene
    for axis, edge in enumerate(ODD):
        odd = odd.index_select(axis, torch.arange(edge) * odd.shape[axis] // edge)
    for labels in (scene, odd, torch.zeros_like(odd)):
        maps = {
            head.name: torch.full((len(head.channels), *labels.shape), 0.5)
            for head in spec.heads
            if head.at_inference
        }
        copy, given = labels.clone(), _copies(maps)
        cleaned = subject.architecture.postprocess(labels, given, (3.0, 1.0, 1.0), spec)
        _check_labels(cleaned, tuple(labels.shape), values, "postprocess()")
        if not torch.equal(labels, copy):
            raise Violation("postprocess() changed the label map it was given: work on a copy.")
        refuse_changes("postprocess", "probabilities", given, maps)


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
            fraction = step / STEPS
            loss, _ = _loss(subject, network, inputs, labels, stage, fraction)
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
    fraction: float = 0.0,
    *,
    watched: bool = False,
) -> tuple[Tensor, dict[str, Any]]:
    spec = subject.spec
    outputs = outputs_of(network, inputs, spec)
    targets = subject.architecture.targets(labels, spec)
    progress = Progress(stage.name, fraction, fraction, int(1000 * fraction))
    before = [_copies(outputs), _copies(targets)] if watched else []
    given = [dict(outputs), dict(targets)]
    returned = subject.architecture.loss(outputs, targets, progress, spec)
    for what, own, kept in zip(("output", "target"), given, before, strict=False):
        refuse_changes("loss", what, own, kept)
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[0], Tensor)):
        raise Violation("loss() must return (scalar tensor, {part: value}).")
    return returned


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in tensors.items() if isinstance(v, Tensor)}


def _freeze(network: nn.Module, trained: list[str]) -> None:
    names = set(trained)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in names)


def _check_labels(found: Tensor, shape: tuple[int, ...], values: set[int], hook: str) -> None:
    if tuple(found.shape) != shape or found.dtype != torch.uint8:
        raise Violation(
            f"{hook} returned {tuple(found.shape)} {found.dtype} for {shape} voxels: return "
            "labels of the same shape as uint8."
        )
    unknown = sorted(set(torch.unique(found).tolist()) - values)
    if unknown:
        raise Violation(f"{hook} gives label {unknown[0]}: the task has {sorted(values)} only.")


def _value(tensor: Tensor) -> str:
    return f"{float(tensor):g}" if tensor.numel() == 1 else "a tensor"
