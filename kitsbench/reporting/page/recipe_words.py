"""A recipe in words and with units, as one cites it; its keys as they are stand beside it."""

from __future__ import annotations

from kitsbench.preparation import OwnVoxels
from kitsbench.recipe import Recipe
from kitsbench.reporting import words
from kitsbench.reporting.tables import Table
from kitsbench.transforms import Transform

_AXES = ("z", "y", "x")


def recipe_words(recipe: Recipe) -> Table:
    """What a recipe does, a row for each part that does something.

    Parameters
    ----------
    recipe : Recipe
    """
    rows = [
        ["Voxels", _voxels(recipe)],
        ["Intensities", _intensity(recipe)],
        ["Patches", _patches(recipe)],
        ["Augmentation", "; ".join(map(_transform, recipe.augmentation)) or "none"],
        ["Optimiser", _optimiser(recipe)],
        ["Learning rate", _schedule(recipe)],
        ["Prediction", _inference(recipe)],
    ]
    if recipe.average is not None:
        rows.append(["Weights", f"moving average of the weights, {recipe.average:g}"])
    caption = f"Recipe “{recipe.name}”, hash {recipe.digest()}; axes are z, y, x."
    return Table(["Part", "What is done"], rows, caption, text_columns=2)


def _voxels(recipe: Recipe) -> str:
    spacing, prepared = recipe.spacing, recipe.preparation
    if isinstance(spacing, tuple):
        size = f"{'×'.join(f'{edge:g}' for edge in spacing)} mm"
    elif isinstance(spacing, str):
        size = f"{spacing} spacing of the training scans"
    else:
        own = isinstance(spacing, OwnVoxels)
        size = "each scan's own size" if own else "coarsened until a scan is a few patches large"
    told = f"{size}; images by {prepared.interpolation}, label maps by {prepared.labels}"
    if prepared.crop_above is not None:
        told += f"; cut to the box above {prepared.crop_above:g} HU"
    return told


def _intensity(recipe: Recipe) -> str:
    rule = recipe.intensity
    window = (
        f"clipped to {rule.clip[0]:g} to {rule.clip[1]:g} HU"
        if rule.clip is not None
        else "clipped to the 0.5 and 99.5 percentiles of the training set's foreground"
    )
    if rule.scale == "range":
        return f"{window}, then mapped onto {rule.target[0]:g} to {rule.target[1]:g}"
    if rule.mean is None or rule.sd is None:
        return f"{window}, then minus mean, divided by standard deviation of that foreground"
    return f"{window}, then minus {rule.mean:g} HU, divided by {rule.sd:g} HU"


def _patches(recipe: Recipe) -> str:
    size = "each architecture's own size"
    if recipe.patch is not None:
        size = f"{'×'.join(map(str, recipe.patch))} voxels"
    sampling = recipe.sampling
    where = {
        "uniform": "anywhere in a scan",
        "foreground": f"{words.percent(sampling.fraction)} of a batch centred near foreground",
        "mixture": "centred by kind: "
        + ", ".join(f"{name} {words.percent(share)}" for name, share in sampling.weights),
        "lattice": f"tiles, {words.percent(sampling.fraction)} of them with foreground",
    }.get(sampling.rule, f"placed by {sampling.rule}")
    return f"{size}, {recipe.batch} in a batch; {where}"


def _transform(one: Transform) -> str:
    """Such as ``rotation (angle −30 to 30), 20 %``."""
    values = []
    for key, value in one.parameters:
        name = key.replace("_", " ")
        if key == "axes" and isinstance(value, tuple):
            values.append("along " + ", ".join(_AXES[int(axis)] for axis in value))
        elif isinstance(value, tuple) and len(value) == 2:
            values.append(f"{name} {_plain(value[0])} to {_plain(value[1])}")
        elif isinstance(value, tuple):
            values.append(f"{name} {', '.join(map(_plain, value))}")
        else:
            values.append(f"{name} {_plain(value)}")
    said = f" ({'; '.join(values)})" if values else ""
    often = "" if one.probability == 1 else f", {words.percent(one.probability)} of samples"
    return f"{one.name.replace('_', ' ')}{said}{often}"


def _plain(value: object) -> str:
    return f"{value:g}".replace("-", "−") if isinstance(value, (int, float)) else str(value)


def _optimiser(recipe: Recipe) -> str:
    rule = recipe.optimiser
    parts = [words.optimiser(rule.name), f"weight decay {rule.weight_decay:g}"]
    if rule.momentum:
        parts.append(f"{'Nesterov ' * rule.nesterov}momentum {rule.momentum:g}")
    if rule.amsgrad:
        parts.append("AMSGrad")
    if recipe.clip_gradient is not None:
        parts.append(f"gradients cut at a norm of {recipe.clip_gradient:g}")
    return ", ".join(parts)


def _schedule(recipe: Recipe) -> str:
    return f"{recipe.optimiser.lr:g} at first, {words.schedule(recipe.schedule)}"


def _inference(recipe: Recipe) -> str:
    rule = recipe.inference
    mirrored = (
        f"; mirrored along {', '.join(_AXES[axis] for axis in rule.mirror)} and averaged"
        if rule.mirror
        else ""
    )
    decided = "scan" if rule.decide == "native" else "recipe"
    return (
        f"patch by patch, {words.percent(rule.overlap)} overlap, {rule.blend} weights{mirrored}; "
        f"decided on the voxels of the {decided}"
    )
