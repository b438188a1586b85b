"""From the names on a command line to configured architectures with their recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kitsbench.architecture import Setting, configure
from kitsbench.errors import ContractError, KitsbenchError, UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import Resolved
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.recipe import Recipe
from kitsbench.registry import (
    RegisteredArchitecture,
    discover,
    display_name,
    load,
    parse_request,
)
from kitsbench.spec import Labels, Task
from kitsbench.training.distributed import check_batch
from kitsbench.training.recipes import at_size

Spacing = tuple[float, float, float]


def read_names(request: Request) -> list[tuple[str, dict[str, Setting]]]:
    """Names and settings that were asked for, each found and with settings that it has.

    Needs no data, so that a typing error is told before any are made.

    Raises
    ------
    UsageError
        An architecture is unknown, two have one name, a setting is wrong, or nothing was asked
        for.
    """
    asked = [parse_request(text) for text in request.architectures]
    if request.all_installed:
        named = {name for name, _ in asked}
        asked += [(entry.name, {}) for entry in discover() if entry.name not in named]
    if not asked:
        raise UsageError(
            "No architecture was named. Name some (see `kitsbench list`), or say --all."
        )
    locations: dict[str, str] = {}
    for name, settings in asked:
        registered = load(name)
        other = locations.setdefault(registered.name, registered.location)
        if other != registered.location:
            raise UsageError(
                f"{other} and {registered.location} would both be called '{registered.name}'; give "
                "one of the files another name."
            )
        if registered.instance is not None:
            configure(registered.architecture, settings)
    return [(name, dict(settings)) for name, settings in asked]


def choose_entrants(
    request: Request, resolved: Resolved, labels: Labels, median: Spacing | None = None
) -> list[Entrant]:
    """Configure every architecture that was asked for, and the members of ensembles.

    Parameters
    ----------
    request : Request
    resolved : Resolved
    labels : tuple of (str, int)
        The dataset's.
    median : (float, float, float), optional
        The dataset's median voxel size in mm, for recipes that name no other.

    Raises
    ------
    UsageError
        An architecture is unknown, a setting is wrong, or nothing was asked for.
    """
    entrants: dict[str, Entrant] = {}
    for name, settings in read_names(request):
        entrant = _configure(name, settings, request, resolved, labels, median)
        entrants.setdefault(entrant.name, entrant)
    for entrant in list(entrants.values()):
        for member in entrant.spec.members if entrant.spec else ():
            own = dict(member.config)
            found = _configure(member.architecture, own, request, resolved, labels, median)
            entrants.setdefault(found.name, replace(found, asked=False))
    if request.tta is not None:
        for entrant in list(entrants.values()):
            other = _with_tta(entrant, entrants, request.tta) if entrant.asked else None
            if other is not None:
                entrants[other.name] = other
    return list(entrants.values())


def _with_tta(entrant: Entrant, entrants: Mapping[str, Entrant], tta: str) -> Entrant | None:
    """The same networks with another test-time augmentation, or None where it is theirs already.

    It is an entrant of its own, like an ensemble: its networks are those of the entrant it was
    made of, which are trained once.
    """
    if entrant.spec is None or entrant.recipe is None:
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


def _configure(
    name: str,
    settings: dict[str, Setting],
    request: Request,
    resolved: Resolved,
    labels: Labels,
    median: Spacing | None,
) -> Entrant:
    registered = load(name)
    if registered.instance is None:
        return Entrant(
            registered.name, registered, error=f"{registered.status}: {registered.error}"
        )
    size = resolved.size
    # What the size sets anyway is no part of a name, what differs from it is.
    shown = display_name(name, settings, size)
    architecture = registered.architecture
    own_size = settings.get("size")
    config = configure(architecture, {"size": size, **settings})
    try:
        entrant = _with_recipe(shown, registered, config, request, resolved, labels, median)
        entrant = entrant if own_size is None else _size_members(entrant, own_size)
        members = entrant.spec.members if entrant.spec else ()
        names = [display_name(member.architecture, dict(member.config), size) for member in members]
        return replace(entrant, members=tuple(names))
    except UsageError:
        raise
    except Exception as error:
        text = (
            f"{type(error).__name__}: {error}"
            if not isinstance(error, KitsbenchError)
            else str(error)
        )
        return Entrant(shown, registered, error=f"broken: {text}")


def _size_members(entrant: Entrant, size: Setting) -> Entrant:
    """Give an ensemble's size to its members that name none."""
    assert entrant.spec is not None
    members = tuple(
        replace(member, config=tuple({"size": size, **dict(member.config)}.items()))
        for member in entrant.spec.members
    )
    return replace(entrant, spec=replace(entrant.spec, members=members))


def _with_recipe(
    shown: str,
    registered: RegisteredArchitecture,
    config: Mapping[str, Setting],
    request: Request,
    resolved: Resolved,
    labels: Labels,
    median: Spacing | None,
) -> Entrant:
    architecture = registered.architecture
    shared = resolved.matched
    spec = architecture.spec(config, task_of(shared, labels))
    if request.recipe == "matched":
        return Entrant(shown, registered, spec, shared)
    paper = architecture.spec(config, Task(labels))
    if spec.members:
        # What its members were trained by stands in their own recipes.
        return Entrant(shown, registered, paper, paper.paper or replace(shared, name="members"))
    if paper.paper is None:
        raise ContractError(f"{shown} has no paper recipe; use --recipe matched.")
    given = {"patch": paper.paper.patch or paper.grids[0].shape, **request.overrides}
    recipe, notes = replace(paper.paper, **given), []
    if isinstance(recipe.spacing, str) and median is not None:
        if recipe.spacing == "native":
            notes.append(
                "The recipe leaves every scan its own voxels; here all have the dataset's median, "
                f"{'x'.join(f'{edge:g}' for edge in median)} mm."
            )
        recipe = replace(recipe, spacing=median)
    recipe, note = at_size(recipe, str(config["size"]), request.overrides)
    notes += [note] if note else []
    # Patch and spacing decide how deep a network can be, so the one that is trained is described.
    spec = architecture.spec(config, task_of(recipe, labels))
    return Entrant(shown, registered, spec, recipe, notes=tuple(notes))


def check_batches(entrants: Sequence[Entrant], world_size: int) -> None:
    """See that the processes of a trial can share every batch out.

    Raises
    ------
    UsageError
        They cannot.
    """
    for entrant in entrants:
        if entrant.recipe is not None and not entrant.members:
            check_batch(entrant.recipe.batch, world_size, entrant.name)


def task_of(recipe: Recipe, labels: Labels) -> Task:
    """What a recipe asks of an architecture."""
    spacing = recipe.spacing if isinstance(recipe.spacing, tuple) else None
    return Task(labels, recipe.patch, spacing)
