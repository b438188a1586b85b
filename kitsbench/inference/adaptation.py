"""Test-time adaptation: the hook ``adapt`` changes a copy of the trained network for one scan."""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture
from kitsbench.data.batches.patches import generator
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.devices.precision import autocast
from kitsbench.errors import ContractError, Terminated, telling
from kitsbench.inference.cutting import DeviceScan
from kitsbench.inference.tiles import tile_corners
from kitsbench.recipe import Inference
from kitsbench.spec import Spec

WORD = 9  # of what is drawn, see kitsbench.data.batches.patches.generator


@dataclass(frozen=True)
class Adapter:
    """Adapts a trained network to scans, each time from its trained weights.

    Parameters
    ----------
    architecture, spec : Architecture, Spec
    key : tuple of int
        Seed and fold, by which it draws beside the scan.
    seconds : list of float
        What each scan has taken so far.
    """

    architecture: Architecture
    spec: Spec
    key: tuple[int, ...] = (0,)
    seconds: list[float] = field(default_factory=list)

    def adapted(
        self,
        network: nn.Module,
        volumes: Mapping[str, PreparedCase],
        window: tuple[float, float, float, float],
        rule: Inference,
        device: torch.device,
        precision: str,
        tick: Callable[[], None] = lambda: None,
    ) -> nn.Module:
        """A copy of a network, adapted to a scan, in evaluation mode.

        Parameters
        ----------
        network : nn.Module
            It stays as it is.
        volumes : mapping of str to PreparedCase
            {grid: the scan at that grid's spacing}.
        window, rule, device, precision, tick
            As of :class:`~kitsbench.inference.sliding.Predictor`.

        Raises
        ------
        ContractError
            The hook raised. Memory that ran out is passed on.
        """
        name = next(iter(volumes.values())).id
        random = generator(*self.key, WORD, zlib.crc32(name.encode()))
        gpus = [device] if device.type == "cuda" else []
        began = time.perf_counter()
        # Whoever predicts has switched gradients off.
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(gpus):
            torch.manual_seed(int(random.integers(2**62)))
            scan = DeviceScan(_bare(volumes), self.spec.grids, window, device, self.spec.inputs)
            own = copied(network).eval()
            for parameter in own.parameters():
                trains = parameter.is_floating_point() or parameter.is_complex()
                parameter.requires_grad_(trains)
            given = _Adaptation(own, _Tiles(scan, self.spec, rule), random, device, precision, tick)
            try:
                self.architecture.adapt(given, self.spec)
            except (Exception, SystemExit) as error:
                if isinstance(error, (Terminated, MemoryError, torch.OutOfMemoryError)):
                    raise
                raise ContractError(f"adapt() raised {telling(error)}.") from error
            own.requires_grad_(False).zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # the host may be ahead of it
        self.seconds.append(time.perf_counter() - began)
        return own.eval()


def copied(network: nn.Module) -> nn.Module:
    """A copy of a network, also where it keeps tensors of its last pass.

    Those, an attention map to be shown for example, hang on their graph and cannot be copied.
    """
    memo: dict[int, Any] = {}

    def detach(value: object) -> None:
        if isinstance(value, Tensor):
            if not value.is_leaf:
                memo[id(value)] = value.detach().clone()
        elif isinstance(value, Mapping):
            for part in value.values():
                detach(part)
        elif isinstance(value, (list, tuple)):
            for part in value:
                detach(part)

    for module in network.modules():
        for value in list(vars(module).values()):
            detach(value)
    return copy.deepcopy(network, memo)


def _bare(volumes: Mapping[str, PreparedCase]) -> dict[str, PreparedCase]:
    """The scan without its truth; grids that share a volume still do."""
    bare = {id(case): replace(case, label=None, foreground={}) for case in volumes.values()}
    return {name: bare[id(case)] for name, case in volumes.items()}


class _Tiles(Sequence[dict[str, Tensor]]):
    """Inputs of the tiles of a scan, cut when they are asked for."""

    def __init__(self, scan: DeviceScan, spec: Spec, rule: Inference):
        self._scan, self._output = scan, np.array(spec.reach)
        self._corners = tile_corners(scan.first.image.shape, spec.reach, rule.overlap)

    def __len__(self) -> int:
        return len(self._corners)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        return self._scan.tiles([np.array(self._corners[place]) + self._output / 2])


@dataclass
class _Adaptation:
    """What the hook is given, see :class:`kitsbench.architecture.Adaptation`."""

    network: nn.Module
    tiles: Sequence[dict[str, Tensor]]
    random: np.random.Generator
    device: torch.device
    precision: str
    tick: Callable[[], None]

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits by head, in the precision of the trial."""
        self.tick()  # a sign of life, since it may take longer than the prediction
        with autocast(self.device, self.precision):
            return dict(self.network(dict(inputs)))
