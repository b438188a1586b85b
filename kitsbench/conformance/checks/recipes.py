"""Checks of what a recipe brings along: initial weights, a sampler, transforms of the plugin's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from kitsbench.architecture import Architecture
from kitsbench.configuration import files_of
from kitsbench.conformance.driven import surroundings
from kitsbench.conformance.driven.opened import files_read
from kitsbench.conformance.driven.road import BATCH, FOREGROUND, recipe_of
from kitsbench.conformance.driven.source import folder_of
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.driven.volumes import WINDOW, Volumes
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.conformance.telling.places import of_function
from kitsbench.data.batches.patches import Batch
from kitsbench.data.batches.source import training_source
from kitsbench.errors import KitsbenchError
from kitsbench.named import is_named, resolve
from kitsbench.recipe import Recipe
from kitsbench.training.failures import TrialFailure
from kitsbench.training.networks.initial import load_initial

STEPS = 3, 4
GENERATORS = (
    "NumPy's random generator",
    "Python's random generator",
    "torch's random generator",
)


@looks_at("weights")
def initial_weights_fit(subject: Subject) -> str:
    """The hook ``weights`` gives what the network can take, or loads it itself.

    A hint where it reads a file that no key names.
    """
    architecture = subject.architecture
    files = files_of(architecture, subject.settings)
    if type(architecture).weights is Architecture.weights and not files:
        return ""
    network = subject.network()
    try:
        with files_read(files.values(), folder_of(architecture)) as read:
            load_initial(architecture, network, files, subject.spec, aloud=False)
    except TrialFailure as failure:
        if failure.__cause__ is not None:
            raise  # whose line is told
        raise Violation(str(failure)) from failure
    if not read:
        return ""
    return (
        f"weights() reads {read[0]}, which no key of the kind file names: another file of that "
        "name would be the same trial, and no other machine need have it. Make a key by "
        "Key.file(), and read the path that `files` has for it."
    )


@looks_at("class")
def batches_repeat(subject: Subject) -> None:
    """A sampler and transforms of the plugin's own depend on (seed, step), and on nothing else."""
    if subject.spec.paper is None:
        return
    recipe = recipe_of(subject.spec)
    if is_named(recipe.sampling.rule):
        _repeats(subject, "sampler", recipe.sampling.rule, replace(recipe, augmentation=()))
    for transform in recipe.augmentation:
        if is_named(transform.name):
            always = (replace(transform, probability=1.0),)
            alone = replace(recipe, sampling=FOREGROUND, augmentation=always)
            _repeats(subject, "transform", transform.name, alone)


def _repeats(subject: Subject, what: str, name: str, recipe: Recipe) -> None:
    given = "draw.random" if what == "sampler" else "rng"
    place = of_function(resolve(name, subject.architecture), subject.architecture)
    who = f"the {what} {name}{' ' * bool(place)}{place}"
    first, touched = _drawn(subject, recipe, STEPS, 1)
    # A count that is kept somewhere must not come round in phase: neither one of batches nor one
    # of samples. Some papers' batches are of pairs.
    for size in (BATCH, BATCH + 1):
        with suppress(KitsbenchError):
            _drawn(subject, replace(recipe, batch=size), STEPS[:1], 3)
    again, _ = _drawn(subject, recipe, STEPS[::-1], 2)
    # What depends on the very first call shows where another one comes first.
    subject.forget()
    anew, _ = _drawn(subject, recipe, STEPS[::-1], 2)
    if touched:
        raise Violation(
            f"{who} draws from or seeds {touched[0]}, which is the harness's: draw from {given}, "
            "which it is given, and from nothing else.",
            at="",
        )
    if not all(_same(first[step], own[step]) for own in (again, anew) for step in first):
        raise Violation(
            f"{who} gives two results for one seed and step: draw from {given}, which it is given, "
            "and from nothing else, and keep no state.",
            at="",
        )


def _drawn(
    subject: Subject, recipe: Recipe, steps: Sequence[int], seed: int
) -> tuple[dict[int, Batch], list[str]]:
    """Batches of some steps, and the generators of the process that drawing them has moved."""
    spec = subject.spec
    derive = partial(subject.architecture.derive, spec=spec)
    stores = {grid.name: Volumes(spec, grid, derive) for grid in spec.grids}
    cases = stores[spec.grids[0].name].cases
    with surroundings.preserved():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (what a plugin may draw from)
        torch.manual_seed(seed)
        before = surroundings.state()
        source = training_source(
            stores, cases, spec, recipe, WINDOW, 0, plugin=subject.architecture
        )
        found = {step: source.batch(step) for step in steps}
        changed = surroundings.changed(before, surroundings.state())
    return found, [name for name in changed if name in GENERATORS]


def _same(one: Batch, other: Batch) -> bool:
    return one.cases == other.cases and all(
        torch.equal(values, theirs[name])
        for mine, theirs in ((one.images, other.images), (one.labels, other.labels))
        for name, values in mine.items()
    )
