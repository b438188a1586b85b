"""The source of training batches that a recipe asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kitsbench.channels import CT
from kitsbench.data.batches.augmentation import needed_margin
from kitsbench.data.batches.foreign_source import ForeignSource
from kitsbench.data.batches.own_sampler import OwnSampler
from kitsbench.data.batches.patches import PatchSource
from kitsbench.data.preparation.store import PreparedStore
from kitsbench.errors import ContractError
from kitsbench.named import is_named
from kitsbench.recipe import Recipe
from kitsbench.spec import Spec


def training_source(
    stores: Mapping[str, PreparedStore],
    cases: Sequence[str],
    spec: Spec,
    recipe: Recipe,
    window: tuple[float, float, float, float],
    seed: int,
    samples: range | None = None,
    plugin: object = None,
) -> PatchSource:
    """Batches for a recipe, with the margin that its augmentation needs.

    Parameters
    ----------
    stores : mapping of str to PreparedStore
        {grid: prepared volumes at its spacing}.
    cases : sequence of str
    spec : Spec
    recipe : Recipe
    window : (float, float, float, float)
        Resolved intensity rule; outside the scan lies its lower end.
    seed : int
    samples : range, optional
        The part of each batch that is drawn; by default all of it.
    plugin : object, optional
        The architecture, for a sampler and transforms of its own.

    Raises
    ------
    ContractError
        The recipe names a transform or a sampler that cannot be made, or a foreign transform where
        a grid has other channels than the CT.
    """
    margin, fill = needed_margin(recipe.augmentation), math.floor(window[0])
    given = stores, cases, spec, recipe, seed, margin, fill, samples
    check_transforms(spec, recipe)
    if any(transform.is_foreign for transform in recipe.augmentation):
        source: PatchSource = ForeignSource(*given, transforms=recipe.augmentation, plugin=plugin)
    else:
        source = PatchSource(*given)
    if is_named(recipe.sampling.rule):
        source.sampler = OwnSampler(recipe.sampling.rule, recipe.sampling.arguments, source, plugin)
    return source


def check_transforms(spec: Spec, recipe: Recipe) -> None:
    """See that no transform from outside stands beside channels or inputs.

    Raises
    ------
    ContractError
        One does.
    """
    if not spec.inputs and all(grid.channels == CT for grid in spec.grids):
        return
    for transform in recipe.augmentation:
        if transform.is_foreign:
            raise ContractError(
                f"recipe '{recipe.name}' names {transform.name}, which comes from outside and is "
                "given the CT alone, but the network has other channels or inputs: they would no "
                "longer fit. Use transforms of kitsbench.recipe.TRANSFORMS."
            )
