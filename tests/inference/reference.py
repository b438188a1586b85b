"""Whole-volume prediction as plainly as it can be written: loops, float64 sums, no trick.

It shares nothing with the package but the networks, the specs and the hook ``decode``.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from kitsbench.architecture import Task, configure
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.inference.sliding import Predictor

WINDOW = (-100.0, 100.0, 10.0, 0.01)


def starts_of(size, tile, overlap):
    """First voxels of the tiles along one axis."""
    if size <= tile:
        return [-((tile - size) // 2)]
    step = max(1, int(np.floor(tile * (1 - overlap))))
    count = int(np.ceil((size - tile) / step)) + 1
    return [round(k * (size - tile) / (count - 1)) for k in range(count)]


def gaussian(shape, sigma):
    """Weight of each voxel of a tile."""
    edges = np.array(shape)[:, None, None, None]
    away = (np.indices(shape) - (edges - 1) / 2) / (sigma * edges)
    weight = np.exp(-0.5 * (away**2).sum(0))
    return np.maximum(weight / weight.max(), 1e-6)


def place(point, first, case):
    """Where a point of the first volume, counted in voxels, lies in another one."""
    if case is first:
        return np.array(point, dtype=float)
    world = first.affine @ np.append(np.array(point) - 0.5, 1)
    return np.linalg.solve(case.affine, world)[:3] + 0.5


def overlap_of(start, shape, size):
    """Which voxels of a box lie inside a volume, and which of the volume they are."""
    voxels = np.indices(shape) + np.array(start)[:, None, None, None]
    edges = np.array(size)[:, None, None, None]
    inside = ((voxels >= 0) & (voxels < edges)).all(0)
    return inside, tuple(axis[inside] for axis in voxels)


def patch_of(case, first, shape, centre, window):
    """One tile of one grid, normalised, float32."""
    low, high, shift, scale = window
    corner = place(centre, first, case) - np.array(shape) / 2
    start = np.floor(corner + 1e-4).astype(int)
    part = corner - start
    box, inside, voxels = np.full(shape, low), *overlap_of(start, shape, case.image.shape)
    box[inside] = np.clip(case.image[voxels], low, high)
    for axis in range(3):
        if abs(part[axis]) > 1e-4:
            after = np.roll(box, -1, axis)
            after[(slice(None),) * axis + (-1,)] = low
            box = box * (1 - part[axis]) + after * part[axis]
    return torch.from_numpy((box.astype(np.float32) - np.float32(shift)) * np.float32(scale))


def probabilities(predictor, volumes):
    """{head: (C, z, y, x)}, float64."""
    spec, rule = predictor.spec, predictor.rule
    first = volumes[spec.grids[0].name]
    heads = [h for h in spec.heads if h.role == "primary" or h.at_inference]
    sums, weights = {}, {}
    for head in heads:
        shape = (1, 1, 1) if head.kind == "scalar" else volumes[head.grid].image.shape
        sums[head.name] = np.zeros((len(head.channels), *shape))
        weights[head.name] = np.zeros(shape)
    kernels = {}
    output = spec.primary.shape
    axes = [starts_of(n, t, rule.overlap) for n, t in zip(first.image.shape, output, strict=True)]
    flips = [c for n in range(4) for c in itertools.combinations(rule.mirror, n)]
    for corner in itertools.product(*axes):
        centre = np.array(corner) + np.array(output) / 2
        inputs = {
            g.name: patch_of(volumes[g.name], first, g.shape, centre, predictor.window)[None, None]
            for g in spec.grids
        }
        found = dict.fromkeys(sums, 0)
        for flip in flips:
            turn = [axis + 2 for axis in flip]
            with (
                torch.no_grad(),
                torch.autocast("cpu", torch.bfloat16, enabled=predictor.precision == "bfloat16"),
            ):
                out = predictor.network({n: torch.flip(x, turn) for n, x in inputs.items()})
            for head in heads:
                logits = out[head.name].double()
                one = torch.softmax(logits, 1) if head.kind == "softmax" else torch.sigmoid(logits)
                one = one if head.kind == "scalar" else torch.flip(one, turn)
                found[head.name] = found[head.name] + one[0].numpy() / len(flips)
        for head in heads:
            if head.kind == "scalar":
                sums[head.name] += found[head.name].reshape(-1, 1, 1, 1)
                weights[head.name] += 1
                continue
            values = np.kron(found[head.name], np.ones((1, *head.stride)))
            edges = values.shape[1:]
            if edges not in kernels:
                plain = rule.blend == "uniform"
                kernels[edges] = np.ones(edges) if plain else gaussian(edges, rule.sigma)
            start = place(centre, first, volumes[head.grid]) - np.array(edges) / 2
            start = np.round(start).astype(int)
            inside, voxels = overlap_of(start, edges, weights[head.name].shape)
            weights[head.name][voxels] += kernels[edges][inside]
            for total, channel in zip(sums[head.name], values * kernels[edges], strict=True):
                total[voxels] += channel[inside]
    return {name: sums[name] / np.maximum(weights[name], 1e-12) for name in sums}


def on_native(values, prepared, native, shape):
    """(C, z, y, x) of a prepared grid on every native voxel, linearly; scalars stay as they are."""
    if values.shape[1:] == (1, 1, 1):
        return values
    where = nearest_place(prepared, native, shape)
    edge = np.array(values.shape[1:])[:, None, None, None] - 1
    where = np.clip(where, 0, edge)
    return np.stack([map_coordinates(channel, where, order=1) for channel in values])


def nearest_place(prepared, native, shape):
    """Index on the prepared grid of every native voxel, (3, n0, n1, n2)."""
    voxels = np.indices(shape).reshape(3, -1)
    world = native @ np.vstack([voxels, np.ones(voxels.shape[1])])
    return np.linalg.solve(prepared, world)[:3].reshape(3, *shape)


def case_of(image, affine, spacing=(2.0, 1.0, 1.0), native=None):
    """A prepared case; its scan on disk is (shape, affine), by default the case itself."""
    shape, own = native or (image.shape, affine)
    about = {
        "shape": list(shape),
        "affine": np.asarray(own).tolist(),
        "spacing": list(spacing),
        "order": [0, 1, 2],
        "flipped": [False, False, False],
    }
    return PreparedCase("case", image.astype(np.int16), None, spacing, affine, about)


def affine_of(spacing, origin=(0.0, 0.0, 0.0), shear=0.0):
    """From voxels (z, y, x) to mm (x, y, z)."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)[::-1]
    affine[2, 1] = shear
    affine[:3, 3] = origin[::-1]
    return affine


def predictor_of(architecture, rule, every_head=True, **fields):
    """A predictor of patches of 16, with random weights; of every head, or as the spec says."""
    from dataclasses import replace

    torch.manual_seed(0)
    spec = architecture.spec(configure(architecture), Task(patch=(16, 16, 16)))
    network = architecture.build(spec).eval()
    if every_head:
        heads = tuple(replace(h, at_inference=h.role != "primary") for h in spec.heads)
        spec = replace(spec, heads=heads)
    return Predictor(network, spec, WINDOW, rule, torch.device("cpu"), **fields)


def volumes_of(spec, shape, native=None, seed=0):
    """A random scan at the spacings of all grids, whose corners do not coincide."""
    rng, volumes = np.random.default_rng(seed), {}
    for number, grid in enumerate(spec.grids):
        spacing = tuple(s * r for s, r in zip((2.0, 1.0, 1.0), grid.ratio, strict=True))
        edges = [max(1, round(n / r)) for n, r in zip(shape, grid.ratio, strict=True)]
        affine = affine_of(spacing, (0.7 * number, 0.3 * number, 0.0))
        volumes[grid.name] = case_of(rng.integers(-150, 150, edges), affine, spacing, native)
    return volumes
