"""A trained network as one function: HU of a patch in, probabilities out."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture
from kitsbench.channels import CT
from kitsbench.errors import UsageError
from kitsbench.inference.case import Trained
from kitsbench.inference.sliding import Predictor, activate


class PatchModel(nn.Module):
    """Intensity window, network, activation and mirroring of a predictor.

    So whoever runs it needs no word of kitsbench: HU of a patch at the trained voxel size,
    ``(B, 1, z, y, x)`` float32, give the probabilities ``(B, C, z, y, x)`` of the primary head.

    Parameters
    ----------
    predictor : Predictor
        That of a trial; see :func:`why_not`.
    """

    def __init__(self, predictor: Predictor):
        super().__init__()
        self.network = predictor.network
        self.window = predictor.window
        self.grid = predictor.spec.grids[0].name
        self.head = predictor.spec.primary
        mirror = predictor.rule.mirror
        self.flips = [
            [axis + 2 for axis in axes]
            for count in range(len(mirror) + 1)
            for axes in itertools.combinations(mirror, count)
        ]

    def forward(self, hu: Tensor) -> Tensor:
        """Probabilities of a patch; shapes as of the class."""
        low, high, shift, scale = self.window
        image = (hu.clamp(low, high) - shift) * scale
        total = None
        for dims in self.flips:
            given = image.flip(dims) if dims else image
            values = activate(self.network({self.grid: given})[self.head.name], self.head)
            values = values.flip(dims) if dims else values
            total = values if total is None else total + values
        assert total is not None  # the combination of no axis is one
        return total / len(self.flips)


def predictor_of(trained: Trained, name: str) -> Predictor:
    """The one predictor of a trial that can be carried out.

    Raises
    ------
    UsageError
        Its network is not one function of one patch of a CT; the sentence says why.
    """
    (predictor,) = trained.predictors if len(trained.predictors) == 1 else (None,)
    if not isinstance(predictor, Predictor):
        raise UsageError(
            f"{name} combines {len(trained.predictors)} networks; export the trials of its members "
            "one by one."
        )
    if reason := why_not(predictor):
        raise UsageError(f"{name} cannot be exported: {reason}.")
    return predictor


def why_not(predictor: Predictor) -> str:
    """Why a network is not one function of one patch of a CT; empty where it is."""
    spec = predictor.spec
    if len(spec.grids) > 1:
        names = ", ".join(grid.name for grid in spec.grids)
        return f"it looks at several grids at once ({names}), which no format here can lay out"
    if spec.grids[0].channels != CT or spec.inputs:
        return "it wants other channels or numbers beside the CT"
    if predictor.adapter is not None:
        return "it adapts itself to each scan, which takes its plugin"
    if any(step != 1 for step in spec.primary.stride):
        return "its output is coarser than its input"
    return ""


def decides_plainly(architecture: Architecture) -> bool:
    """Whether labels follow from probabilities by the rule that everybody has."""
    return type(architecture).decode is Architecture.decode


def example(predictor: Predictor, seed: int = 0, batch: int = 1) -> Tensor:
    """HU of a patch, ``(B, 1, z, y, x)``: noise around soft tissue, beyond the window now and then.

    Parameters
    ----------
    predictor : Predictor
    seed, batch : int
    """
    low, high, _, _ = predictor.window
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 1, *predictor.spec.grids[0].shape)
    noise = torch.rand(shape, generator=generator)
    return low - 50 + noise * (high - low + 100)
