"""What the grids of a network want of preparation, by its spec and its recipe."""

from __future__ import annotations

from collections.abc import Sequence

from kitsbench.data.preparation.volumes import How
from kitsbench.preparation import Triple, own_voxels
from kitsbench.recipe import Recipe
from kitsbench.spec import Grid, Spec


def prepared_how(spec: Spec, recipe: Recipe) -> How:
    """How the scans of a network are prepared, beside the voxel size of each grid."""
    return How(spec.fit, recipe.preparation, own_voxels(recipe.spacing) is not None)


def grid_spacings(grids: Sequence[Grid], recipe: Recipe, spacing: Triple) -> dict[str, Triple]:
    """Voxel size of each grid as preparation takes it, {grid: mm, or a scan's own voxels}.

    Parameters
    ----------
    grids : sequence of Grid
    recipe : Recipe
    spacing : (float, float, float)
        Of the first grid in mm, where the recipe leaves scans no voxels of their own.
    """
    own = own_voxels(recipe.spacing)
    first = spacing if own is None else own.times
    found = {}
    for grid in grids:
        z, y, x = (round(s * r, 4) for s, r in zip(first, grid.ratio, strict=True))
        found[grid.name] = z, y, x
    return found
