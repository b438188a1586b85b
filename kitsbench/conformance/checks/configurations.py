"""Checks of configurations: every size and option, and tasks of other labels and voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from kitsbench.architecture import KITS21, Setting
from kitsbench.configuration import SIZES, configure
from kitsbench.conformance.checks.deciding import (
    decodes_voxel_by_voxel,
    decodes_what_is_learned,
)
from kitsbench.conformance.checks.description import grids_and_heads_fit, sizes_are_admissible
from kitsbench.conformance.checks.learning import loss_is_finite, targets_fit
from kitsbench.conformance.driven.subject import Subject, batch, outputs_of
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.conformance.telling.explain import failure
from kitsbench.errors import KitsbenchError
from kitsbench.registry.weightless import build_weightless
from kitsbench.spec import Labels
from kitsbench.training.networks.sizes import try_patch

# Values as makers of datasets choose them, which are no numbers of channels.
ONE_LABEL: Labels = (("tumor", 2),)
GAPS: Labels = (("kidney", 2), ("tumor", 5))
SIDE_BY_SIDE: Labels = (("left kidney", 1), ("right kidney", 2))
# What is checked again for tasks of other labels.
OTHER = targets_fit, loss_is_finite, decodes_voxel_by_voxel, decodes_what_is_learned
# mm, (z, y, x): thick slices, and those of a fine scan.
SPACINGS = (5.0, 0.78, 0.78), (0.6, 0.7, 0.7)


@looks_at("build")
def configurations_build(subject: Subject) -> None:
    """Every size and every option of every key gives a network, built without its values."""
    architecture = subject.architecture
    for size in architecture.sizes:
        if size not in SIZES:
            raise Violation(f"'{size}' in sizes is no size: use {', '.join(SIZES)}.", at="class")
    if "size" in architecture.keys:
        raise Violation(
            "'size' is a key of every architecture: give yours another name.", at="class"
        )
    variants: list[dict[str, Setting]] = [{"size": size} for size in SIZES]
    for name, key in architecture.keys.items():
        variants += [{name: option} for option in key.options or ()]
    for variant in variants:
        try:
            spec = subject.spec_for(architecture.paper_patch, configure(architecture, variant))
            if not spec.members:
                build_weightless(architecture, spec)
        except Exception as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Violation(
                f"with {listed(variant)} it does not build ({text}): repair or drop it."
            ) from error


def listed(variant: Mapping[str, Setting]) -> str:
    """Settings as a command line has them."""
    return ",".join(f"{k}={v}" for k, v in variant.items())


@looks_at("build")
def other_labels_work(subject: Subject) -> str:
    """Tasks of one label, of three, and of other values: outputs, targets and decisions fit."""
    hints = []
    for labels in (ONE_LABEL, KITS21, GAPS):
        if labels == subject.task.labels:
            continue
        other = subject.for_labels(labels)
        named = f"{len(labels)} label{'s' * (len(labels) > 1)}"
        told = ", ".join(f"{name} {value}" for name, value in labels)
        try:
            spec = other.spec
        except KitsbenchError as error:
            hints.append(f"It refuses a task of {named}: {str(error).rstrip('.')}.")
            continue
        try:
            if spec.labels != labels:
                raise Violation(f"spec.labels is {spec.labels}: pass task.labels.", at="spec")
            grids_and_heads_fit(other)
            with torch.no_grad():
                outputs_of(other.network(), batch(spec)[0], spec)
            for check in OTHER:
                check(other)
        except Violation as violation:
            raise Violation(
                f"for a task of {named} ({told}) {violation}",
                at=violation.at,
            ) from violation
    return " ".join([*hints, *_unasked_order(subject)])


def _unasked_order(subject: Subject) -> list[str]:
    """A hint where regions of labels that lie side by side hold each other."""
    try:
        heads = subject.for_labels(SIDE_BY_SIDE).spec.heads
    except KitsbenchError:  # it says so itself, before anything is trained
        return []
    for head in heads:
        regions = [set(values) for values in head.channels if head.kind != "softmax"]
        if any(one < other for one in regions for other in regions):
            names = " and ".join(name for name, _ in SIDE_BY_SIDE)
            return [
                f"For a task of {names} the regions of head '{head.name}' hold each other, "
                "as if one lay within the other: take the order from a key, or ask for the "
                "labels by name (kitsbench.architecture.require_labels)."
            ]
    return []


@looks_at("spec")
def other_spacings_work(subject: Subject) -> str:
    """A task that says how large the voxels are: sizes, heads and outputs fit those, too."""
    usual, hints = subject.spec, []
    for spacing in SPACINGS:
        other = subject.for_task(replace(subject.task, spacing=spacing))
        where = f"for a task of {'x'.join(f'{size:g}' for size in spacing)} mm"
        try:
            spec = other.spec
            if spec == usual:  # most take no notice of it
                continue
            grids_and_heads_fit(other)
            sizes_are_admissible(other)
            told = try_patch(subject.architecture, spec).trouble
        except Violation as violation:
            raise Violation(f"{where} {violation}", at=violation.at) from violation
        except KitsbenchError as error:
            hints.append(f"It refuses {where.removeprefix('for ')}: {str(error).rstrip('.')}.")
            continue
        except Exception as error:
            said = failure(error, subject).removesuffix(": repair it.").rstrip(".")
            raise Violation(f"{where} {said}: repair it.", at="") from error
        if told:
            raise Violation(f"{where} it does not run ({told.rstrip('.')}): repair it.", at="build")
    return " ".join(hints)
