"""Channels that follow from where a voxel lies, computed where the network runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kitsbench.channels import Channel


def place_values(
    channel: Channel, index: Sequence[Tensor], shape: Sequence[int], spacing: Sequence[float]
) -> Tensor:
    """Value of a channel ``position`` or ``border`` at some places of a scan.

    Parameters
    ----------
    channel : Channel
    index : sequence of Tensor
        Places along z, y and x in voxels of the scan, where k is the middle of voxel k; they
        broadcast with each other.
    shape : sequence of int
        Of the scan, in voxels.
    spacing : sequence of float
        mm.

    Returns
    -------
    Tensor
        float32; broadcasts to the shape of the patch.
    """
    if channel.source == "position":
        edge, from_face = shape[channel.axis], index[channel.axis] + 0.5
        if channel.unit == "mm":
            return (from_face - edge / 2) * spacing[channel.axis]
        return from_face * (2 / edge) - 1
    nearest: Tensor | None = None
    for place, edge, step in zip(index, shape, spacing, strict=True):
        depth = torch.minimum(place + 0.5, edge - 0.5 - place) * step
        nearest = depth if nearest is None else torch.minimum(nearest, depth)
    assert nearest is not None
    return nearest
