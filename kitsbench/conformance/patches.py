"""Checks of the size rule: the network takes whatever patch it admits."""

from __future__ import annotations

import math
from dataclasses import replace

from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.conformance.places import of_error
from kitsbench.conformance.road import take_steps
from kitsbench.conformance.subject import SMALL, Subject
from kitsbench.spec import Shape, SizeRule, Spec
from kitsbench.training.failures import TrialFailure
from kitsbench.training.networks.sizes import Tried, in_words, seems_to_need, try_patch

LARGE_ODD: Shape = (101, 85, 117)
AFFORDABLE = 2**17  # voxels of a patch that steps are taken with
ONE_VALUE = ("more than 1 value per channel", "more than 1 spatial element")


def patches_of(rule: SizeRule) -> dict[str, Shape]:
    """Patches that a rule admits, by what is special about them."""
    least = rule.nearest((1, 1, 1))[0]
    # A rule without a minimum may admit patches that are cut away altogether.
    grown = [tuple(e + k * m for e, m in zip(least, rule.multiple, strict=True)) for k in (1, 2)]
    return {
        "the smallest": least,
        "the next": grown[0],  # type: ignore[dict-item]
        "an anisotropic": (least[0], grown[0][1], grown[1][2]),
        "a large odd": rule.nearest(LARGE_ODD)[0],
    }


@looks_at("spec")
def takes_every_patch(subject: Subject) -> str:
    """The network takes the smallest patch of its size rule, the next, others, and large ones.

    Nothing is computed for it, so that a large patch costs no more than a small one; the two
    smallest are then trained with, the second in half precision and as single samples.
    """
    hints = []
    spec = subject.spec
    for which, shape in patches_of(spec.size_rule).items():
        tried = _tried(subject, shape)
        if not tried.trouble:
            continue
        told = _told(subject, spec, which, tried)
        if told is not None:
            raise Violation(told, at="" if tried.error else None)
        hints = [_may_be_small(subject, spec, which, tried)]
        break
    return " ".join(filter(None, [*hints, _trained(subject, spec, bool(hints))]))


def missing_rule(subject: Subject, spec: Spec) -> str | None:
    """What a network that fails with the patch of its spec needs, in words; None if not sizes."""
    tried = try_patch(subject.architecture, spec)
    rule = seems_to_need(subject.architecture, spec) if tried.trouble else None
    return None if rule is None or rule == spec.size_rule else in_words(rule)


def _tried(subject: Subject, shape: Shape) -> Tried:
    spec = subject.spec_for(shape)
    if min(spec.primary.shape) < 1:
        return Tried(shape, None, f"nothing is left of it, the output is {spec.primary.shape}")
    return try_patch(subject.architecture, spec)


def _told(subject: Subject, spec: Spec, which: str, tried: Tried) -> str | None:
    """What is wrong, and the rule that fits; None where it is small patches of no stated rule."""
    rule = seems_to_need(subject.architecture, spec)
    if rule is not None and spec.size_rule == SizeRule() and _small(rule):
        return None
    place = of_error(tried.error, subject.architecture) if tried.error else ""
    what = f"raised {tried.trouble}" if tried.error else f"is wrong: {tried.trouble.rstrip('.')}"
    said = f"with {which} patch that the size rule admits, {_edges(tried.shape)}, forward() {what}"
    if place:
        said += f" {place}"
    if rule is None or rule == spec.size_rule:
        return f"{said}: state the patches that the network takes as the spec's size_rule."
    return f"{said}: {in_words(rule)}."


def _small(rule: SizeRule) -> bool:
    """Whether a rule differs from none by patches that nobody trains with."""
    return replace(rule, minimum=(1, 1, 1)) == SizeRule() and max(rule.minimum) <= SMALL[0]


def _may_be_small(subject: Subject, spec: Spec, which: str, tried: Tried) -> str:
    rule = seems_to_need(subject.architecture, spec)
    assert rule is not None
    return f"It does not take a patch of {_edges(tried.shape)}; {in_words(rule)}."


def _trained(subject: Subject, spec: Spec, small_fail: bool) -> str:
    """Take a step with the smallest patches, as they are and in half precision and parts."""
    patches = patches_of(spec.size_rule)
    least, following = patches["the smallest"], patches["the next"]
    if small_fail:
        least, following = SMALL, (SMALL[0] + 1, SMALL[1] + 1, SMALL[2] + 1)
    if math.prod(following) > AFFORDABLE:
        return f"No step was taken with a patch of {_edges(following)}, which is large for a CPU."
    take_steps(subject, subject.spec_for(least))
    try:
        # With so little memory a batch is taken in single samples.
        take_steps(subject, subject.spec_for(following), precision="bfloat16", max_memory=1)
    except TrialFailure as failure:
        if not any(text in str(failure) for text in ONE_VALUE):
            raise
        return (
            f"A patch of {_edges(following)} can be trained in batches and not as single samples, "
            "as where memory is short, since batch normalisation then sees one value a channel."
        )
    return ""


def _edges(shape: Shape) -> str:
    return "x".join(map(str, shape))
