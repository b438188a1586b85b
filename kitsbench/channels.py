"""The words for what a network is shown beside the CT: plain data, no torch.

A grid has channels, and a network may be given numbers beside its grids. Both are described here;
what they are made of is the same in training and in inference. Axis order is (z, y, x): z to the
head, y to the front, x to the patient's right. Lengths are mm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kitsbench.errors import ContractError
from kitsbench.naming import check_name, twice

if TYPE_CHECKING:
    import numpy as np


def _check_word(what: str, value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise ContractError(f"{what} {value!r:.60} is not known; use one of {known}.")


@dataclass(frozen=True)
class Channel:
    """One channel of a grid.

    Parameters
    ----------
    name : str
        Unique in its grid. Of an image, ``ct`` is the scan itself (``_0000`` in nnU-Net's layout);
        any other is a channel that ``dataset.json`` names (``channel_names`` or ``modality``), or
        its number (``0001``).
    source : {"image", "position", "border", "function"}
        ``image``: an image of the case in HU, another phase for example, which goes through the
        recipe's intensity rule; changes of intensity touch these channels alone. ``position``: the
        place of a voxel in the scan along ``axis``. ``border``: mm to the nearest face of the scan,
        negative beyond it. ``function``: what the hook ``derive`` makes of the scan.
    axis : {0, 1, 2}
        Of a ``position``.
    unit : {"relative", "mm"}
        Of a ``position``: from -1 at the first face of the scan to 1 at the last, or mm from its
        middle.
    outside : float
        Value of a ``function`` beyond the scan.
    """

    name: str = "ct"
    source: Literal["image", "position", "border", "function"] = "image"
    axis: Literal[0, 1, 2] = 0
    unit: Literal["relative", "mm"] = "relative"
    outside: float = 0.0

    def __post_init__(self) -> None:
        check_name("channel", self.name)
        _check_word("source of channel", self.source, ("image", "position", "border", "function"))
        _check_word("unit of channel", self.unit, ("relative", "mm"))
        _check_word("axis of channel", self.axis, (0, 1, 2))
        if type(self.outside) not in (int, float) or not math.isfinite(self.outside):
            raise ContractError(f"outside={self.outside!r} of channel '{self.name}' is no number.")

    @property
    def is_ct(self) -> bool:
        """Whether it is the scan itself."""
        return self.source == "image" and self.name == "ct"

    @property
    def is_stored(self) -> bool:
        """Whether its voxels are read, rather than follow from where they lie."""
        return self.source in ("image", "function")


CT = (Channel(),)
"""The channels of a grid that names none."""


def coordinates(unit: Literal["relative", "mm"] = "relative") -> tuple[Channel, Channel, Channel]:
    """Channels ``z``, ``y`` and ``x``: the place of each voxel in the scan."""
    z, y, x = (
        Channel(name, "position", axis, unit)  # type: ignore[arg-type]
        for axis, name in enumerate("zyx")
    )
    return z, y, x


@dataclass(frozen=True)
class Input:
    """Some numbers for each patch, given to ``forward`` beside the grids as (B, size), float32.

    Parameters
    ----------
    name : str
        Unlike that of any grid or other input.
    source : {"spacing", "native_spacing", "centre", "function"}
        ``spacing``: mm of a voxel of the grid, along each axis; where augmentation enlarges the
        body, a voxel shows less of it. ``native_spacing``: mm of a voxel of the scan's own file.
        ``centre``: where the middle of the patch lies in the scan, from -1 at the first face to 1
        at the last. ``function``: what the hook ``derive`` makes of the scan.
    size : int
        How many; 3, along (z, y, x), unless it is a ``function``.
    grid : str or None
        The grid that is meant; None for the first.
    """

    name: str
    source: Literal["spacing", "native_spacing", "centre", "function"] = "spacing"
    size: int = 3
    grid: str | None = None

    def __post_init__(self) -> None:
        check_name("input", self.name)
        _check_word(
            "source of input", self.source, ("spacing", "native_spacing", "centre", "function")
        )
        if type(self.size) is not int or self.size < 1:
            raise ContractError(f"size={self.size!r} of input '{self.name}' must be 1 or more.")
        if self.source != "function" and self.size != 3:
            raise ContractError(
                f"input '{self.name}' has size={self.size}, but its source '{self.source}' gives 3 "
                "numbers, along (z, y, x)."
            )


@dataclass(frozen=True)
class Scan:
    """What the hook ``derive`` is told of a scan: the same in training and in inference.

    Attributes
    ----------
    images : mapping of str to ndarray of int16 (z, y, x)
        HU on the voxels of the grid: ``ct``, and the other images among the grid's channels. They
        are read-only.
    spacing : (float, float, float)
        mm of these voxels.
    native_spacing : (float, float, float)
        mm of the voxels of the scan's own file, along the same axes.
    """

    images: Mapping[str, np.ndarray]
    spacing: tuple[float, float, float]
    native_spacing: tuple[float, float, float]

    @property
    def ct(self) -> np.ndarray:
        """The scan itself."""
        return self.images["ct"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        z, y, x = self.images["ct"].shape
        return z, y, x


def naming_fault(grids: Mapping[str, tuple[Channel, ...]], inputs: tuple[Input, ...]) -> str | None:
    """What is wrong with the names of channels and inputs; None where each means one thing.

    Parameters
    ----------
    grids : mapping of str to tuple of Channel
    inputs : tuple of Input
    """
    for grid, channels in grids.items():
        names = [channel.name for channel in channels]
        if not names:
            return f"grid '{grid}' has no channels; leave them out for the CT alone"
        if len(set(names)) < len(names):
            return f"the channels {names} of grid '{grid}' repeat; give each its own name"
    if (name := twice([*grids, *(entry.name for entry in inputs)])) is not None:
        return (
            f"'{name}' names two grids or inputs, or nearly does; let their letters and digits "
            "differ by more than case"
        )
    for entry in inputs:
        if entry.grid is not None and entry.grid not in grids:
            return f"input '{entry.name}' is of grid '{entry.grid}', which is none: {[*grids]}"
    return None
