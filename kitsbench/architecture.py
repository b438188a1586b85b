"""The contract between kitsbench and an architecture. The one file a plugin's author reads.

An architecture is a class with ten hooks, of which a plain softmax network overrides one::

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
weights     initial weights, loaded when training begins   of files that keys name; else build's
step        a training step, under a recipe of one's own   gradient of the loss, optimiser
derive      channels and numbers that follow from a scan   (only where ``spec`` names some)
adapt       the trained network to one scan, at test time  nothing
=========== ============================================== =======================================

A :class:`System` was trained elsewhere and has one hook, ``predict``: a scan -> its label map.

The harness owns everything else: data, resampling, tiling, activations, augmentation, mixed
precision, budgets, seeds and metrics. Hooks are functions of their arguments: they keep no state
and read none. Axis order is (z, y, x) everywhere; a batch is (B, C, z, y, x).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench import default_hooks, pretrained
from kitsbench.channels import Channel, Input, Scan, coordinates
from kitsbench.configuration import SIZES, WIDTH, Key, Setting, configure
from kitsbench.default_hooks import require_labels, softmax_spec
from kitsbench.errors import ContractError
from kitsbench.recipe import Stage
from kitsbench.spec import (
    KITS19,
    KITS21,
    Grid,
    Head,
    Labels,
    Map,
    Member,
    Progress,
    Shape,
    SizeRule,
    Spec,
    Task,
)

__all__ = [
    "KITS19",
    "KITS21",
    "SIZES",
    "WIDTH",
    "Adaptation",
    "Architecture",
    "Channel",
    "Grid",
    "Head",
    "Input",
    "Key",
    "Map",
    "Member",
    "Plain",
    "Progress",
    "Scan",
    "Setting",
    "SizeRule",
    "Spec",
    "Stage",
    "System",
    "Task",
    "Training",
    "configure",
    "coordinates",
    "require_labels",
    "softmax_spec",
]

Maps = Mapping[str, Tensor]


class Plain(nn.Module):
    """Lets a network from one tensor to one tensor serve one grid and one head."""

    def __init__(self, network: nn.Module, grid: str = "image", head: str = "segmentation"):
        super().__init__()
        self.network = network
        self.grid, self.head = grid, head

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map {grid: (B, C, z, y, x)} to {head: logits (B, C, z, y, x)}."""
        return {self.head: self.network(inputs[self.grid])}


class Training(Protocol):
    """What ``step`` is given: a batch on the device, and the harness's ways to learn from it.

    ``parameters`` are those of ``network`` that train in this stage; the batch is augmented,
    {grid: (B, C, z, y, x)} and {grid: (B, z, y, x), int64}; ``random`` draws on the host and
    depends, as torch's own generator does, on (seed, step) alone.
    """

    network: nn.Module
    parameters: Sequence[nn.Parameter]
    inputs: dict[str, Tensor]
    labels: dict[str, Tensor]
    random: np.random.Generator

    def forward(self, inputs: Maps, network: nn.Module | None = None) -> dict[str, Tensor]:
        """Logits in the precision of the trial, of what trains or of a module that is kept."""

    def loss(self, outputs: Maps, labels: Maps) -> tuple[Tensor, dict[str, Any]]:
        """Loss and its parts, by the hooks ``targets`` and ``loss``."""

    def gradient(
        self, losses: Callable[..., Any] | None = None, *batches: Tensor | Maps, add: bool = False
    ) -> None:
        """Put the gradient of ``losses(*batches) -> (loss, {part: value})`` into ``.grad``.

        By default ``loss(forward(inputs), labels)``. Where memory is short it is called with equal
        parts of the batches, one after the other. ``add`` adds to the gradient that is there.
        """

    def optimise(self) -> None:
        """Clip the gradient and move the weights: once in a step, after its last gradient."""

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """A module or tensor, made once and then the same in every step, also after a resume."""


class Adaptation(Protocol):
    """What ``adapt`` is given: the trained network, and one scan without its truth.

    ``network`` is a copy in evaluation mode, all of whose parameters have gradients, and is thrown
    away after the scan; ``tiles`` are the inputs of single tiles as prediction cuts them, {grid:
    (1, C, z, y, x)}, made when they are asked for; ``random`` draws on the host and depends, as
    torch's own generator does, on (seed, scan) alone.
    """

    network: nn.Module
    tiles: Sequence[dict[str, Tensor]]
    random: np.random.Generator

    def forward(self, inputs: Maps) -> dict[str, Tensor]:
        """Logits of the copy, in the precision of the trial, with their graph."""


