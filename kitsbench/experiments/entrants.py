"""From the names on a command line to configured architectures with their recipes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from kitsbench.architecture import Architecture, Labels, Setting, Task, configure
from kitsbench.errors import ContractError, KitsbenchError, UsageError
from kitsbench.experiments.identity import Entrant
from kitsbench.experiments.request import Request
from kitsbench.recipe import Recipe
from kitsbench.registry import (
    RegisteredArchitecture,
    count_parameters,
    discover,
    label,
    load,
    parse_request,
)
from kitsbench.training.flops import count_cost
from kitsbench.training.recipes import matched


def choose_entrants(request: Request, labels: Labels, device: torch.device) -> list[Entrant]:
    """Configure every architecture that was asked for, and the members of ensembles.

    Raises
    ------
    UsageError
        An architecture is unknown, a setting is wrong, or nothing was asked for.
    """
    asked = [parse_request(text) for text in request.architectures]
    if request.all_installed:
        named = {name for name, _ in asked}
        asked += [(entry.name, {}) for entry in discover() if entry.name not in named]
    if not asked:
        raise UsageError(
            "No architecture was named. Name some (see `kitsbench list`), or say --all."
        )
    entrants: dict[str, Entrant] = {}
    for name, settings in asked:
        entrant = _configure(name, dict(settings), request, labels, device)
        entrants.setdefault(entrant.label, entrant)
    for entrant in list(entrants.values()):
        for member in entrant.spec.members if entrant.spec else ():
            found = _configure(member.architecture, dict(member.config), request, labels, device)
            entrants.setdefault(found.label, found)
    return list(entrants.values())


def member_labels(entrant: Entrant) -> list[str]:
    """Labels of an ensemble's members, as they stand in the list of entrants."""
    members = entrant.spec.members if entrant.spec else ()
    return [label(member.architecture, dict(member.config)) for member in members]


def _configure(
    name: str,
    settings: dict[str, Setting],
    request: Request,
    labels: Labels,
    device: torch.device,
) -> Entrant:
    registered = load(name)
    if registered.instance is None:
        return Entrant(
            registered.name, registered, error=f"{registered.status}: {registered.error}"
        )
    shown = label(name, settings)
    architecture = registered.architecture
    if "size" not in settings:
        auto = "paper" if device.type == "cuda" else "tiny"
        settings = {"size": auto if request.size == "auto" else request.size, **settings}
    config = configure(architecture, settings)
    try:
        return _with_recipe(shown, registered, config, request, labels, device)
    except UsageError:
        raise
    except Exception as error:
        text = (
            f"{type(error).__name__}: {error}"
            if not isinstance(error, KitsbenchError)
            else str(error)
        )
        return Entrant(shown, registered, error=f"broken: {text}")


def _with_recipe(
    shown: str,
    registered: RegisteredArchitecture,
    config: Mapping[str, Setting],
    request: Request,
    labels: Labels,
    device: torch.device,
) -> Entrant:
    architecture = registered.architecture
    shared = shared_recipe(request, device)
    spec = architecture.spec(config, Task(labels, shared.patch, _fixed(shared)))
    recipe = shared
    if request.recipe == "paper" and not spec.members:
        spec = architecture.spec(config, Task(labels, request.patch, None))
        if spec.paper is None:
            raise ContractError(f"{shown} has no paper recipe; use --recipe matched.")
        recipe = replace(spec.paper, **_overrides(request))
    return Entrant(shown, registered, spec, recipe)


def _fixed(recipe: Recipe) -> tuple[float, float, float] | None:
    return recipe.spacing if isinstance(recipe.spacing, tuple) else None


def shared_recipe(request: Request, device: torch.device) -> Recipe:
    """The matched recipe with what the request replaces."""
    recipe = replace(matched(device.type), **_overrides(request))
    return replace(recipe, patch=request.patch) if request.patch else recipe


def _overrides(request: Request) -> dict[str, Any]:
    given = {"spacing": request.spacing, "batch": request.batch}
    return {key: value for key, value in given.items() if value is not None}


def describe_entrant(entrant: Entrant) -> dict[str, Any]:
    """Row of ``experiment.json`` for an architecture: provenance, size and cost."""
    registered, spec = entrant.registered, entrant.spec
    row: dict[str, Any] = {
        "label": entrant.label,
        "name": registered.name,
        "title": registered.title,
        "paper": registered.paper,
        "distribution": registered.distribution,
        "version": registered.version,
        "source_hash": registered.source_hash,
        "status": "ok" if entrant.error is None else "broken",
        "error": entrant.error,
        "config": dict(spec.config) if spec else {},
        "size": dict(spec.config).get("size") if spec else None,
        "notes": list(spec.notes) if spec else [],
        "members": member_labels(entrant),
        "parameters": None,
        "flops": None,
        "paper_parameters": None,
        "paper_flops": None,
    }
    if spec is None or spec.members:
        return row
    architecture = registered.architecture
    cost = count_cost(architecture, spec)
    row["parameters"] = cost.parameters
    row["flops"] = cost.flops_forward
    row["patch"] = list(spec.grids[0].shape)
    row |= _paper_cost(architecture, spec.config, spec.labels)
    return row


def _paper_cost(
    architecture: Architecture, config: tuple[tuple[str, Setting], ...], labels: Labels
) -> dict[str, Any]:
    """Parameters, and FLOPs a voxel, of the same configuration at the paper's size."""
    scaled = {"size", "width", "depth", *architecture.sizes.get("tiny", {})}
    scaled |= set(architecture.sizes.get("small", {}))
    settings = {key: value for key, value in config if key not in scaled}
    task = Task(labels, architecture.paper_patch)
    spec = architecture.spec(configure(architecture, settings), task)
    cost = count_cost(architecture, spec)
    return {
        "paper_parameters": count_parameters(architecture, settings, task),
        "paper_flops": cost.flops_forward,
        "paper_patch": list(spec.grids[0].shape),
        "paper_voxels": math.prod(spec.grids[0].shape),
    }
