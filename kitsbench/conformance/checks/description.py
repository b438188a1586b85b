"""Checks of the spec: it is data, and its parts fit each other."""

from __future__ import annotations

import math

from kitsbench import registry
from kitsbench.channels import naming_fault
from kitsbench.conformance.driven.subject import Subject, trained_by
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.errors import ContractError
from kitsbench.naming import twice
from kitsbench.registry.plugins_apart import check_spec
from kitsbench.spec import Shape, Spec

SHAPES: tuple[Shape, ...] = ((16, 16, 16), (32, 32, 32), (12, 32, 40), (128, 128, 128))


@looks_at("spec")
def spec_is_data(subject: Subject) -> None:
    """The spec can be hashed, printed, and comes out the same twice."""
    spec = subject.spec
    if not isinstance(spec, Spec):
        raise Violation(f"spec() returned a {type(spec).__name__}: return a Spec.")
    if dict(spec.config) != subject.config:
        raise Violation(
            f"spec.config is {dict(spec.config)} but the configuration is {subject.config}: pass "
            "config=tuple(config.items()) to Spec."
        )
    if spec.labels != subject.task.labels:
        raise Violation(
            f"spec.labels is {spec.labels} but the task has {subject.task.labels}: pass "
            "labels=task.labels to Spec."
        )
    try:
        hash(spec)
        first = spec.digest()
    except (TypeError, ValueError) as error:
        raise Violation(
            f"the spec is no plain data ({error}): use tuples, text, numbers."
        ) from None
    patch = subject.task.patch or (16, 16, 16)
    if subject.spec_for(patch).digest() != first:
        raise Violation("spec() gave two results for equal arguments: let it depend on them alone.")


@looks_at("spec")
def grids_and_heads_fit(subject: Subject) -> None:
    """One primary head, on the first grid; heads are centred in their grids."""
    spec = subject.spec
    primary = [head.name for head in spec.heads if head.role == "primary"]
    if len(primary) != 1:
        raise Violation(f"the primary heads are {primary}: give exactly one head role='primary'.")
    for kind, names in (
        ("grid", [g.name for g in spec.grids]),
        ("head", [h.name for h in spec.heads]),
    ):
        if twice(names) is not None:
            raise Violation(
                f"the {kind} names {names} repeat, or nearly: give each its own letters and digits."
            )
    fault = naming_fault({grid.name: grid.channels for grid in spec.grids}, spec.inputs)
    if fault is not None:
        raise Violation(f"{fault}.")
    if spec.primary.grid != spec.grids[0].name or spec.primary.kind == "scalar":
        raise Violation(
            f"the primary head '{spec.primary.name}' ({spec.primary.kind}) lies on grid "
            f"'{spec.primary.grid}': it must be voxels of the first grid, '{spec.grids[0].name}'."
        )
    if spec.grids[0].ratio != (1.0, 1.0, 1.0):
        raise Violation(f"the first grid has ratio {spec.grids[0].ratio}: it must be (1, 1, 1).")
    values = {0, *(value for _, value in spec.labels)}
    shapes = {grid.name: grid.shape for grid in spec.grids}
    for head in spec.heads:
        if head.grid not in shapes:
            raise Violation(
                f"head '{head.name}' lies on '{head.grid}', which is no grid: {[*shapes]}."
            )
        unknown = {value for channel in head.channels for value in channel} - values
        if unknown or not head.channels or () in head.channels:
            raise Violation(
                f"head '{head.name}' has channels {head.channels}, labels of the task are "
                f"{sorted(values)}: use these only, one channel at least, and none that is empty."
            )
        if head.kind == "scalar":
            continue
        covered = [edge * step for edge, step in zip(head.shape, head.stride, strict=True)]
        for edge, inner in zip(shapes[head.grid], covered, strict=True):
            if inner > edge or (edge - inner) % 2:
                raise Violation(
                    f"head '{head.name}' covers {tuple(covered)} of {shapes[head.grid]} voxels: "
                    "what is cut must be the same on both sides."
                )
    try:
        check_spec(spec)  # the rest of what a run asks of it
    except ContractError as error:
        raise Violation(f"{error}.") from error


@looks_at("spec")
def sizes_are_admissible(subject: Subject) -> None:
    """Whatever patch is asked for, the spec's own rule admits the answer."""
    for shape in SHAPES:
        spec = subject.spec_for(shape)
        patch = spec.grids[0].shape
        expected = spec.size_rule.nearest(patch)
        if expected[0] != patch:
            raise Violation(
                f"for a patch of {shape} the first grid is {patch}, which the spec's own size_rule "
                f"does not admit (nearest {expected[0]}): take size_rule.nearest(patch)."
            )
        output = tuple(e * s for e, s in zip(spec.primary.shape, spec.primary.stride, strict=True))
        if output != expected[1]:
            raise Violation(
                f"for an input of {patch} the size_rule gives an output of {expected[1]} but the "
                f"primary head covers {output}: correct shrink, the head's shape, "
                "or its stride where the output is coarser than the input."
            )
        if subject.spec_for(patch).grids[0].shape != patch:
            raise Violation(
                f"asked for its own patch {patch} the spec answers "
                f"{subject.spec_for(patch).grids[0].shape}: an admissible patch must be kept."
            )


@looks_at("spec")
def stages_fit(subject: Subject) -> None:
    """Stages have names, shares that add up to 1, heads that exist, and something to train."""
    stages, heads = subject.spec.stages, {head.name for head in subject.spec.heads}
    names = [stage.name for stage in stages]
    if not stages or len(set(names)) != len(names):
        raise Violation(f"the stages are {names}: give at least one, each with its own name.")
    total = sum(stage.share for stage in stages)
    if not math.isclose(total, 1.0, abs_tol=1e-6) or min(s.share for s in stages) <= 0:
        raise Violation(f"the stages' shares add up to {total:g}: positive shares must sum to 1.")
    for stage in stages:
        missing = set(stage.heads or ()) - heads
        if missing or stage.heads == ():
            raise Violation(
                f"stage '{stage.name}' counts the heads {stage.heads}, the spec has "
                f"{sorted(heads)}: name some of these, or None for all."
            )
    if subject.spec.members:
        return
    network = subject.weightless()
    for stage in stages:
        if not trained_by(stage, network):
            raise Violation(
                f"stage '{stage.name}' trains {stage.train}, which matches no parameter, e.g. "
                f"'{next(network.named_parameters())[0]}': correct the patterns."
            )


@looks_at("spec")
def members_fit(subject: Subject) -> None:
    """An ensemble has members that load, are no ensembles, and decide the same channels."""
    spec = subject.spec
    if spec.grids or spec.heads:
        raise Violation("an ensemble has members, grids and heads: leave grids and heads empty.")
    decided = set()
    # Folds and seeds change nothing of a network, settings of the paper's recipe may.
    kinds = [
        (member.architecture, tuple(member.settings(mode).items()))
        for member in spec.members
        for mode in ("matched", "paper")
    ]
    for name, settings in dict.fromkeys(kinds):
        entry = registry.load(name)
        if entry.instance is None:
            raise Violation(
                f"member '{name}' is {entry.status} ({entry.error}): install or repair it."
            )
        peer = Subject(entry.instance, dict(settings), subject.task)
        if peer.spec.members:
            raise Violation(f"member '{name}' is an ensemble: name its members.")
        decided.add((peer.spec.primary.kind, peer.spec.primary.channels))
    if len(decided) > 1:
        raise Violation(
            f"the members' primary heads differ ({len(decided)} kinds or channel lists): only "
            "equal heads can be combined."
        )
