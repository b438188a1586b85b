"""The contract between kitsbench and an architecture. The one file a plugin's author reads.

An architecture is a class with six hooks, of which a plain softmax network overrides one::

    from kitsbench.architecture import Architecture, Plain

    class MyNet(Architecture):
        title = "My net"

        def build(self, spec):
            return Plain(MyModule(in_channels=1, out_channels=spec.classes))

and one entry point of its distribution, in the group ``kitsbench.architectures``::

    my_net = my_package.plugin:MyNet

=========== ============================================== =======================================
hook        says                                           default
=========== ============================================== =======================================
spec        grids, heads, sizes, stages, members: data     one grid, one softmax head of equal size
build       the network, giving logits                     (the hook every plugin writes)
targets     labels on the grids -> what each head learns   labels, regions, cropped and strided
loss        what is minimised, and its parts by name       Dice + cross-entropy for each head
decode      probabilities -> label map, voxel by voxel     argmax; regions overwrite in order
postprocess the label map of a whole case, cleaned         unchanged
=========== ============================================== =======================================

The harness owns everything else: data, resampling, tiling, activations, augmentation, mixed
precision, budgets, seeds and metrics. Hooks are functions of their arguments: they keep no state
and read none. Axis order is (z, y, x) everywhere; a batch is (B, C, z, y, x).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kitsbench import default_hooks
from kitsbench.configuration import SIZES, WIDTH, Key, Setting, configure
from kitsbench.errors import ContractError
from kitsbench.files import digest
from kitsbench.recipe import Recipe, Stage

__all__ = [
    "KITS19",
    "KITS21",
    "SIZES",
    "WIDTH",
    "Architecture",
    "Grid",
    "Head",
    "Key",
    "Member",
    "Plain",
    "Progress",
    "Setting",
    "SizeRule",
    "Spec",
    "Stage",
    "Task",
    "configure",
    "softmax_spec",
]

Shape = tuple[int, int, int]
Labels = tuple[tuple[str, int], ...]

KITS19: Labels = (("kidney", 1), ("tumor", 2))
KITS21: Labels = (("kidney", 1), ("tumor", 2), ("cyst", 3))


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

    An input edge is admissible when it equals ``multiple * n + offset`` and is at least
    ``minimum``; the output edge is the input edge minus ``shrink``, cut evenly on both sides.
    """

    multiple: Shape = (1, 1, 1)
    offset: Shape = (0, 0, 0)
    shrink: Shape = (0, 0, 0)
    minimum: Shape = (1, 1, 1)

    def admits(self, shape: Shape) -> bool:
        """Whether an input shape is admissible."""
        return self.nearest(shape)[0] == tuple(shape)

    def nearest(self, shape: Shape) -> tuple[Shape, Shape]:
        """Admissible input shape nearest to ``shape`` (the larger of two), and its output."""
        inputs = []
        for edge, step, offset, low in zip(
            shape, self.multiple, self.offset, self.minimum, strict=True
        ):
            least = -(-(low - offset) // step)
            wanted = (2 * (edge - offset) + step) // (2 * step)
            inputs.append(max(wanted, least) * step + offset)
        outputs = [edge - cut for edge, cut in zip(inputs, self.shrink, strict=True)]
        return tuple(inputs), tuple(outputs)  # type: ignore[return-value]


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
    """

    name: str
    shape: Shape
    ratio: tuple[float, float, float] = (1.0, 1.0, 1.0)


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


@dataclass(frozen=True)
class Member:
    """One architecture of an ensemble, trained on the same fold and seed as its peers.

    Its size is the ensemble's unless ``config`` names one.
    """

    architecture: str
    config: tuple[tuple[str, Setting], ...] = ()


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
        larger summed probability among the tied labels.
    paper : Recipe, optional
        The paper's own recipe.
    notes : tuple of str
        Sentences for the report, e.g. that the pools follow the patch.
    spacing : (float, float, float), optional
        Voxel size in mm of the first grid, only where the network's layers follow it.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Hash of the data."""
        return digest(self.to_dict())


@dataclass(frozen=True)
class Progress:
    """Where training stands, for losses that change with it. Fractions lie in [0, 1]."""

    stage: str = "train"
    stage_fraction: float = 0.0
    fraction: float = 0.0
    step: int = 0


class Plain(nn.Module):
    """Lets a network from one tensor to one tensor serve one grid and one head."""

    def __init__(self, network: nn.Module, grid: str = "image", head: str = "segmentation"):
        super().__init__()
        self.network = network
        self.grid, self.head = grid, head

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map {grid: (B, 1, z, y, x)} to {head: logits (B, C, z, y, x)}."""
        return {self.head: self.network(inputs[self.grid])}


class Architecture:
    """An architecture: subclass it, override ``build`` and whatever else differs.

    Attributes
    ----------
    title, paper : str
        For people: a name, and the publication (with its DOI or arXiv number).
    keys : mapping of str to Key
        Configuration beside ``size``.
    sizes : mapping of str to mapping
        What ``size=tiny`` and ``size=small`` set, as values of ``keys``; ``paper`` sets nothing.
    paper_labels, paper_patch : tuple
        The paper's task, used to count parameters at paper size. A patch of None leaves it to
        ``spec``, for an architecture whose configuration chooses among patches.
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    keys: ClassVar[Mapping[str, Key]] = {}
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {}
    paper_labels: ClassVar[Labels] = KITS19
    paper_patch: ClassVar[Shape | None] = (128, 128, 128)

    # --- hooks ------------------------------------------------------------------------------

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """Hook 1: describe the configured architecture for a task. No torch needed.

        Parameters
        ----------
        config : mapping
            A value for each of ``keys`` and for ``size``.
        task : Task
            Labels, patch and spacing that are asked for.
        """
        return softmax_spec(config, task, SizeRule(), self.paper_patch or (128, 128, 128))

    def build(self, spec: Spec) -> nn.Module:
        """Hook 2: make the network.

        Its ``forward`` maps {grid name: (B, 1, z, y, x)} to {head name: logits}, and must work on
        torch's meta device. Random initial weights come from torch's global generator, which the
        harness seeds. In evaluation mode it may leave out auxiliary heads that nobody asks for
        ``at_inference``.
        """
        raise ContractError(f"{type(self).__name__} does not define build(self, spec).")

    def targets(self, labels: Mapping[str, Tensor], spec: Spec) -> dict[str, Tensor]:
        """Hook 3: what each head shall learn, computed on the device after augmentation.

        Parameters
        ----------
        labels : mapping
            {grid name: label values (B, z, y, x), int64}.

        Returns
        -------
        dict
            {head name: channel indices (B, z, y, x) for softmax, else (B, C, z, y, x) in [0, 1]}.
        """
        return {head.name: default_hooks.target(labels[head.grid], head) for head in spec.heads}

    def loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        progress: Progress,
        spec: Spec,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Hook 4: the scalar to minimise, and its parts by name (detached, for the curves).

        The default is Dice + cross-entropy for each head that the stage names. Heads of several
        strides are weighted 1, 1/2, 1/4 ... by scale, the coarsest 0, and the weights add up to
        one (Isensee et al. 2021).
        """
        return default_hooks.loss(outputs, targets, progress, spec)

    def decode(self, probabilities: Mapping[str, Tensor], spec: Spec) -> Tensor:
        """Hook 5: decide label values, each voxel by its own probabilities.

        Parameters
        ----------
        probabilities : mapping
            {head name: (C, z, y, x)} of the primary head and of heads ``at_inference``. The
            harness may pass a volume in pieces.

        Returns
        -------
        Tensor
            Label values (z, y, x), uint8.
        """
        head = spec.primary
        values = probabilities[head.name]
        if head.kind == "softmax":
            table = torch.tensor([c[0] for c in head.channels], device=values.device)
            return table[values.argmax(0)].to(torch.uint8)
        decided = torch.zeros(values.shape[1:], dtype=torch.uint8, device=values.device)
        for channel, label in enumerate(default_hooks.region_order(head)):
            decided[values[channel] > 0.5] = label
        return decided

    def postprocess(
        self,
        labels: Tensor,
        maps: Mapping[str, Tensor],
        spacing: tuple[float, float, float],
        spec: Spec,
    ) -> Tensor:
        """Hook 6: clean the label map of a whole case.

        Parameters
        ----------
        labels : Tensor
            (z, y, x), uint8, on the grid where labels are decided.
        maps : mapping
            {name: (C, z, y, x)} probabilities of heads ``at_inference`` on the same voxels.
        spacing : (float, float, float)
            mm, (z, y, x).
        """
        return labels


# --- parts of the defaults, for plugins to use -------------------------------------------------


def softmax_spec(
    config: Mapping[str, Setting],
    task: Task,
    size_rule: SizeRule,
    paper_patch: Shape,
    **fields: Any,
) -> Spec:
    """Spec of a plain network: one grid ``image``, one softmax head ``segmentation``."""
    patch, output = size_rule.nearest(task.patch or paper_patch)
    channels = ((0,), *((value,) for _, value in task.labels))
    return Spec(
        config=tuple(config.items()),
        labels=task.labels,
        grids=(Grid("image", patch),),
        heads=(Head("segmentation", "softmax", channels, output),),
        size_rule=size_rule,
        **fields,
    )
