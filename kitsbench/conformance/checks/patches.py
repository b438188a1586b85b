"""Checks of the size rule: the network takes whatever patch it admits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from kitsbench.conformance.driven.road import take_steps
from kitsbench.conformance.driven.subject import SMALL, Subject, batch, outputs_of
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.conformance.telling.explain import failure as failure_told
from kitsbench.conformance.telling.places import of_error
from kitsbench.devices.precision import cpu_is_right_in_bfloat16
from kitsbench.errors import telling
from kitsbench.spec import Shape, SizeRule, Spec
from kitsbench.training.failures import TrialFailure
from kitsbench.training.networks.sizes import (
    Tried,
    in_words,
    seems_to_need,
    try_patch,
    wants_values,
)

LARGE_ODD: Shape = (101, 85, 117)
VERY_LARGE: Shape = (261, 195, 229)
AFFORDABLE = 2**17  # voxels of a patch that steps are taken with
STEPPED = ("the smallest", "the next")
ONE_VALUE = ("more than 1 value per channel", "more than 1 spatial element")


def scarce() -> Mapping[str, Any]:
    """Half precision, and so little memory that a batch is taken in single samples."""
    # Where the processor itself is wrong in it, it would say nothing of the plugin.
    half = "bfloat16" if cpu_is_right_in_bfloat16() else "float32"
    return {"precision": half, "max_memory": 1}


def patches_of(rule: SizeRule) -> dict[str, Shape]:
    """Patches that a rule admits, by what is special about them."""
    least = rule.nearest((1, 1, 1))[0]
    # A rule without a minimum may admit patches that are cut away altogether. One with a largest
    # edge may end at the first.
    grown = [
        rule.nearest(tuple(e + k * m for e, m in zip(least, rule.multiple, strict=True)))[0]  # type: ignore[arg-type]
        for k in (1, 2)
    ]
    return {
        "the smallest": least,
        "the next": grown[0],
        "an anisotropic": (least[0], grown[0][1], grown[1][2]),
        "a large odd": rule.nearest(LARGE_ODD)[0],
        "a very large": rule.nearest(VERY_LARGE)[0],
    }


@looks_at("spec")
def takes_every_patch(subject: Subject) -> str:
    """The network takes what its size rule admits: small, anisotropic, odd and large patches.

    The large ones are tried without values, where they cost no more than small ones. The two
    smallest are trained with, the second in half precision and sample by sample.
    """
    spec = subject.spec
    patches = patches_of(spec.size_rule)
    # What is trained with needs no other try.
    unseen: list[str] = []
    done = {patches[which] for which in STEPPED} if _is_affordable(patches) else set()
    for which in reversed(patches):
        if patches[which] in done:
            continue
        done.add(patches[which])
        tried = _tried(subject, patches[which])
        if tried.trouble:
            return _hinted(subject, spec, _told(subject, spec, which, tried))
        if tried.cut is None:
            unseen.append(_edges(patches[which]))
    if not _is_affordable(patches):
        edges = _edges(patches[STEPPED[-1]])
        return f"No step was taken with a patch of {edges}, which is large for a CPU."
    hint = _trained(subject, spec, patches)
    if not unseen:
        return hint
    why = "since forward() reads a number, for which a patch has to be computed"
    return f"Not tried with patches of {' and '.join(unseen[::-1])}, {why}. {hint}".strip()


def missing_rule(subject: Subject, spec: Spec) -> str | None:
    """What a network that fails with the patch of its spec needs, in words; None if not sizes."""
    tried = try_patch(subject.architecture, spec)
    rule = seems_to_need(subject.architecture, spec, tried.shape) if tried.trouble else None
    return None if rule is None or rule == spec.size_rule else in_words(rule)


def _tried(subject: Subject, shape: Shape) -> Tried:
    spec = subject.spec_for(shape)
    if min(spec.primary.shape) < 1:
        return Tried(shape, None, f"nothing is left of it, the output is {spec.primary.shape}")
    tried = try_patch(subject.architecture, spec)
    return _computed(subject, spec) if wants_values(tried) else tried


def _computed(subject: Subject, spec: Spec) -> Tried:
    """A patch that was tried with values, or, where that takes too long, not at all."""
    shape = spec.grids[0].shape
    if math.prod(shape) > AFFORDABLE:
        return Tried(shape, None, "")
    try:
        with torch.no_grad():
            outputs_of(subject.network(spec), batch(spec)[0], spec)
    except Exception as error:
        return Tried(shape, None, telling(error), error)
    return Tried(shape, (0, 0, 0), "")


def _told(subject: Subject, spec: Spec, which: str, tried: Tried) -> str:
    """A hint where small patches of no stated rule fail, which nobody trains with.

    Raises
    ------
    Violation
        With what is wrong, and the rule that fits.
    """
    rule = seems_to_need(subject.architecture, spec, tried.shape)
    if rule is not None and spec.size_rule == SizeRule() and _is_small(rule):
        return f"It does not take a patch of {_edges(tried.shape)}; {in_words(rule)}."
    place = of_error(tried.error, subject.architecture) if tried.error else ""
    what = f"raised {tried.trouble}" if tried.error else f"is wrong: {tried.trouble.rstrip('.')}"
    said = f"with {which} patch that the size rule admits, {_edges(tried.shape)}, forward() {what}"
    if place:
        said += f" {place}"
    remedy = "state the patches that the network takes as the spec's size_rule"
    if rule is not None and rule != spec.size_rule:
        remedy = in_words(rule)
    raise Violation(f"{said}: {remedy}.", at="" if tried.error else None)


def _is_small(rule: SizeRule) -> bool:
    """Whether a rule differs from none by patches that nobody trains with."""
    return replace(rule, minimum=(1, 1, 1)) == SizeRule() and max(rule.minimum) <= SMALL[0]


def _is_affordable(patches: Mapping[str, Shape]) -> bool:
    return math.prod(patches[STEPPED[-1]]) <= AFFORDABLE


def _hinted(subject: Subject, spec: Spec, hint: str) -> str:
    """A hint on small patches, once the patch of the checks was trained with in their stead."""
    try:
        take_steps(subject, spec, **scarce())
    except TrialFailure as failure:
        return f"{hint} {_explained(subject, spec.grids[0].shape, scarce(), failure)}"
    return hint


def _trained(subject: Subject, spec: Spec, patches: Mapping[str, Shape]) -> str:
    """Take a step with each of the smallest patches."""
    for which, fields in zip(STEPPED, ({}, scarce()), strict=True):
        shape = patches[which]
        try:
            take_steps(subject, subject.spec_for(shape), **fields)
        except TrialFailure as failure:
            # What is wrong with the size shows in a batch too, and then in other words.
            tried = _tried(subject, shape)
            if tried.trouble:
                return _hinted(subject, spec, _told(subject, spec, which, tried))
            return _explained(subject, shape, fields, failure)
    return ""


def _explained(
    subject: Subject, shape: Shape, fields: Mapping[str, Any], failure: TrialFailure
) -> str:
    """A hint where batch normalisation needs more than a sample; other failures are raised."""
    if any(text in str(failure) for text in ONE_VALUE):
        return (
            f"A patch of {_edges(shape)} can be trained in batches and not as single samples, as "
            "where memory is short, since batch normalisation then sees one value a channel."
        )
    how = f", sample by sample and in {fields['precision']}," if fields else ","
    told = failure_told(failure, subject)
    raise Violation(f"with a patch of {_edges(shape)}{how} {told}", at="") from failure


def _edges(shape: Shape) -> str:
    return "x".join(map(str, shape))
