"""Check of the ends of numeric keys: of a network's, and of those that an ensemble hands on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from kitsbench import registry
from kitsbench.architecture import Setting, configure
from kitsbench.conformance.checks.configurations import listed
from kitsbench.conformance.driven.subject import SMALL, Subject, batch, outputs_of
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.errors import KitsbenchError, telling
from kitsbench.registry.weightless import NeedsValues, build_weightless
from kitsbench.spec import Shape, Spec
from kitsbench.training.networks.sizes import try_patch

SECONDS = 20.0  # of CPU time
LARGE: Shape = (128, 128, 128)  # where an architecture names no patch of its paper
AFFORDABLE = 2_000_000, 2**15  # parameters and voxels with which a forward pass is computed


@dataclass
class _Found:
    """What became of the ends, beside those that do not work.

    Attributes
    ----------
    refused : dict of str to str
        In words, by the setting.
    with_values, late : list of str
        Settings that were not tried: since values are needed, and since time was over.
    tried : set
        Members of ensembles, with their settings and patch.
    """

    refused: dict[str, str] = field(default_factory=dict)
    with_values: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    tried: set[object] = field(default_factory=set)

    def told(self) -> str:
        """As a hint."""
        hints = []
        if self.refused:
            hints.append(f"Refused, though a key allows it: {', '.join(self.refused.values())}.")
        for settings, why in (
            (self.with_values, "it cannot be built without values"),
            (self.late, f"the others took {SECONDS:g} s"),
        ):
            if settings:
                hints.append(f"Not tried, since {why}: {', '.join(settings)}.")
        return " ".join(hints)


@looks_at("build")
def ends_of_keys_work(subject: Subject) -> str:
    """With each key of a number at its least and its largest value the network runs.

    On a small patch, and on that of the paper, since a small one is not halved as often as a key
    may allow. Where a network is small enough for it, numbers are computed too. Of an ensemble
    each member is tried so.
    """
    found = _Found()
    end = time.process_time() + SECONDS
    for variant in _ends(subject):
        setting = listed(variant)
        if time.process_time() > end:
            found.late.append(setting)
            continue
        for small in (True, False):
            try:
                for one in _configured(subject, variant, found, small=small):
                    _try(one, f"with {setting}, which its key allows, ", subject)
            except KitsbenchError as error:
                found.refused.setdefault(setting, f"{setting} ({str(error).rstrip('.')})")
            except NeedsValues:
                found.with_values.append(setting)
                break
    return found.told()


@dataclass(frozen=True)
class _Configured:
    """A network to be tried: its plugin, its spec for a patch, and who it is, in words."""

    subject: Subject
    spec: Spec
    who: str = "it"


def _configured(
    subject: Subject, variant: Mapping[str, Setting], found: _Found, *, small: bool
) -> Iterator[_Configured]:
    """The configured network, or each kind of member of an ensemble that was not tried yet."""
    config = configure(subject.architecture, {**subject.settings_with_size, **variant})
    spec = subject.spec_for(_patch_of(subject, small), config)
    if not spec.members:
        yield _Configured(subject, spec)
    for member in spec.members:
        for mode in ("matched", "paper"):
            settings = {"size": config["size"], **member.settings(mode)}
            key = (member.architecture, tuple(sorted(settings.items())), small)
            if key in found.tried:
                continue
            found.tried.add(key)
            plugin = registry.load(member.architecture).instance
            if plugin is None:  # told by the check of the members
                continue
            peer = Subject(plugin, settings, subject.task)
            own = peer.spec_for(_patch_of(peer, small))
            yield _Configured(peer, own, f"its member {member.architecture}")


def _patch_of(subject: Subject, small: bool) -> Shape:
    return SMALL if small else subject.architecture.paper_patch or LARGE


def _try(one: _Configured, where: str, whole: Subject) -> None:
    """Run a network, without values and, where it is small, with them.

    Raises
    ------
    Violation
        It does not build, or does not run.
    KitsbenchError
        The plugin refuses it.
    NeedsValues
        It cannot be tried so.
    """
    architecture, spec = one.subject.architecture, one.spec
    edges = "x".join(map(str, spec.grids[0].shape))
    where += f"{one.who} does not"
    try:
        network = build_weightless(architecture, spec, values=False)
    except KitsbenchError:
        raise
    except Exception as failure:
        if isinstance(failure, NeedsValues) and _needs_values(one.subject):
            raise
        cause = failure.__cause__ if isinstance(failure, NeedsValues) else failure
        assert cause is not None
        raise Violation(
            f"{where} build for {edges} voxels ({telling(cause)}): repair it, or let the key end "
            "earlier."
        ) from failure
    told = try_patch(architecture, spec, network=network).trouble
    # Members are other plugins, whose own checks compute.
    if not told and one.subject is whole and _is_small(network, spec.grids[0].shape):
        torch.manual_seed(0)
        with torch.no_grad():
            outputs = outputs_of(one.subject.network(spec), batch(spec)[0], spec)
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


def _ends(subject: Subject) -> list[dict[str, Setting]]:
    """Least and largest value of each key of a number, as settings that are not taken anyway."""
    found: list[dict[str, Setting]] = []
    for name, key in subject.architecture.keys.items():
        if not isinstance(key.default, (int, float)):
            continue
        kind = type(key.default)
        bounds = [key.low, key.high]
        if key.options is not None:
            numbers = [kind(option) for option in key.options]  # type: ignore[arg-type]
            bounds = [min(numbers), max(numbers)]
        for bound in bounds:
            if bound is not None and math.isfinite(bound) and bound != subject.config[name]:
                found.append({name: kind(bound)})
    return found


def _is_small(network: nn.Module, patch: tuple[int, ...]) -> bool:
    parameters, voxels = AFFORDABLE
    return sum(p.numel() for p in network.parameters()) <= parameters and math.prod(patch) <= voxels
