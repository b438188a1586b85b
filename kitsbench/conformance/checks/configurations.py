"""Checks of configurations: every size, option and end of a key, and tasks of other labels."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import nn

from kitsbench.architecture import KITS21, Setting
from kitsbench.configuration import SIZES, Key, configure
from kitsbench.conformance.checks.description import grids_and_heads_fit
from kitsbench.conformance.checks.learning import (
    decodes_voxel_by_voxel,
    loss_is_finite,
    targets_fit,
)
from kitsbench.conformance.driven.subject import SMALL, Subject, batch, outputs_of
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.errors import KitsbenchError, telling
from kitsbench.registry.weightless import NeedsValues, build_weightless
from kitsbench.spec import Labels, Shape
from kitsbench.training.networks.sizes import try_patch

ONE_LABEL: Labels = (("tumor", 1),)
SIDE_BY_SIDE: Labels = (("left kidney", 1), ("right kidney", 2))
SECONDS = 20.0  # of CPU time for the ends of keys
LARGE: Shape = (128, 128, 128)  # where an architecture names no patch of its paper
AFFORDABLE = 2_000_000, 2**15  # parameters and voxels with which a forward pass is computed


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
                f"with {_listed(variant)} it does not build ({text}): repair or drop it."
            ) from error


@looks_at("build")
def ends_of_keys_work(subject: Subject) -> str:
    """With each key of a number at its least and its largest value the network runs.

    On a small patch, and on that of the paper, since a small one is not halved as often as a key
    may allow. Where a network is small enough for it, numbers are computed too.
    """
    refused: dict[str, str] = {}
    skipped: list[str] = []
    large = subject.architecture.paper_patch or LARGE
    end = time.process_time() + SECONDS
    for variant in _ends(subject.architecture.keys):
        listed = _listed(variant)
        if time.process_time() > end:
            skipped.append(listed)
            continue
        for patch in (SMALL, large):
            try:
                _try_end(subject, variant, patch)
            except KitsbenchError as error:
                refused.setdefault(listed, f"{listed} ({str(error).rstrip('.')})")
            except NeedsValues:
                skipped.append(listed)
                break
    hints = [f"Refused, though a key allows it: {', '.join(refused.values())}."] if refused else []
    if skipped:
        hints.append(f"Not tried, since it cannot be built without values: {', '.join(skipped)}.")
    return " ".join(hints)


def _try_end(subject: Subject, variant: Mapping[str, Setting], patch: Shape) -> None:
    """Run a network with a key at its end, without values and, where it is small, with them.

    Raises
    ------
    Violation
        It does not build, or does not run.
    KitsbenchError
        The plugin refuses it.
    NeedsValues
        It cannot be tried so.
    """
    architecture = subject.architecture
    config = configure(architecture, {**subject.settings_with_size, **variant})
    spec = subject.spec_for(patch, config)
    edges = "x".join(map(str, spec.grids[0].shape))
    where = f"with {_listed(variant)}, which its key allows, it does not"
    try:
        network = build_weightless(architecture, spec, values=False)
    except KitsbenchError:
        raise
    except Exception as failure:
        if isinstance(failure, NeedsValues) and _needs_values(subject):
            raise
        cause = failure.__cause__ if isinstance(failure, NeedsValues) else failure
        assert cause is not None
        raise Violation(
            f"{where} build for {edges} voxels ({telling(cause)}): repair it, or let the key end "
            "earlier."
        ) from failure
    told = try_patch(architecture, spec, network=network).trouble
    if not told and _is_small(network, spec.grids[0].shape):
        torch.manual_seed(0)
        with torch.no_grad():
            outputs = outputs_of(subject.network(spec), batch(spec)[0], spec)
        wrong = [name for name, value in outputs.items() if not torch.isfinite(value).all()]
        told = f"head '{wrong[0]}' is not finite" if wrong else ""
    if told:
        raise Violation(
            f"{where} run on {edges} voxels ({told.rstrip('.')}): repair it, or let the key end "
            "earlier."
        )


def _needs_values(subject: Subject) -> bool:
    """Whether the network cannot be built without values, whatever its configuration."""
    try:
        build_weightless(subject.architecture, subject.spec, values=False)
    except NeedsValues:
        return True
    return False


def _ends(keys: Mapping[str, Key]) -> list[dict[str, Setting]]:
    found: list[dict[str, Setting]] = []
    for name, key in keys.items():
        if not isinstance(key.default, (int, float)) or key.options is not None:
            continue
        for bound in (key.low, key.high):
            if bound is not None and math.isfinite(bound) and bound != key.default:
                found.append({name: type(key.default)(bound)})
    return found


def _is_small(network: nn.Module, patch: tuple[int, ...]) -> bool:
    parameters, voxels = AFFORDABLE
    return sum(p.numel() for p in network.parameters()) <= parameters and math.prod(patch) <= voxels


def _listed(variant: Mapping[str, Setting]) -> str:
    return ",".join(f"{k}={v}" for k, v in variant.items())


@looks_at("build")
def other_labels_work(subject: Subject) -> str:
    """A task of one label and one of three: outputs, targets, loss and decision fit them."""
    hints = []
    for labels in (ONE_LABEL, KITS21):
        if labels == subject.task.labels:
            continue
        other = subject.for_labels(labels)
        named = f"{len(labels)} label{'s' * (len(labels) > 1)}"
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
            for check in (targets_fit, loss_is_finite, decodes_voxel_by_voxel):
                check(other)
        except Violation as violation:
            raise Violation(
                f"for a task of {named} ({', '.join(n for n, _ in labels)}) {violation}",
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
