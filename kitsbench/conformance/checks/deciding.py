"""Checks of what becomes of probabilities: decoding and post-processing."""

from __future__ import annotations

import torch
from torch import Tensor

from kitsbench.conformance.checks.behaviour import decodable
from kitsbench.conformance.checks.modes import label_dice, on_primary
from kitsbench.conformance.driven.moved import moved
from kitsbench.conformance.driven.subject import (
    SMALL,
    Subject,
    batch,
    copies,
    decided_from,
    refuse_changes,
)
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.conformance.telling.explain import failure
from kitsbench.losses import one_hot
from kitsbench.spec import Head

ODD = 17, 23, 19  # voxels (z, y, x) of a scan
# mm, (z, y, x): as in most of the checks, and of fine, thick and sagittal slices.
THICK = 3.0, 1.0, 1.0
SPACINGS = (0.7, 0.6, 0.6), (5.0, 0.8, 0.8), (1.0, 1.0, 4.0)
LEARNED = 0.5  # Dice of labels with what is decided of their own targets
SURE = 10.0  # a logit
SLAB = 5  # voxels along z that a label of a scene takes


@looks_at("decode")
def decodes_voxel_by_voxel(subject: Subject) -> None:
    """Labels of the task as uint8, each voxel decided by its own probabilities."""
    spec, values = subject.spec, {0, *(v for _, v in subject.task.labels)}
    generator = torch.Generator().manual_seed(0)
    sizes = {h.name: len(h.channels) for h in spec.heads if h.role == "primary" or h.at_inference}
    drawn = {n: torch.randn(c, 6, 7, 8, generator=generator) * 3 for n, c in sizes.items()}
    kinds = {head.name: head.kind for head in spec.heads}
    maps = {n: v.softmax(0) if kinds[n] == "softmax" else v.sigmoid() for n, v in drawn.items()}
    given = copies(maps)
    whole = subject.architecture.decode(dict(given), spec)
    _check_labels(whole, (6, 7, 8), values, "decode()")
    refuse_changes("decode", "probabilities", given, maps)
    order = torch.randperm(6 * 7 * 8, generator=generator)
    mixed = {n: v.flatten(1)[:, order].reshape(-1, 6, 7, 8) for n, v in maps.items()}
    mixed_up = subject.architecture.decode(mixed, spec).flatten()
    if torch.equal(mixed_up, whole.flatten()[order]):
        # Fewer voxels at a time, for what is measured over all of them.
        few = [{n: v[:, k : k + 1, :2, :2].clone() for n, v in maps.items()} for k in range(6)]
        alone = torch.cat([subject.architecture.decode(piece, spec) for piece in few])
        if torch.equal(alone, whole[:, :2, :2]):
            return
    raise Violation(
        "decode() decides a voxel by other voxels too: the harness passes volumes in pieces, so "
        "move this to postprocess()."
    )


@looks_at("decode")
def decodes_what_is_learned(subject: Subject) -> None:
    """Probabilities that are the targets themselves are decided as the labels that they stand for.

    Where heads lie on coarser voxels they cannot be so in every voxel.
    """
    spec = subject.spec
    labels = batch(spec, 1)[1]
    truth = on_primary(labels[spec.grids[0].name], spec)[0]
    targets = subject.architecture.targets(labels, spec)
    perfect = {h.name: _as_logits(targets[h.name], h) for h in spec.heads if decided_from(h)}
    decided = subject.architecture.decode(decodable(perfect, spec, 0), spec)
    _check_labels(decided, tuple(truth.shape), {0, *(v for _, v in spec.labels)}, "decode()")
    for name, score in label_dice(decided, truth, spec).items():
        if score < LEARNED:
            raise Violation(
                f"where the outputs are just what targets() asks for, label '{name}' is decoded "
                f"with Dice {score:.2f}: take the order of channels, and the values of labels, "
                "from the spec's head in both hooks."
            )


def _as_logits(target: Tensor, head: Head) -> Tensor:
    """What a network would have to give for a target, nearly."""
    if head.kind == "softmax":
        return (one_hot(target, len(head.channels)) * 2 - 1) * SURE
    return target.float().clamp(1e-6, 1 - 1e-6).logit()


@looks_at("postprocess")
def postprocess_keeps_the_shape(subject: Subject) -> None:
    """A label map of the same voxels, with labels of the task; nothing is changed in place."""
    spec, values = subject.spec, {0, *(v for _, v in subject.task.labels)}
    if spec.members:  # it has no grid, and cleans what its members have decided
        slabs = torch.tensor(sorted(values), dtype=torch.uint8).repeat_interleave(SLAB)
        scenes = slabs[None, :, None, None].repeat(1, 1, SMALL[1], SMALL[2])
    else:  # in the second one exchanged axes show
        scenes = batch(spec, 2, lopsided=True)[1][spec.grids[0].name].to(torch.uint8)
    # Scans have edges of any number of voxels, which no pooling divides.
    odd = scenes[0]
    for axis, edge in enumerate(ODD):
        odd = odd.index_select(axis, torch.arange(edge) * odd.shape[axis] // edge)
    for labels, spacing in (
        *((scene, THICK) for scene in scenes),
        *((odd, spacing) for spacing in (THICK, *SPACINGS)),
        (torch.zeros_like(odd), THICK),
        (odd[ODD[0] // 2 :][:1], SPACINGS[0]),
    ):
        maps = {
            head.name: torch.full((len(head.channels), *labels.shape), 0.5)
            for head in spec.heads
            if head.at_inference
        }
        copy, given = labels.clone(), copies(maps)
        try:
            cleaned = subject.architecture.postprocess(labels, given, spacing, spec)
        except Exception as error:
            said = failure(error, subject).removesuffix(": repair it.").rstrip(".")
            scan = f"{'x'.join(map(str, labels.shape))} voxels of {spacing} mm"
            raise Violation(f"for a scan of {scan} {said}: repair it.", at="") from error
        _check_labels(cleaned, tuple(labels.shape), values, "postprocess()")
        if not torch.equal(labels, copy):
            raise Violation("postprocess() changed the label map it was given: work on a copy.")
        refuse_changes("postprocess", "probabilities", given, maps)
        if told := moved(cleaned[None], labels[None]):
            raise Violation(
                f"postprocess() gives what it was given {told}: keep the axes (z, y, x)."
            )


def _check_labels(found: Tensor, shape: tuple[int, ...], values: set[int], hook: str) -> None:
    if tuple(found.shape) != shape or found.dtype != torch.uint8:
        raise Violation(
            f"{hook} returned {tuple(found.shape)} {found.dtype} for {shape} voxels: return "
            "labels of the same shape as uint8."
        )
    unknown = sorted(set(torch.unique(found).tolist()) - values)
    if unknown:
        raise Violation(f"{hook} gives label {unknown[0]}: the task has {sorted(values)} only.")
