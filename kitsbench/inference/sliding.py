"""Probabilities of a whole prepared volume, blended from tiles."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.patches import Batch, cut_patch
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.devices.precision import autocast
from kitsbench.errors import KitsbenchError
from kitsbench.inference.tiles import tile_corners, tile_weight
from kitsbench.recipe import Inference
from kitsbench.spec import Head, Spec


class NonFiniteOutput(KitsbenchError):
    """A network put out NaN or infinities, of which no label can be decided."""


class Predicts(Protocol):
    """What gives the probabilities of whole volumes; see :class:`Predictor`."""

    @property
    def heads(self) -> list[Head]:
        """Heads whose probabilities are asked for, the primary one first."""

    @property
    def rule(self) -> Inference:
        """How tiles are blended, and where labels are decided."""

    def probabilities(self, volumes: Mapping[str, PreparedCase]) -> dict[str, Tensor]:
        """{head: (C, z, y, x)}, float32, on the CPU."""


@dataclass(frozen=True)
class Predictor:
    """A trained network and everything needed to apply it to a volume.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on ``device``.
    spec : Spec
    window : (float, float, float, float)
        Resolved intensity rule of the training.
    rule : Inference
    device : torch.device
    precision : {"float32", "bfloat16", "float16"}
    tiles : int
        Most tiles in one forward pass. For a single one PyTorch leaves out the fast convolutions
        of a CPU: two take a fifth of the time of one after the other.
    tick : callable
        Called after each forward pass, to show that there is progress.
    """

    network: nn.Module
    spec: Spec
    window: tuple[float, float, float, float]
    rule: Inference
    device: torch.device
    precision: str = "float32"
    tiles: int = 2
    tick: Callable[[], None] = lambda: None

    @property
    def heads(self) -> list[Head]:
        """Heads whose probabilities are asked for, the primary one first."""
        wanted = [h for h in self.spec.heads if h.role == "primary" or h.at_inference]
        return sorted(wanted, key=lambda head: head.role != "primary")

    @torch.inference_mode()
    def probabilities(self, volumes: Mapping[str, PreparedCase]) -> dict[str, Tensor]:
        """Blend the tiles of a volume.

        Parameters
        ----------
        volumes : mapping of str to PreparedCase
            {grid: the volume at that grid's spacing}.

        Returns
        -------
        dict of str to Tensor
            {head: (C, z, y, x), float32, on the CPU}, on the volume of the head's grid. A scalar
            head gives its mean over the tiles, (C, 1, 1, 1).

        Raises
        ------
        NonFiniteOutput
            The network put out NaN or an infinity anywhere.
        """
        first = volumes[self.spec.grids[0].name]
        output = self.spec.primary.shape
        # The augmenter of training without transforms: a network sees intensities and second grids
        # as they were prepared there. Nothing moves, so the spacing does not matter.
        augment = Augmenter(self.spec.grids, (1.0, 1.0, 1.0), (), self.window, seed=0)
        sums, weights = self._empty(volumes)
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        corners = tile_corners(first.image.shape, output, self.rule.overlap)
        # Passes of nearly equal size, because a single tile is slow on a CPU.
        for chunk in np.array_split(corners, -(-len(corners) // self.tiles)):
            centres = [np.array(corner) + np.array(output) / 2 for corner in chunk]
            found, sound = self._forward(augment, volumes, centres)
            finite &= sound
            for head in self.heads:
                for centre, values in zip(centres, found[head.name], strict=True):
                    place = self._corner(head, volumes, centre)
                    _add(sums[head.name], weights[head.name], values, place, head, self.rule)
            self.tick()
        # Asked once at the end, since to ask a GPU is to wait for it.
        if not finite:
            raise NonFiniteOutput(
                "The network put out NaN or infinite values in evaluation mode, which decide no "
                "label. Its weights, or statistics used only then, are not finite."
            )
        # Tiles cover the first grid. A head on another may have voxels that none of them reaches:
        # they get 0, not NaN.
        return {name: sums[name] / weights[name].clamp_min(1e-12) for name in sums}

    def _empty(
        self, volumes: Mapping[str, PreparedCase]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        sums, weights = {}, {}
        for head in self.heads:
            shape = (1, 1, 1) if head.kind == "scalar" else volumes[head.grid].image.shape
            sums[head.name] = torch.zeros(len(head.channels), *shape)
            weights[head.name] = torch.zeros(1, *shape)
        return sums, weights

    def _forward(
        self, augment: Augmenter, volumes: Mapping[str, PreparedCase], centres: list[np.ndarray]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Probabilities of some tiles: {head: (B, C, z, y, x)}, on the CPU.

        With them whether all outputs were finite, on the network's device.
        """
        first = volumes[self.spec.grids[0].name]
        images, offsets, labels = {}, {}, {}
        # At or below the lower end of the window, to which it is clipped.
        fill = int(np.floor(self.window[0]))
        for grid in self.spec.grids:
            cut = [cut_patch(volumes[grid.name], first, grid.shape, c, fill) for c in centres]
            images[grid.name] = torch.from_numpy(np.stack([image for image, _, _ in cut]))[:, None]
            offsets[grid.name] = torch.from_numpy(np.stack([o for *_, o in cut])).float()
            # Nobody looks at them; expanded, they take no memory.
            labels[grid.name] = torch.zeros(1, dtype=torch.uint8).expand(len(cut), *grid.shape)
        batch = Batch(images, labels, offsets, ("",) * len(centres), 0).to(self.device)
        inputs, _ = augment(batch)
        # All combinations of the axes, the empty one included.
        flips = [
            axes
            for count in range(len(self.rule.mirror) + 1)
            for axes in itertools.combinations(self.rule.mirror, count)
        ]
        total: dict[str, Tensor] = {}
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        for axes in flips:
            dims = [axis + 2 for axis in axes]
            with autocast(self.device, self.precision):
                outputs = self.network({name: x.flip(dims) for name, x in inputs.items()})
            for head in self.heads:
                # Probabilities are averaged, not logits: a mean of logits would let one sure pass
                # outvote the others.
                values = activate(outputs[head.name], head)
                # Before the activation, which turns an infinity into a probability.
                finite &= torch.isfinite(outputs[head.name]).all()
                if head.kind != "scalar":
                    values = values.flip(dims)
                # Summed as it goes, so that one pass is in memory and not eight.
                total[head.name] = total.get(head.name, 0) + values / len(flips)
        return {name: values.cpu() for name, values in total.items()}, finite

    def _corner(
        self, head: Head, volumes: Mapping[str, PreparedCase], centre: np.ndarray
    ) -> np.ndarray:
        """First voxel of a head's output in the volume of its grid."""
        first, case = volumes[self.spec.grids[0].name], volumes[head.grid]
        place = centre
        if case is not first:
            # By the same rule as patches are cut, or probabilities would lie beside what they
            # belong to.
            point = first.affine @ np.append(centre - 0.5, 1.0)
            place = (np.linalg.inv(case.affine) @ point)[:3] + 0.5
        return np.round(place - np.array(head.shape) * np.array(head.stride) / 2).astype(int)


@dataclass(frozen=True)
class MeanPredictor:
    """Networks of one architecture, trained on different folds or seeds, averaged.

    Parameters
    ----------
    predictors : sequence of Predictor
        At least one; all of the same spec and spacing, each with its own window.
    """

    predictors: Sequence[Predictor]

    @property
    def heads(self) -> list[Head]:
        """Heads whose probabilities are asked for, the primary one first."""
        return self.predictors[0].heads

    @property
    def rule(self) -> Inference:
        """How tiles are blended, and where labels are decided."""
        return self.predictors[0].rule

    def probabilities(self, volumes: Mapping[str, PreparedCase]) -> dict[str, Tensor]:
        """Mean of the networks' probabilities; arguments and result as of :class:`Predictor`."""
        total: dict[str, Tensor] = {}
        for predictor in self.predictors:
            for name, values in predictor.probabilities(volumes).items():
                total[name] = total[name] + values if name in total else values
        return {name: values / len(self.predictors) for name, values in total.items()}


def activate(logits: Tensor, head: Head) -> Tensor:
    """Softmax over channels, or a sigmoid each."""
    logits = logits.float()
    return logits.softmax(1) if head.kind == "softmax" else logits.sigmoid()


def _add(
    total: Tensor, weights: Tensor, values: Tensor, corner: np.ndarray, head: Head, rule: Inference
) -> None:
    """Add one tile to the running sums, as far as it lies inside the volume."""
    if head.kind == "scalar":
        total += values.view(-1, 1, 1, 1)
        weights += 1
        return
    for axis, step in enumerate(head.stride, start=1):
        if step > 1:
            # A coarse head speaks for every voxel that its own covers.
            values = values.repeat_interleave(step, dim=axis)
    weight = tile_weight(values.shape[1:], rule)
    inside, source = [slice(None)], [slice(None)]
    for start, edge, size in zip(corner, values.shape[1:], total.shape[1:], strict=True):
        low, high = max(start, 0), min(start + edge, size)
        # On another grid a tile may lie outside altogether.
        if low >= high:
            return
        inside.append(slice(low, high))
        source.append(slice(low - start, high - start))
    total[tuple(inside)] += (values * weight)[tuple(source)]
    weights[tuple(inside)] += weight[None][tuple(source)]
