"""Probabilities of a whole prepared volume, blended from tiles."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench.data.preparation.store import PreparedCase
from kitsbench.devices.parts import timed
from kitsbench.devices.peaks import peak_memory
from kitsbench.devices.precision import autocast
from kitsbench.errors import KitsbenchError
from kitsbench.inference.adaptation import Adapter
from kitsbench.inference.cutting import DeviceScan
from kitsbench.inference.landing import Landing, Pass
from kitsbench.inference.memory import HOST, first_that_fits, ran_out, release, ways
from kitsbench.inference.sums import Sums
from kitsbench.inference.tiles import place_on, tile_corners
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
        """{head: (C, z, y, x)}, float32, on the device if they fit there, else on the CPU."""


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
        What the network computes in; probabilities are float32.
    tiles : int
        Most tiles in one forward pass. For a single one PyTorch leaves out the fast convolutions
        of a CPU: two take a fifth of the time of one after the other.
    tick : callable
        Called after each forward pass, to show that there is progress.
    exhausted : callable
        Whether an exception means that memory ran out. Then the scan is begun anew with half the
        tiles a pass, and so on; at last with its sums on the host.
    adapter : Adapter, optional
        Adapts the network to each scan.
    """

    network: nn.Module
    spec: Spec
    window: tuple[float, float, float, float]
    rule: Inference
    device: torch.device
    precision: str = "float32"
    tiles: int = 2
    tick: Callable[[], None] = lambda: None
    exhausted: Callable[[BaseException], bool] = ran_out
    adapter: Adapter | None = None

    @property
    def heads(self) -> list[Head]:
        """Heads whose probabilities are asked for, the primary one first."""
        wanted = [h for h in self.spec.heads if h.role == "primary" or h.at_inference]
        return sorted(wanted, key=lambda head: head.role != "primary")

    def probabilities(self, volumes: Mapping[str, PreparedCase]) -> dict[str, Tensor]:
        """Blend the tiles of a volume.

        Parameters
        ----------
        volumes : mapping of str to PreparedCase
            {grid: the volume at that grid's spacing}.

        Returns
        -------
        dict of str to Tensor
            {head: (C, z, y, x), float32}, on the volume of the head's grid; on the device, or on
            the CPU where they do not fit there. A scalar head gives its mean over the tiles,
            (C, 1, 1, 1).

        Raises
        ------
        NonFiniteOutput
            The network put out NaN or an infinity anywhere.
        """
        with timed("adaptation"):
            network = self.adapted(volumes)
        with timed("blending"):
            return first_that_fits(
                list(ways(self.tiles, self.device)),
                lambda way: self._blend(network, volumes, *way),
                self.exhausted,
                self.device,
            )

    def adapted(self, volumes: Mapping[str, PreparedCase]) -> nn.Module:
        """The network for a scan: itself, or what its plugin makes of a copy."""
        if self.adapter is None:
            return self.network
        return self.adapter.adapted(
            self.network,
            volumes,
            self.window,
            self.rule,
            self.device,
            self.precision,
            self.tick,
        )

    @torch.inference_mode()
    def _blend(
        self,
        network: nn.Module,
        volumes: Mapping[str, PreparedCase],
        tiles: int,
        home: torch.device,
    ) -> dict[str, Tensor]:
        """Probabilities by passes of so many tiles, summed on the device or on the host."""
        first = volumes[self.spec.grids[0].name]
        output = self.spec.reach
        with timed("tiling"):
            scan = DeviceScan(volumes, self.spec.grids, self.window, self.device, self.spec.inputs)
        sums = {
            head.name: Sums(head, volumes[head.grid].image.shape, self.rule, home)
            for head in self.heads
        }
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        corners = tile_corners(first.image.shape, output, self.rule.overlap)
        # Passes of nearly equal size, because a single tile is slow on a CPU.
        landing = Landing(home)
        for chunk in np.array_split(corners, -(-len(corners) // tiles)):
            centres = [np.array(corner) + np.array(output) / 2 for corner in chunk]
            with timed("tiling"):
                inputs = scan.tiles(centres)
            found, sound = self._forward(network, inputs)
            del inputs  # as what was found, and freed by the time that the next are cut
            finite &= sound
            self._add(sums, volumes, landing.swap((centres, found)))
            del found  # or it would be there beside what the next pass needs
            self.tick()
        self._add(sums, volumes, landing.swap(None))
        # Asked once at the end, since to ask a GPU is to wait for it.
        if not finite:
            raise NonFiniteOutput(
                "The network put out NaN or infinite values in evaluation mode, which decide no "
                "label. Its weights, or statistics used only then, are not finite."
            )
        return {name: own.mean() for name, own in sums.items()}

    def _add(
        self,
        sums: Mapping[str, Sums],
        volumes: Mapping[str, PreparedCase],
        landed: Sequence[Pass],
    ) -> None:
        """Add the tiles of passes to the sums."""
        first = volumes[self.spec.grids[0].name]
        for centres, found in landed:
            for head in self.heads:
                for centre, values in zip(centres, found[head.name], strict=True):
                    sums[head.name].add(values, place_on(volumes[head.grid], first, centre))

    def _forward(
        self, network: nn.Module, inputs: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Probabilities of some tiles, {head: (B, C, z, y, x)}, and whether all was finite."""
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
            # A copy also where no axis is turned, since a network may change what it is given.
            # Numbers beside the grids are those of the scan, however it is turned.
            own = {
                n: x if len(flips) == 1 else x.flip(dims) if x.ndim == 5 else x.clone()
                for n, x in inputs.items()
            }
            with timed("network"), autocast(self.device, self.precision):
                outputs = network(own)
            for head in self.heads:
                # Probabilities are averaged, not logits: a mean of logits would let one sure pass
                # outvote the others.
                values = activate(outputs[head.name], head)
                # Before the activation, which turns an infinity into a probability.
                finite &= torch.isfinite(outputs[head.name]).all()
                if dims and head.kind != "scalar":
                    values = values.flip(dims)
                # Summed as it goes, so that one pass is in memory and not eight.
                share = values.div_(len(flips))
                total[head.name] = total[head.name].add_(share) if head.name in total else share
        return total, finite


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

    @torch.inference_mode()
    def probabilities(self, volumes: Mapping[str, PreparedCase]) -> dict[str, Tensor]:
        """Mean of the networks' probabilities; arguments and result as of :class:`Predictor`."""
        total = dict(self.predictors[0].probabilities(volumes))
        for predictor in self.predictors[1:]:
            found = beside([total], predictor, volumes)
            gather([total, found])
            for name, values in found.items():
                total[name].add_(values)
        return {name: values.div_(len(self.predictors)) for name, values in total.items()}


def beside(
    held: Sequence[dict[str, Tensor]], predictor: Predicts, volumes: Mapping[str, PreparedCase]
) -> dict[str, Tensor]:
    """Probabilities by one more network, for which what is held of others may have to make room.

    Parameters
    ----------
    held : sequence of dict
        Probabilities by others; moved to the host where nothing else helps.
    predictor : Predicts
    volumes : mapping of str to PreparedCase
    """
    devices = {v.device for found in held for v in found.values() if v.device != HOST}
    peaks = {device: peak_memory(device) for device in devices}
    try:
        return dict(predictor.probabilities(volumes))
    except (RuntimeError, MemoryError):
        # All smaller ways of its own were tried. Whatever it was, room is what may be missing.
        if not devices:
            raise
    for found in held:
        to_host(found)
    for device, peak in peaks.items():
        release(device, peak)
    return dict(predictor.probabilities(volumes))


def gather(members: Sequence[dict[str, Tensor]]) -> None:
    """Bring probabilities to one place: the host, where any of them are there already."""
    if len({values.device for found in members for values in found.values()}) > 1:
        for found in members:
            to_host(found)


def to_host(found: dict[str, Tensor]) -> None:
    """Move probabilities to the host, one head after the other."""
    for name in found:
        found[name] = found[name].cpu()


def activate(logits: Tensor, head: Head) -> Tensor:
    """Softmax over channels, or a sigmoid each."""
    logits = logits.float()
    return logits.softmax(1) if head.kind == "softmax" else logits.sigmoid()
