"""From the names on a command line to configured architectures with their recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kitsbench.architecture import (
    Architecture,
    Setting,
    System,
    adapts,
    configure,
    has_own_step,
)
from kitsbench.configuration import by_content, files_of
from kitsbench.data.batches.source import check_transforms
from kitsbench.data.datasets.voxels import Voxels
from kitsbench.errors import ContractError, LabelsError, UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import Resolved, drawn_elsewhere
from kitsbench.experiments.plan.elsewhere import check_names
from kitsbench.experiments.plan.entrant import NO_RECIPE, Entrant, told_apart
from kitsbench.experiments.plan.members import as_member, ending_of, resolve_members
from kitsbench.isolation import IsolatedFailure, each_isolated
from kitsbench.named import is_installed, package_of, resolve
from kitsbench.preparation import own_voxels
from kitsbench.recipe import SHARED, Recipe
from kitsbench.registry import RegisteredArchitecture, discover, name_with, parse_request
from kitsbench.registry.plugins_apart import AT_ONCE, asked, check_spec, introduce, introduce_each
from kitsbench.spec import Labels, Spec, Task
from kitsbench.training.recipes import at_size
from kitsbench.training.teams.distributed import check_batch

OWN_STEP_LEFT_OUT = (
    "Its own training step is left out: under the shared recipe the harness takes every step."
)
ADAPTATION_LEFT_OUT = "Its test-time adaptation is left out: under the shared recipe nobody adapts."
ADAPTS = "It adapts its network to each scan at test time; the audit says how long that takes."
MEDIAN_MOVES = (
    "Every scan keeps its own voxels; how far the augmentation turns and moves them follows from "
    "the median voxel size."
)
IN_MM = ("rotation", "translation", "elastic")  # transforms whose effect on voxels needs their size

Known = dict[str, RegisteredArchitecture]  # {what was asked for: what its plugin declares}


def read_names(
    request: Request, known: Known | None = None
) -> list[tuple[str, dict[str, Setting]]]:
    """Names and settings that were asked for, each found and with settings that it has.

    Needs no data, so that a typing error is told before any are made.

    Parameters
    ----------
    request : Request
    known : dict, optional
        Takes what the plugins declare, so that each is imported, in a process of its own, once.

    Raises
    ------
    UsageError
        An architecture is unknown, a setting is wrong, or nothing was asked for.
    """
    named = named_in(request)
    if not named and not request.predictions:
        raise UsageError(
            "No architecture was named. Name some (see `kitsbench list`), such as unet3d "
            "residual_unet, or say --all for every installed one."
        )
    check_names(request.predictions, (name for name, _ in named))
    known = {} if known is None else known
    missing = list(dict.fromkeys(name for name, _ in named if name not in known))
    known.update(zip(missing, introduce_each(missing), strict=True))
    found: list[tuple[str, dict[str, Setting]]] = []
    for name, settings in named:
        plugin = known[name].configurable
        own: dict[str, Setting] = dict(settings)
        if plugin is not None:
            own = by_content(plugin, settings, request.contents)
            configure(plugin, own)
        found.append((name, own))
    return found


def named_in(request: Request) -> list[tuple[str, dict[str, str]]]:
    """Names and settings that were asked for as they are written, with all that are installed.

    Raises
    ------
    UsageError
        A text is no name with settings.
    """
    named = [parse_request(text) for text in request.architectures]
    return named + [(name, {}) for name in installed_in(request)]


def installed_in(request: Request) -> list[str]:
    """Names of those that take part because everything does that is installed."""
    if not request.all_installed:
        return []
    others = {parse_request(text)[0] for text in request.architectures}
    return [entry.name for entry in discover() if entry.name not in others]


def with_whole_paths(
    named: Iterable[tuple[str, Mapping[str, str]]], entrants: Iterable[Entrant]
) -> list[tuple[str, dict[str, str]]]:
    """Names and settings of which the files of keys of the kind ``file`` have absolute paths.

    Parameters
    ----------
    named : iterable of (str, mapping)
        As they are written.
    entrants : iterable of Entrant
        What became of them: it knows their keys.
    """
    plugins = {one.registered.location: one.registered.configurable for one in entrants}
    found = []
    for name, settings in named:
        plugin = plugins.get(str(Path(name).resolve()) if name.endswith(".py") else name)
        files = {} if plugin is None else files_of(plugin, settings)
        found.append((name, {**settings, **{key: str(file) for key, file in files.items()}}))
    return found


def choose_entrants(
    request: Request,
    resolved: Resolved,
    labels: Labels,
    voxels: Voxels | None = None,
    known: Known | None = None,
) -> list[Entrant]:
    """Configure every architecture that was asked for, and the members of ensembles.

    Their plugins are asked in processes of their own; what they do there is a row.

    Parameters
    ----------
    request : Request
    resolved : Resolved
    labels : tuple of (str, int)
        The dataset's.
    voxels : Voxels, optional
        Those of the dataset, for recipes that name no size of their own.
    known : dict, optional
        What the plugins declare, as far as they have been imported.

    Raises
    ------
    UsageError
        An architecture is unknown, a setting is wrong, or nothing was asked for.
    """
    known = {} if known is None else known
    named = read_names(request, known)
    names = told_apart(known[name] for name, _ in named)
    plan = _Plan(request, resolved, labels, voxels, known, names)
    entrants: dict[str, Entrant] = {}
    for entrant in each_isolated(plan.configured, named, AT_ONCE):
        first = entrants.setdefault(entrant.name, entrant)
        # The same may be asked for by the hash of a file and by a path at which it lies.
        entrants[entrant.name] = replace(first, files={**entrant.files, **first.files})
    wanted = [
        (member, entrant.spec.members)
        for entrant in list(entrants.values())
        if entrant.spec is not None
        for member in entrant.spec.members
    ]
    # Members that differ by fold or seed alone are one architecture with one answer.
    distinct = {(m.architecture, m.config): (m.architecture, dict(m.config)) for m, _ in wanted}
    answers = each_isolated(plan.configured, list(distinct.values()), AT_ONCE)
    configured = dict(zip(distinct, answers, strict=True))
    for member, members in wanted:
        found = configured[member.architecture, member.config]
        found = as_member(found, member, members, resolved.seeds)
        entrants.setdefault(found.name, found)
    _share_files(entrants)
    for entrant in list(entrants.values()):
        outside = [m for m in entrant.members if (entrants[m].spec or Spec()).trained_on]
        if outside:
            error = f"plugin error: its member {outside[0]} is a System, which has no probabilities"
            entrants[entrant.name] = replace(entrant, error=error, members=())
    if request.tta is not None:
        for entrant in list(entrants.values()):
            other = _with_tta(entrant, entrants, request.tta) if entrant.asked else None
            if other is not None:
                entrants[other.name] = other
    return list(entrants.values())


def _share_files(entrants: dict[str, Entrant]) -> None:
    """Find the files of those whose settings have a hash alone, as members of ensembles have."""
    known = {
        dict(entrant.spec.config)[key]: file
        for entrant in entrants.values()
        for key, file in entrant.files.items()
        if entrant.spec is not None
    }
    for name, entrant in entrants.items():
        if known and entrant.spec is not None:
            files = {key: known[value] for key, value in entrant.spec.config if value in known}
            entrants[name] = replace(entrant, files=files)


def _with_tta(entrant: Entrant, entrants: Mapping[str, Entrant], tta: str) -> Entrant | None:
    """The same networks with another test-time augmentation, or None where it is theirs already.

    It is an entrant of its own, like an ensemble: its networks are those of the entrant it was
    made of, which are trained once.
    """
    if entrant.spec is None or entrant.recipe is None or entrant.spec.trained_on:
        return None
    members = entrant.members or (entrant.name,)
    recipes = [entrants[name].recipe or entrant.recipe for name in members]
    axes = tuple(recipe.mirror_axes() if tta == "mirror" else () for recipe in recipes)
    if axes == tuple(recipe.inference.mirror for recipe in recipes):
        return None
    counts = sorted({2 ** len(own) for own in axes})
    how = (
        f"each averaged over {' or '.join(map(str, counts))} mirror images at test time"
        if tta == "mirror"
        else "without mirroring at test time"
    )
    return replace(
        entrant,
        name=f"{entrant.name}+{'mirror' if tta == 'mirror' else 'unmirrored'}",
        recipe=replace(entrant.recipe, inference=replace(entrant.recipe.inference, mirror=axes[0])),
        members=members,
        notes=(f"The networks of {entrant.name}, {how}.",),
        tta=axes,
    )


@dataclass(frozen=True)
class _Plan:
    """What decides how an architecture takes part."""

    request: Request
    resolved: Resolved
    labels: Labels
    voxels: Voxels | None
    known: Known
    names: Mapping[str, str]

    def configured(self, asked_for: tuple[str, dict[str, Setting]]) -> Entrant:
        """Configure an architecture; one whose plugin fails is an entrant with an error."""
        name, settings = asked_for
        registered = self._introduced(name)
        if registered.configurable is None:
            shown = self.names.get(registered.location, registered.name)
            return Entrant(shown, registered, error=_row(registered))
        size = self.resolved.size
        # What the size sets anyway is no part of a name, what differs from it is.
        shown = self._shown(registered, settings)
        config = configure(registered.configurable, {"size": size, **settings})
        try:
            spec, recipe, notes = asked(
                registered.location,
                registered.source_hash,
                propose,
                shown,
                config,
                self.request.recipe == "paper",
                dict(self.request.overrides),
                self.resolved.matched,
                self.labels,
                self.voxels,
            )
            if spec is None:
                return Entrant(shown, registered, error=f"other labels: {notes[0]}")
            if (missing := _missing(recipe, spec)) is not None:
                return Entrant(shown, registered, error=missing)
            files = files_of(registered.configurable, settings)
            entrant = Entrant(shown, registered, check_spec(spec), recipe, notes=notes, files=files)
            return self._with_members(entrant, settings.get("size"))
        except (IsolatedFailure, ContractError, UsageError) as error:
            # Its settings were read before, so what is wrong here is the plugin.
            return Entrant(shown, registered, error=f"plugin error: {error}")

    def _with_members(self, entrant: Entrant, size: Setting | None) -> Entrant:
        """An ensemble with the settings of its members in this mode, and their display names.

        Raises
        ------
        UsageError
            A member is not installed, or has no such setting.
        """
        spec = entrant.spec
        if spec is None or not spec.members:
            return entrant
        members, names = resolve_members(spec.members, self.request.recipe, size), []
        for member in members:
            shown = self._shown(self._introduced(member.architecture), dict(member.config))
            names.append(shown + ending_of(member, members, self.resolved.seeds))
        return replace(entrant, spec=replace(spec, members=members), members=tuple(names))

    def _shown(self, registered: RegisteredArchitecture, settings: Mapping[str, Setting]) -> str:
        """Display name of a configured architecture in this experiment."""
        name = name_with(registered, settings, self.resolved.size)
        first = self.names.get(registered.location, registered.name)
        return first + name.removeprefix(registered.name)

    def _introduced(self, name: str) -> RegisteredArchitecture:
        if name not in self.known:
            self.known[name] = introduce(name)
        return self.known[name]


def _missing(recipe: Recipe, spec: Spec) -> str | None:
    """What a recipe names and is not installed, under the words that tables use."""
    for name in recipe.foreign(spec.stages):
        package = package_of(name)
        if package is not None and not is_installed(package):
            return (
                f"missing dependency: its recipe names {name}, and {package} is not installed; "
                f"run `pip install {package}`"
            )
    return None


def _row(registered: RegisteredArchitecture) -> str:
    """Why a plugin cannot take part, under the words that tables use."""
    status = "plugin error" if registered.status == "broken" else registered.status
    return f"{status}: {registered.error}"


def propose(
    architecture: Architecture,
    shown: str,
    config: Mapping[str, Setting],
    paper: bool,
    overrides: Mapping[str, Any],
    shared: Recipe,
    labels: Labels,
    voxels: Voxels | None,
) -> tuple[Spec | None, Recipe, tuple[str, ...]]:
    """What a configured architecture trains, by which recipe, and notes for the report.

    Calls the plugin, so it belongs into a process of its own. Where the labels do not fit there is
    no spec, and the note says why.

    Parameters
    ----------
    architecture : Architecture
    shown : str
        Its display name.
    config : mapping
    paper : bool
        Whether it trains by its paper's recipe, instead of the shared one.
    overrides : mapping
        Of the recipe, from the command line.
    shared : Recipe
    labels : tuple of (str, int)
    voxels : Voxels or None
        Those of the dataset.

    Raises
    ------
    ContractError
        It has no recipe of its paper, its spec is none, its module lacks what the recipe names, or
        that names transforms that its channels do not allow.
    """
    try:
        spec = check_spec(architecture.spec(config, task_of(shared, labels)))
    except LabelsError as error:
        return None, NO_RECIPE, (str(error),)
    if isinstance(architecture, System):
        return declared(architecture, spec), NO_RECIPE, ()
    if spec.trained_on:
        raise ContractError(f"{shown} names what it was trained on, which is a System's to say")
    if not paper:
        left_out = (OWN_STEP_LEFT_OUT,) * has_own_step(architecture)
        return spec, shared, left_out + (ADAPTATION_LEFT_OUT,) * adapts(architecture)
    # A recipe may follow the patch that was asked for.
    own = check_spec(architecture.spec(config, Task(labels, overrides.get("patch"))))
    if spec.members:
        # What its members were trained by stands in their own recipes.
        return own, own.paper or replace(shared, name="members"), ()
    if own.paper is None:
        raise ContractError(f"{shown} has no paper recipe; use --recipe matched.")
    given = {"patch": own.paper.patch or own.grids[0].shape, **overrides}
    recipe, notes = replace(own.paper, **given), [ADAPTS] * adapts(architecture)
    if own_voxels(recipe.spacing) is not None:
        notes += [MEDIAN_MOVES] * any(t.name in IN_MM for t in recipe.augmentation)
    elif voxels is not None:
        edges = voxels.by(recipe.spacing, recipe.patch or own.grids[0].shape)
        recipe = replace(recipe, spacing=edges)
    recipe, note = at_size(recipe, str(config["size"]), overrides)
    notes += [text for text in (note, drawn_elsewhere(recipe.sampling, dict(labels))) if text]
    # Patch and spacing decide how deep a network can be, so the one that is trained is described.
    spec = check_spec(architecture.spec(config, task_of(recipe, labels)))
    check_transforms(spec, recipe)
    for name in recipe.foreign(spec.stages):
        if package_of(name) is None:
            resolve(name, architecture)
    return spec, recipe, tuple(notes)


def declared(system: System, spec: Spec) -> Spec:
    """The spec of a system, if it says what it was trained on.

    Raises
    ------
    ContractError
        It does not.
    """
    if not all(text.strip() for text in spec.trained_on) or not spec.trained_on:
        raise ContractError(
            f"{type(system).__name__} does not say what it was trained on: set trained_on to the "
            'names of all datasets that it has seen, or to "unknown"'
        )
    return spec


def check_batches(entrants: Sequence[Entrant], world_size: int) -> None:
    """See that the processes of a trial can share every batch out.

    Raises
    ------
    UsageError
        They cannot.
    """
    for entrant in entrants:
        if entrant.recipe is None or not entrant.trains:
            continue
        check_batch(entrant.recipe.batch, world_size, entrant.name)
        if world_size > 1 and entrant.recipe.name != SHARED and _has_own_step(entrant):
            raise UsageError(
                f"{entrant.name} has a training step of its own, which one process takes: run it "
                "with --world-size 1, or all by --recipe matched."
            )


def _has_own_step(entrant: Entrant) -> bool:
    declared = entrant.registered.declared
    return declared is not None and declared.own_step


def task_of(recipe: Recipe, labels: Labels) -> Task:
    """What a recipe asks of an architecture."""
    spacing = recipe.spacing if isinstance(recipe.spacing, tuple) else None
    return Task(labels, recipe.patch, spacing)
