"""Transforms of torchio and of MONAI, and functions of plugins, on the patches of one sample."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch

from kitsbench.errors import ContractError, telling
from kitsbench.transforms import Transform

# Where MONAI keeps what changes voxels of one scan; the rest crops by content, mixes scans, reads.
MONAI_ROOMS = ("spatial", "intensity", "smooth_field")
IMAGES, LABELS = "image", "label"  # how keys of a subject begin


def make_transform(transform: Transform, grids: int = 1) -> Any:
    """Make the transform of a library that a recipe names, always applied.

    Parameters
    ----------
    transform : Transform
    grids : int
        How many the network wants.

    Raises
    ------
    ContractError
        The library is not installed, has no such transform, or refuses its arguments.
    """
    if transform.library == "monai":
        return _make_monai(transform, grids)
    try:
        import torchio
    except ImportError as error:
        raise _missing(transform, "torchio") from error
    made = getattr(torchio, transform.class_name, None)
    if not (isinstance(made, type) and issubclass(made, torchio.Transform)):
        raise ContractError(f"torchio {torchio.__version__} has no transform '{transform.name}'.")
    return _made(transform, made, dict(transform.parameters))


def apply_transform(transform: Transform, made: Any, subject: Any, seed: int) -> Any:
    """The subject, changed; torch's and NumPy's generators are seeded for it.

    Raises
    ------
    ContractError
        The transform fails.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - some transforms of libraries draw from it
    try:
        return made(subject) if transform.library == "torchio" else made(subject, seed)
    except Exception as error:
        raise ContractError(f"{transform.name} failed: {last_line(error)}") from error


def last_line(error: Exception) -> str:
    """The line of a library's error that says most."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _missing(transform: Transform, package: str) -> ContractError:
    return ContractError(
        f"The recipe names {transform.name}, but {package} is not installed; "
        f"run `pip install {package}`, or leave the transform out."
    )


def _made(transform: Transform, kind: type, arguments: dict[str, Any]) -> Any:
    try:
        return kind(**arguments)
    except Exception as error:
        raise ContractError(
            f"{transform.library} refuses {transform.name}: {last_line(error)}"
        ) from error


# --- MONAI --------------------------------------------------------------------------------------


def _make_monai(transform: Transform, grids: int) -> Callable[[Any, int], Any]:
    try:
        import monai.transforms
    except ImportError as error:
        raise _missing(transform, "monai") from error
    name, library = transform.class_name, cast(Any, monai.transforms)
    kind = getattr(library, name, None)
    if not (isinstance(kind, type) and issubclass(kind, library.MapTransform)):
        of_dictionaries = isinstance(getattr(library, f"{name}d", None), type)
        hint = f": write {transform.name}d" if of_dictionaries else ""
        raise ContractError(
            f"MONAI {monai.__version__} has no transform of dictionaries '{transform.name}'{hint}."
        )
    room = kind.__module__.removeprefix("monai.transforms.").split(".")[0]
    if room not in MONAI_ROOMS:
        raise ContractError(
            f"{transform.name} is one of MONAI's for '{room}': a patch is changed by those for "
            f"{', '.join(MONAI_ROOMS)}. Write a function, or a step of your own."
        )
    parameters = inspect.signature(kind).parameters
    arguments: dict[str, Any] = dict(transform.parameters)
    if own := sorted({"keys", "prob", "allow_missing_keys", "lazy"} & arguments.keys()):
        raise ContractError(
            f"{transform.name} has the parameter '{own[0]}', which kitsbench gives: the chance is "
            "Transform.probability, and labels follow where voxels move."
        )
    # What simulates thick slices lies among those that move voxels, and moves none.
    moves = (room == "spatial" and "LowResolution" not in name) or "Deform" in name
    if moves and grids > 1:
        raise ContractError(
            f"{transform.name} moves voxels whatever their size, so the {grids} grids of this "
            "network would no longer show the same: use rotation, scale, elastic, or torchio's."
        )
    images = [f"{IMAGES}_{index}" for index in range(grids)]
    keys = images + [f"{LABELS}_{index}" for index in range(grids)] if moves else images
    if moves:
        smooth = "trilinear" if "Zoom" in name else "bilinear"
        modes = (*(smooth for _ in images), *("nearest" for _ in images))
        for word in {"mode", "grid_mode"} & parameters.keys():
            arguments.setdefault(word, modes)
    if "prob" in parameters:
        arguments["prob"] = 1.0  # the chance was drawn before
    made = _made(transform, kind, {"keys": keys, **arguments})

    def change(subject: Any, seed: int) -> Any:
        if isinstance(made, library.Randomizable):
            made.set_random_state(seed=seed)
        given = {key: subject[key].data.float() for key in keys}
        for key, values in made(given).items():
            plain = values.as_tensor() if hasattr(values, "as_tensor") else torch.as_tensor(values)
            subject[key].set_data(plain.round() if key.startswith(LABELS) else plain)
        return subject

    return change


# --- functions ----------------------------------------------------------------------------------


def call_function(
    transform: Transform,
    function: Callable[..., Any],
    images: dict[str, np.ndarray],
    labels: dict[str, np.ndarray],
    spacing: Mapping[str, tuple[float, ...]],
    values: frozenset[int],
    random: np.random.Generator,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Images and labels of one sample as a function changes them.

    Parameters
    ----------
    transform : Transform
    function : callable
    images, labels : dict of str to ndarray
        {grid: (z, y, x)}, float32 in HU and uint8; the function's own copies.
    spacing : mapping of str to tuple of float
        {grid: mm, (z, y, x)}.
    values : frozenset of int
        Labels that there may be.
    random : numpy.random.Generator

    Raises
    ------
    ContractError
        It fails, or gives something else.
    """
    shapes = {name: image.shape for name, image in images.items()}
    try:
        changed, marked = function(
            images, labels, dict(spacing), random, **dict(transform.parameters)
        )
        found = {name: np.asarray(changed[name], np.float32) for name in shapes}
        marks = {name: np.asarray(marked[name]) for name in shapes}
    except Exception as error:
        raise ContractError(f"{transform.name} failed: {telling(error)}") from error
    for name, shape in shapes.items():
        for kind, value in (("image", found[name]), ("label map", marks[name])):
            if value.shape != shape:
                raise ContractError(
                    f"{transform.name} turns the {kind} of grid '{name}' from {shape} voxels into "
                    f"{value.shape}; only what keeps its shape fits."
                )
        unknown = sorted(set(np.unique(marks[name]).tolist()) - values)
        if unknown:
            raise ContractError(
                f"{transform.name} gives label {unknown[0]} on grid '{name}'; there are "
                f"{', '.join(map(str, sorted(values)))}."
            )
        if not np.isfinite(found[name]).all():
            raise ContractError(f"{transform.name} gives an image that is not finite.")
    # A view may run backwards, as of a mirrored one.
    return (
        {name: np.ascontiguousarray(value) for name, value in found.items()},
        {name: np.ascontiguousarray(value, np.uint8) for name, value in marks.items()},
    )
