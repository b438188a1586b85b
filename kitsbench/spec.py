"""The words in which an architecture describes itself: plain data, no torch.

A :class:`Spec` says what is static about a configured architecture: its inputs, outputs, admissible
sizes, stages and members. It can be printed, hashed and compared. Axis order is (z, y, x),
lengths are mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kitsbench.channels import CT, Channel, Input
from kitsbench.configuration import Key, Setting
from kitsbench.errors import ContractError
from kitsbench.files import added, digest, plain
from kitsbench.naming import check_name
from kitsbench.recipe import Recipe, Stage

Shape = tuple[int, int, int]
"""Voxels along (z, y, x)."""

Labels = tuple[tuple[str, int], ...]
"""Names of labels with their values, 0 (background) left out."""

LARGEST_EDGE = 4096
"""Of a patch, voxels."""

MOST_RUNS = 1000
"""Folds or seeds that the members of an ensemble may name."""

KITS19: Labels = (("kidney", 1), ("tumor", 2))
"""Labels of the KiTS19 challenge."""

KITS21: Labels = (("kidney", 1), ("tumor", 2), ("cyst", 3))
"""Labels of the KiTS21 and KiTS23 challenges."""


@dataclass(frozen=True)
class Task:
    """What the harness asks of an architecture.

    Parameters
    ----------
    labels : tuple of (str, int)
        The dataset's foreground labels, background 0 left out.
    patch : (int, int, int) or None
        Patch wanted, in voxels of the first grid; None asks for the paper's.
    spacing : (float, float, float) or None
        Voxel size of the first grid in mm, where known.
    """

    labels: Labels = KITS19
    patch: Shape | None = None
    spacing: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class SizeRule:
    """Which patch edges a network accepts, per axis.

    An input edge is admissible when it equals ``multiple * n + offset``, is at least ``minimum``
    and at most ``maximum``; the output edge is the input edge minus ``shrink``, cut evenly on both
    sides. A network with position embeddings of its own may take one edge alone, which
    :meth:`fixed` says; scans of any size are then predicted in tiles of that size.

    Parameters
    ----------
    multiple, offset, shrink, minimum : (int, int, int)
    maximum : (int, int, int) or None
        None for no largest edge.
    """

    multiple: Shape = (1, 1, 1)
    offset: Shape = (0, 0, 0)
    shrink: Shape = (0, 0, 0)
    minimum: Shape = (1, 1, 1)
    maximum: Shape | None = added(None)

    def __post_init__(self) -> None:
        least = {"multiple": 1, "offset": None, "shrink": 0, "minimum": 1, "maximum": 1}
        for name, low in least.items():
            edges = getattr(self, name)
            if name == "maximum" and edges is None:
                continue
            whole = isinstance(edges, tuple) and all(type(edge) is int for edge in edges)
            if not (whole and len(edges) == 3 and all(abs(e) <= LARGEST_EDGE for e in edges)):
                raise ContractError(
                    f"SizeRule({name}={edges!r}): give three whole numbers of at most "
                    f"{LARGEST_EDGE}, for z, y and x, such as (8, 8, 8)."
                )
            if low is not None and min(edges) < low:
                raise ContractError(f"SizeRule({name}={edges!r}): no edge may be below {low}.")
        for axis in range(3):
            if self.maximum is not None and self._edge(axis, 1) > self.maximum[axis]:
                raise ContractError(
                    f"SizeRule(maximum={self.maximum!r}): along {'zyx'[axis]} no edge of at most "
                    f"{self.maximum[axis]} is a multiple of {self.multiple[axis]} and "
                    f"{self.offset[axis]} more, and at least {self.minimum[axis]}."
                )

    @classmethod
    def fixed(cls, shape: Shape, shrink: Shape = (0, 0, 0)) -> SizeRule:
        """The rule of a network that takes patches of one shape alone."""
        return cls(shrink=shrink, minimum=shape, maximum=shape)

    @property
    def is_fixed(self) -> bool:
        """Whether it admits one shape alone."""
        least = self.nearest((1, 1, 1))[0]
        return self.nearest((LARGEST_EDGE, LARGEST_EDGE, LARGEST_EDGE))[0] == least

    def admits(self, shape: Shape) -> bool:
        """Whether an input shape is admissible."""
        return self.nearest(shape)[0] == tuple(shape)

    def nearest(self, shape: Shape) -> tuple[Shape, Shape]:
        """Admissible input shape nearest to ``shape`` (the larger of two), and its output."""
        inputs = [self._edge(axis, edge) for axis, edge in enumerate(shape)]
        outputs = [edge - cut for edge, cut in zip(inputs, self.shrink, strict=True)]
        return tuple(inputs), tuple(outputs)  # type: ignore[return-value]

    def _edge(self, axis: int, edge: int) -> int:
        """Admissible edge nearest to one."""
        step, offset, low = self.multiple[axis], self.offset[axis], self.minimum[axis]
        least = -(-(low - offset) // step)
        count = max((2 * (edge - offset) + step) // (2 * step), least)
        if self.maximum is not None:
            count = min(count, max((self.maximum[axis] - offset) // step, least))
        return count * step + offset


@dataclass(frozen=True)
class Grid:
    """One input of the network. All grids of a patch share its physical centre.

    Parameters
    ----------
    name : str
    shape : (int, int, int)
        Voxels.
    ratio : (float, float, float)
        Voxel size relative to the first grid's, whose spacing is the recipe's.
    channels : tuple of Channel
        In the order of the tensor that ``forward`` gets; the CT alone unless others are named.
    whole : bool
        Show the whole scan at once, in a spec of one grid. A scan that has more voxels than the
        output is resampled to larger ones, alike along all axes, until it fits; a smaller one lies
        in the middle. The sampling rule of the recipe has no part in it.
    """

    name: str
    shape: Shape
    ratio: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: tuple[Channel, ...] = added(CT)
    whole: bool = added(False)

    def __post_init__(self) -> None:
        check_name("grid", self.name)


@dataclass(frozen=True)
class Head:
    """One output of the network.

    Parameters
    ----------
    name : str
    kind : {"softmax", "regions", "boundary", "scalar"}
        ``softmax``: exclusive channels. ``regions``: overlapping sigmoid regions. ``boundary``:
        sigmoid boundaries of regions. ``scalar``: one sigmoid number a channel for the whole
        patch; its logits and targets are (B, C).
    channels : tuple of tuple of int
        Label values that make each channel positive; (0,) is the background of a softmax.
    shape : (int, int, int)
        Voxels of the output; (1, 1, 1) for a scalar. Smaller than the grid means its centre.
    grid : str
        Grid that the output lies on.
    stride : (int, int, int)
        The output has one voxel for every ``stride`` voxels of the grid.
    role : {"primary", "auxiliary"}
        The primary head is decoded; there is exactly one.
    at_inference : bool
        Ask for an auxiliary head's probabilities in ``decode`` and ``postprocess``.
    """

    name: str
    kind: Literal["softmax", "regions", "boundary", "scalar"]
    channels: tuple[tuple[int, ...], ...]
    shape: Shape
    grid: str = "image"
    stride: Shape = (1, 1, 1)
    role: Literal["primary", "auxiliary"] = "primary"
    at_inference: bool = False

    def __post_init__(self) -> None:
        check_name("head", self.name)


@dataclass(frozen=True)
class Map:
    """Something that a network shows of its inside in evaluation mode, such as attention.

    ``forward`` returns it among the heads as (B, 1, z, y, x), any finite numbers; in training mode
    it may be left out. It is learned by no loss and decides nothing: the report shows it.

    Parameters
    ----------
    name : str
        Unlike that of any head.
    shape : (int, int, int)
        Voxels.
    grid : str or None
        Grid whose middle it covers; None for the first.
    stride : (int, int, int)
        Voxels of the grid for one of the map.
    """

    name: str
    shape: Shape
    grid: str | None = None
    stride: Shape = (1, 1, 1)

    def __post_init__(self) -> None:
        check_name("map", self.name)


@dataclass(frozen=True)
class Member:
    """One architecture of an ensemble, trained on the fold and seed that the ensemble is asked for.

    A member that names another fold or seed is a training run of its own. It is planned, trained
    and scored on the ensemble's test cases as any other, and reused where it exists already.

    Parameters
    ----------
    architecture : str
    config : tuple of (str, value)
        Settings. The size is the ensemble's unless they name one.
    fold : int, optional
        Inner fold that it is trained without: of the cases that the fold trains on, so that the
        test cases are seen by no member. Needs a split with inner folds, such as ``80:20/5``.
    seed : int, optional
        Which of several runs with seeds of their own, from 0. An ensemble whose members name ``n``
        seeds takes the seeds ``n * s`` to ``n * s + n - 1`` in its run ``s``.
    paper : tuple of (str, value)
        Settings beside ``config`` with ``--recipe paper`` alone, such as which recipe is the
        member's.

    Raises
    ------
    ContractError
        ``fold`` or ``seed`` is no whole number from 0.
    """

    architecture: str
    config: tuple[tuple[str, Setting], ...] = ()
    fold: int | None = added(None)
    seed: int | None = added(None)
    paper: tuple[tuple[str, Setting], ...] = added(())

    def __post_init__(self) -> None:
        for name in ("fold", "seed"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 0 <= value < MOST_RUNS):
                raise ContractError(
                    f"Member({name}={value!r}): give a whole number from 0 to {MOST_RUNS - 1}, or "
                    "None."
                )

    @property
    def told(self) -> str:
        """What it has beside its settings, in words behind its name."""
        found = "" if self.fold is None else f", without inner fold {self.fold}"
        found += "" if self.seed is None else f", run {self.seed}"
        own = ",".join(f"{key}={value}" for key, value in self.paper)
        return found + (f", with --recipe paper {own}" if own else "")

    def settings(self, recipe: str) -> dict[str, Setting]:
        """Settings in the mode ``matched`` or ``paper``."""
        return dict(self.config) | (dict(self.paper) if recipe == "paper" else {})


@dataclass(frozen=True)
class Spec:
    """Everything static about a configured architecture: data that is hashed and printed.

    Parameters
    ----------
    config : tuple of (str, value)
        Every configuration key with its value, see :meth:`__getitem__`.
    labels : tuple of (str, int)
        The task's labels.
    grids, heads : tuple
        Inputs and outputs; the first grid is the output grid. Empty for an ensemble.
    size_rule : SizeRule
        Of the first grid.
    stages : tuple of Stage
        In order; one for most.
    members, combine : tuple of Member, {"mean", "vote"}
        An ensemble: mean of the members' probabilities, or a vote a voxel whose ties go to the
        larger summed probability among the tied labels. A five-fold mean has five members that
        name the folds 0 to 4.
    paper : Recipe, optional
        The paper's own recipe.
    notes : tuple of str
        Sentences for the report, e.g. that the pools follow the patch.
    spacing : (float, float, float), optional
        Voxel size in mm of the first grid, only where the network's layers follow it.
    pretrained_on : str
        What data its initial weights were trained on, e.g. ``BTCV and MSD Spleen``; reports and
        boards say it. Empty where training begins from what ``build`` draws.
    inputs : tuple of Input
        Numbers that ``forward`` gets beside the grids.
    maps : tuple of Map
        What the report shows of the network's inside.
    trained_on : tuple of str
        What a :class:`~kitsbench.architecture.System` was trained on, elsewhere. It has no grids
        and no heads.
    """

    config: tuple[tuple[str, Setting], ...] = ()
    labels: Labels = KITS19
    grids: tuple[Grid, ...] = ()
    heads: tuple[Head, ...] = ()
    size_rule: SizeRule = SizeRule()
    stages: tuple[Stage, ...] = (Stage(),)
    members: tuple[Member, ...] = ()
    combine: Literal["mean", "vote"] = "mean"
    paper: Recipe | None = None
    notes: tuple[str, ...] = ()
    spacing: tuple[float, float, float] | None = None
    pretrained_on: str = added("")
    inputs: tuple[Input, ...] = added(())
    maps: tuple[Map, ...] = added(())
    trained_on: tuple[str, ...] = added(())

    def __getitem__(self, key: str) -> Any:
        return dict(self.config)[key]

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return 1 + len(self.labels)

    @property
    def primary(self) -> Head:
        """The head that is decoded."""
        return next(head for head in self.heads if head.role == "primary")

    @property
    def reach(self) -> Shape:
        """Voxels of the first grid that the primary head covers."""
        head = self.primary
        z, y, x = (edge * step for edge, step in zip(head.shape, head.stride, strict=True))
        return z, y, x

    @property
    def fit(self) -> Shape | None:
        """Voxels into which a scan is fitted that is shown as a whole; None where it is not."""
        if not any(grid.whole for grid in self.grids):
            return None
        return self.reach

    def input_shapes(self, batch: int = 1) -> dict[str, tuple[int, ...]]:
        """What ``forward`` gets: {grid: (B, C, z, y, x)}, then {input: (B, size)}."""
        shapes: dict[str, tuple[int, ...]] = {}
        for grid in self.grids:
            shapes[grid.name] = (batch, len(grid.channels), *grid.shape)
        return shapes | {entry.name: (batch, entry.size) for entry in self.inputs}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dict(plain(self))

    def digest(self) -> str:
        """Hash of the data."""
        return digest(self.to_dict())


@dataclass(frozen=True)
class Declared:
    """What a plugin's class says about its configuration, as plain data.

    Attributes
    ----------
    keys, sizes, paper_labels, paper_patch
        As of :class:`kitsbench.architecture.Architecture`.
    own_step : bool
        Whether it has a training step of its own.
    """

    keys: Mapping[str, Key]
    sizes: Mapping[str, Mapping[str, Setting]]
    paper_labels: Labels
    paper_patch: Shape | None
    own_step: bool = False


@dataclass(frozen=True)
class Progress:
    """Where training stands, for losses that change with it.

    Attributes
    ----------
    stage : str
        Name of the current stage.
    stage_fraction : float
        Progress within it, in [0, 1].
    fraction : float
        Share of the budget that is spent, in [0, 1].
    step : int
        Optimiser steps that were done before this one.
    """

    stage: str = "train"
    stage_fraction: float = 0.0
    fraction: float = 0.0
    step: int = 0
