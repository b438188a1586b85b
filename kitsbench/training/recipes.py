"""The shared recipe ``matched``, and a paper's recipe at a size that a CPU can train."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from kitsbench.preparation import OwnVoxels, Spacing, own_voxels
from kitsbench.recipe import (
    SHARED,
    Inference,
    Intensity,
    Optimiser,
    Recipe,
    Sampling,
    Schedule,
    Transform,
)

INTENSITY_AND_SHAPE = (
    Transform("rotation", 0.3, (("degrees", (15.0, 15.0, 15.0)),)),
    Transform("scale", 0.3, (("range", (0.85, 1.2)),)),
    Transform("noise", 0.15, (("sd", (0.0, 0.1)),)),
    Transform("brightness", 0.15, (("range", (0.75, 1.25)),)),
    Transform("gamma", 0.15, (("range", (0.7, 1.5)),)),
)

# On a GPU: the spacing of the KiTS19 winner, rounded as the authors of SCAU U-Net do, and a patch
# of 160 x 207 x 207 mm, which holds a kidney with its tumour.
MATCHED_GPU = Recipe(
    name=SHARED,
    spacing=(2.0, 1.62, 1.62),
    patch=(80, 128, 128),
    batch=2,
    intensity=Intensity(),
    sampling=Sampling("foreground", fraction=0.5),
    augmentation=(Transform("mirror", 0.5), *INTENSITY_AND_SHAPE),
    optimiser=Optimiser("adamw", lr=1e-3, weight_decay=1e-2),
    schedule=Schedule("polynomial", power=0.9, warmup=0.02),
    inference=Inference(overlap=0.5, blend="gaussian", sigma=0.125),
    clip_gradient=12.0,
)

# On a CPU: coarse voxels before small patches, since a patch must hold a kidney: 16 voxels of 8 mm
# are 128 mm. Few patches of what is nearly always background, and no augmentation, which in so
# short a training costs more than it teaches. Measured on phantoms other than the one that is
# reported, tumour Dice of unet3d, nnunet_plain, residual_unet and boundary_aware after 500 steps,
# one seed: augmented as on a GPU .30 .34 .28 .23, not augmented .45 .34 .32 .27, and after 750
# steps .49 .46 .36 .32. With 0.5 of the patches centred on tumour and 0.3 on background, after 600,
# boundary_aware marks too much: its kidney Dice is .53, and .59 with 0.4 and 0.3. Larger voxels
# (10 mm), larger patches (24), a batch of 8 and half the learning rate brought nothing that held
# for all; 300 steps at 6 mm and 24 voxels, which take as long as 500 of these, none a tumour.
MATCHED_CPU = replace(
    MATCHED_GPU,
    spacing=(8.0, 8.0, 8.0),
    patch=(16, 16, 16),
    batch=4,
    sampling=Sampling("mixture", weights=(("tumor", 0.4), ("kidney", 0.2), ("background", 0.4))),
    augmentation=(),
    optimiser=Optimiser("adamw", lr=5e-3, weight_decay=1e-2),
    inference=Inference(overlap=0.25, blend="gaussian", sigma=0.125),
)


def matched(device: str) -> Recipe:
    """The matched recipe for a kind of device (``cpu`` or ``cuda``).

    The recipe is part of a trial's identity: results of the two never share a table.
    """
    return MATCHED_GPU if device == "cuda" else MATCHED_CPU


HALVED_FROM = 32  # voxels; a shorter edge is thick slices, and half of it would be none
TINY_BATCH = 2
TINY_OVERLAP = 0.25  # as in the matched recipe of a CPU


def at_size(paper: Recipe, size: str, given: Collection[str] = ()) -> tuple[Recipe, str]:
    """A paper's recipe for an architecture of a size.

    Sizes ``small`` and ``paper`` train by the paper's own. At ``tiny`` the edges of the patch of
    32 voxels and more are halved and the voxels doubled there, so that a patch shows as much of
    the body; the batch is at most 2, tiles overlap by at most a quarter and nothing is mirrored at
    inference, so that a CPU can do it. (With SCAU's overlap of 0.8 every voxel is predicted 125
    times; with eightfold mirroring a scan takes longer than 20 steps of training.) All else stays:
    window, sampling, augmentation, optimiser, schedule, stages.

    Parameters
    ----------
    paper : Recipe
        What the paper says, its patch filled in.
    size : {"tiny", "small", "paper"}
    given : collection of str
        Fields that somebody chose and that are therefore left alone.

    Returns
    -------
    Recipe
        The architecture's size rule may still round its patch.
    str
        A sentence about what was reduced, for the report; empty where nothing was.
    """
    if size != "tiny":
        return paper, ""
    patch, spacing, batch = paper.patch, paper.spacing, paper.batch
    changes = []
    if patch and max(patch) >= HALVED_FROM and "patch" not in given:
        fewer = [2 if edge >= HALVED_FROM else 1 for edge in patch]
        patch = tuple(edge // by for edge, by in zip(patch, fewer, strict=True))  # type: ignore[assignment]
        changes.append(f"patches of {_edges(patch)} voxels instead of {_edges(paper.patch)}")
        if "spacing" not in given:
            spacing = _larger(spacing, fewer)
            if spacing != paper.spacing:
                changes.append(f"voxels of {_voxels(spacing)} instead of {_voxels(paper.spacing)}")
    if batch > TINY_BATCH and "batch" not in given:
        changes.append(f"a batch of {TINY_BATCH} instead of {batch}")
        batch = TINY_BATCH
    inference = paper.inference
    if inference.overlap > TINY_OVERLAP:
        changes.append(f"tiles that overlap by {TINY_OVERLAP:g} instead of {inference.overlap:g}")
    if inference.mirror:
        changes.append("no mirroring at inference")
    if not changes:
        return paper, ""
    listed = " and ".join(filter(None, (", ".join(changes[:-1]), changes[-1])))
    note = f"At size tiny the paper's recipe is run with {listed}."
    overlap = min(inference.overlap, TINY_OVERLAP)
    reduced = replace(
        paper,
        patch=patch,
        spacing=spacing,
        batch=batch,
        inference=replace(inference, overlap=overlap, mirror=()),
        sources=(*paper.sources, ("what size=tiny reduces", note)),
    )
    return reduced, note


def _larger(spacing: Spacing, by: Sequence[float]) -> Spacing:
    """Voxels whose edges are multiplied; those of a rule that no dataset has filled in stay."""
    own = own_voxels(spacing)
    if own is None and not isinstance(spacing, tuple):
        return spacing
    edges = spacing if isinstance(spacing, tuple) else own.times  # type: ignore[union-attr]
    z, y, x = (edge * more for edge, more in zip(edges, by, strict=True))
    return (z, y, x) if own is None else OwnVoxels((z, y, x))


def _voxels(spacing: Spacing) -> str:
    own = own_voxels(spacing)
    return f"{_edges(spacing)} mm" if own is None else f"{_edges(own.times)} of a scan's own"


def _edges(lengths: Any) -> str:
    return "x".join(f"{length:g}" for length in lengths)
