"""What a network shows of its inside, for a whole scan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from kitsbench.data.preparation.store import PreparedCase
from kitsbench.devices.precision import autocast
from kitsbench.errors import ContractError
from kitsbench.inference.cutting import DeviceScan
from kitsbench.inference.memory import HOST
from kitsbench.inference.native import maps_on_native
from kitsbench.inference.sliding import Predictor
from kitsbench.inference.sums import Sums
from kitsbench.inference.tiles import place_on, tile_corners
from kitsbench.spec import Head

LEVELS = 255


@torch.inference_mode()
def inner_maps(predictor: Predictor, volumes: Mapping[str, PreparedCase]) -> dict[str, np.ndarray]:
    """Blend the maps of the tiles of a scan, without mirroring.

    Parameters
    ----------
    predictor : Predictor
    volumes : mapping of str to PreparedCase
        {grid: the scan at that grid's spacing}.

    Returns
    -------
    dict of str to ndarray of uint8
        {map: the scan's own voxels in the file's axis order}, from 0 at the smallest value of the
        scan to 255 at the largest.

    Raises
    ------
    ContractError
        The network does not return a map that its spec names, or returns something else.
    """
    spec, rule = predictor.spec, predictor.rule
    first = volumes[spec.grids[0].name]
    # As heads of one channel, since tiles of both are blended by one rule.
    heads = [
        Head(m.name, "regions", ((1,),), m.shape, m.grid or spec.grids[0].name, m.stride)
        for m in spec.maps
    ]
    sums = {h.name: Sums(h, volumes[h.grid].image.shape, rule, HOST) for h in heads}
    scan = DeviceScan(volumes, spec.grids, predictor.window, predictor.device, spec.inputs)
    network = predictor.adapted(volumes)
    output = np.array(spec.reach)
    for corner in tile_corners(first.image.shape, spec.reach, rule.overlap):
        centre = np.array(corner) + output / 2
        with autocast(predictor.device, predictor.precision):
            outputs = network(scan.tiles([centre]))
        for head in heads:
            values = outputs.get(head.name)
            if not isinstance(values, torch.Tensor) or values.shape != (1, 1, *head.shape):
                found = tuple(values.shape) if isinstance(values, torch.Tensor) else values
                raise ContractError(
                    f"forward() gave the map '{head.name}' as {found!r:.60} in evaluation mode; "
                    f"its spec says (B, 1, {', '.join(map(str, head.shape))})."
                )
            there = values[0].float().to(HOST)
            sums[head.name].add(there, place_on(volumes[head.grid], first, centre))
        predictor.tick()
    means = {name: own.mean() for name, own in sums.items()}
    affines = {head.name: volumes[head.grid].affine for head in heads}
    native = first.native
    shown = maps_on_native(means, affines, np.asarray(native["affine"], float), native["shape"])
    return {name: _levels(name, values[0].numpy()) for name, values in shown.items()}


def _levels(name: str, values: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to 255, which a label map's file can hold."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ContractError(f"forward() gave the map '{name}' with NaN or infinite values.")
    return np.rint((values - low) * (LEVELS / max(high - low, 1e-12))).astype(np.uint8)