class Architecture:
    """An architecture: subclass it, override ``build`` and whatever else differs.

    Attributes
    ----------
    title, paper : str
        For people: a name, and the publication, such as ``Oktay et al. 2018, arXiv:1804.03999``,
        where its title may stand in double quotes after the year.
    keys : mapping of str to Key
        Configuration beside ``size``.
    sizes : mapping of str to mapping
        What ``size=tiny`` and ``size=small`` set, as values of ``keys``; ``paper`` sets nothing.
    planted : str
        Of a control whose outcome is known before, such as the same network under another name:
        what it is, in a few words that reports and boards show beside it. Empty for all others.
    paper_labels, paper_patch : tuple
        The paper's task, used to count parameters at paper size. A patch of None leaves it to
        ``spec``, for an architecture whose configuration chooses among patches.
    expected_failures : mapping of str to str
        Checks of ``kitsbench check`` that fail, by name, each with the reason for which that is
        accepted.
    """

    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    planted: ClassVar[str] = ""
    keys: ClassVar[Mapping[str, Key]] = {}
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {}
    paper_labels: ClassVar[Labels] = KITS19
    paper_patch: ClassVar[Shape | None] = (128, 128, 128)
    expected_failures: ClassVar[Mapping[str, str]] = {}

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

        Its ``forward`` maps {grid name: (B, C, z, y, x)}, one channel unless the grid names others,
        and {input name: (B, size)} to {head name: logits}. Random initial weights come from torch's
        global generator, which the harness seeds. In evaluation mode it may leave out auxiliary
        heads that nobody asks for ``at_inference``.
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
        one (Isensee et al. 2021). Parts are best left tensors: the harness reads them a step later,
        where ``float(part)`` makes the host wait for a GPU.
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
        return default_hooks.decode(probabilities[spec.primary.name], spec.primary)

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

    def weights(
        self, network: nn.Module, files: Mapping[str, Path], spec: Spec
    ) -> Mapping[str, Tensor] | None:
        """Hook 7: the weights that training begins with, where they are not what ``build`` drew.

        Asked once, before the first step; never to resume, predict, score or report. Say what they
        were trained on in ``Spec.pretrained_on``.

        Parameters
        ----------
        network : nn.Module
            As it was built, on the CPU.
        files : mapping
            {key: path} of the keys made by ``Key.file()`` for which a file was given.

        Returns
        -------
        mapping or None
            {name in ``network.state_dict()``: tensor}, which the harness loads as far as names and
            shapes fit; None where the hook itself has loaded them into ``network``. By default what
            :func:`kitsbench.pretrained.read_weights` finds in the files, under the names that
            fit best (``module.`` of the file and ``network.`` of :class:`Plain` may differ).
        """
        return pretrained.default_weights(network, files)

    def derive(self, name: str, scan: Scan, spec: Spec) -> np.ndarray:
        """Hook 9: a channel or an input whose source is ``function``.

        A pure function of the whole scan, called once for each scan and grid, before training and
        before prediction; its voxels then go through tiling and augmentation as the scan's do.

        Parameters
        ----------
        name : str
            Of the :class:`Channel` or :class:`Input`.
        scan : Scan
            On the voxels of its grid.

        Returns
        -------
        ndarray
            Finite numbers: (z, y, x) of the scan for a channel, (size,) for an input.
        """
        raise ContractError(
            f"{type(self).__name__} names '{name}' a function of the scan but does not define "
            "derive(self, name, scan, spec)."
        )

    def step(self, training: Training, progress: Progress, spec: Spec) -> None:
        """Hook 8: a step of training, where the recipe is not the shared one.

        Whatever it asks ``training`` for is charged to the budget and counted in the ledger.
        """
        training.gradient()
        training.optimise()

    def adapt(self, adaptation: Adaptation, spec: Spec) -> None:
        """Hook 10: adapt the trained network to one scan, before that is predicted.

        Under a recipe of one's own. Each scan begins with the trained weights. What counts
        afterwards are parameters and buffers of ``adaptation.network``, in evaluation mode. The
        seconds that it takes are measured and shown.
        """


def has_own_step(architecture: Architecture) -> bool:
    """Whether a plugin overrides ``step``."""
    return type(architecture).step is not Architecture.step


def adapts(architecture: Architecture) -> bool:
    """Whether a plugin overrides ``adapt``."""
    return type(architecture).adapt is not Architecture.adapt


class System(Architecture):
    """A system that was trained elsewhere and only predicts: subclass it, override ``predict``.

    It takes part without a budget, once in each fold, and is scored like everybody else. Beside
    ``predict`` it may override ``load``, and ``spec`` where a key decides what it was trained on.

    Attributes
    ----------
    trained_on : str or tuple of str
        Every dataset that it has seen, pretraining included, such as ``"KiTS19"``; ``"other
        folds"`` where no scan was predicted by what had trained on it; ``"unknown"``. No default.
    """

    trained_on: ClassVar[str | tuple[str, ...]] = ()

    def load(self, files: Mapping[str, Path], spec: Spec, device: torch.device) -> None:
        """Read weights, once, before the first scan; no scan pays for it.

        Parameters
        ----------
        files : mapping
            {key: path} of the keys made by ``Key.file()`` for which a file was given.
        device : torch.device
            Where :meth:`predict` will compute.
        """

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """Describe the configured system: labels, and what it was trained on."""
        named = (self.trained_on,) if isinstance(self.trained_on, str) else self.trained_on
        if not isinstance(named, tuple) or not all(isinstance(one, str) for one in named):
            raise ContractError(
                f"trained_on is {named!r:.80}: name a dataset, or several in a tuple of texts."
            )
        return Spec(tuple(config.items()), task.labels, trained_on=named)

    def predict(
        self,
        image: Tensor,
        spacing: tuple[float, float, float],
        spec: Spec,
        device: torch.device,
    ) -> Tensor | np.ndarray:
        """Segment one scan; may adapt itself to it, which counts as time of prediction.

        Parameters
        ----------
        image : Tensor
            The scan as it is, HU, (z, y, x), float32, on the CPU; z to the head, y to the front,
            x to the patient's right.
        spacing : (float, float, float)
            mm, (z, y, x).
        device : torch.device
            Where to compute.

        Returns
        -------
        Tensor or ndarray
            Values of ``spec.labels``, and 0, on the same voxels: whole numbers, (z, y, x).
        """
        raise ContractError(f"{type(self).__name__} does not define predict(self, image, ...).")
