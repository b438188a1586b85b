"""The channels and numbers of one case: from its prepared images, and from functions of them.

Training, scoring and the prediction of single scans all go through :func:`with_channels`, so that
a network is shown the same in each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kitsbench.channels import Channel, Input, Scan
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.errors import ContractError, DataError
from kitsbench.spec import Grid, Spec

Derive = Callable[[str, Scan], object]


@dataclass(frozen=True)
class Wanted:
    """What a grid's volumes need beside the CT.

    Attributes
    ----------
    images : tuple of str
        Further images of the case.
    functions : tuple of str
        Channels that are functions of the scan.
    numbers : tuple of Input
        Inputs that are functions of the scan, on this grid.
    """

    images: tuple[str, ...]
    functions: tuple[str, ...]
    numbers: tuple[Input, ...]

    @property
    def anything(self) -> bool:
        """Whether prepared volumes alone do not do."""
        return bool(self.images or self.functions or self.numbers)


def wanted_on(grid: Grid, spec: Spec) -> Wanted:
    """What the volumes of a grid need beside the CT."""
    numbers = tuple(
        entry
        for entry in spec.inputs
        if entry.source == "function" and (entry.grid or spec.grids[0].name) == grid.name
    )
    return Wanted(
        tuple(c.name for c in grid.channels if c.source == "image" and not c.is_ct),
        tuple(c.name for c in grid.channels if c.source == "function"),
        numbers,
    )


def with_channels(
    case: PreparedCase, wanted: Wanted, others: Mapping[str, PreparedCase], derive: Derive
) -> PreparedCase:
    """The case with its further images, and what follows from all of them.

    Parameters
    ----------
    case : PreparedCase
        With the CT.
    wanted : Wanted
    others : mapping of str to PreparedCase
        {further image: that image as it was prepared}.
    derive : callable
        The plugin's hook, given name and scan.

    Raises
    ------
    DataError
        A further image does not lie on the voxels of the CT.
    ContractError
        The hook gave something else than finite numbers of the right shape.
    """
    images: dict[str, np.ndarray] = {}
    for name in wanted.images:
        other = others[name]
        if other.image.shape != case.image.shape or not np.allclose(
            other.affine, case.affine, atol=1e-2
        ):
            raise DataError(
                f"{case.id}: the channel '{name}' has {other.image.shape} voxels at the spacing of "
                f"training, the CT {case.image.shape}, or lies elsewhere. All channels of a case "
                "lie on one grid: resample it onto the CT."
            )
        images[name] = other.image
    scan = scan_of(case, images)
    functions = {
        name: _numbers(name, derive(name, scan), case.image.shape) for name in wanted.functions
    }
    numbers = {e.name: _numbers(e.name, derive(e.name, scan), (e.size,)) for e in wanted.numbers}
    return replace(case, channels={**images, **functions}, numbers=numbers)


def scan_of(case: PreparedCase, images: Mapping[str, np.ndarray]) -> Scan:
    """What the hook ``derive`` is told of a case."""
    shown = {}
    for name, image in {"ct": case.image, **images}.items():
        # A view that cannot be written through: the volume is what the network sees as well.
        shown[name] = image.view()
        shown[name].flags.writeable = False
    return Scan(shown, case.spacing, native_spacing(case))


def native_spacing(case: PreparedCase) -> tuple[float, float, float]:
    """Spacing of the scan's own file along (z, y, x), mm."""
    z, y, x = (float(case.native["spacing"][axis]) for axis in case.native["order"])
    return z, y, x


def _numbers(name: str, found: object, shape: tuple[int, ...]) -> np.ndarray:
    """What the hook gave, as float32 of the shape that was asked for.

    Raises
    ------
    ContractError
        It is something else.
    """
    try:
        array = np.array(found, dtype=np.float32)  # a copy: the plugin may keep its own
    except (TypeError, ValueError):
        raise ContractError(
            f"derive('{name}') returned a {type(found).__name__}: return an array of numbers."
        ) from None
    if array.shape != tuple(shape):
        raise ContractError(
            f"derive('{name}') returned shape {array.shape}, expected is {tuple(shape)}: a channel "
            "has the voxels of scan.ct, an input its size."
        )
    if not np.isfinite(array).all():
        raise ContractError(f"derive('{name}') returned NaN or infinite numbers.")
    return array


def number_at(
    entry: Input, case: PreparedCase, step: Sequence[float] | np.ndarray, middle: np.ndarray
) -> np.ndarray:
    """Values of an input for one patch.

    Parameters
    ----------
    entry : Input
    case : PreparedCase
        The volume of its grid.
    step : sequence of float
        mm from one voxel of the patch to the next, (z, y, x).
    middle : ndarray (3,)
        Of the patch, in voxels of the volume, where k is the middle of voxel k.

    Returns
    -------
    ndarray (size,)
        float32.
    """
    if entry.source == "function":
        return case.numbers[entry.name]
    if entry.source == "native_spacing":
        return np.array(native_spacing(case), np.float32)
    if entry.source == "spacing":
        return np.array(step, np.float32)
    place = (np.asarray(middle, float) + 0.5) * 2 / np.array(case.image.shape) - 1
    return place.astype(np.float32)


def outside_of(channel: Channel, fill: float) -> float:
    """Value of a stored channel beyond the scan; ``fill`` is that of images."""
    return fill if channel.source == "image" else float(channel.outside)
