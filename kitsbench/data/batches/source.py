"""The source of training batches that a recipe asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from kitsbench.data.batches.augmentation import needed_margin
from kitsbench.data.batches.patches import PatchSource
from kitsbench.data.batches.torchio_source import TorchioSource
from kitsbench.data.preparation.store import PreparedStore
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

    Raises
    ------
    ContractError
        The recipe names a transform of torchio that cannot be made.
    """
    margin, fill = needed_margin(recipe.augmentation), math.floor(window[0])
    if any(transform.is_torchio for transform in recipe.augmentation):
        return TorchioSource(
            stores, cases, spec, recipe, seed, margin, fill, samples, transforms=recipe.augmentation
        )
    return PatchSource(stores, cases, spec, recipe, seed, margin, fill, samples)
