"""How Myronenko and Hatamizadeh 2019 trained, as far as the paper says it."""

from __future__ import annotations

from dataclasses import replace

from kitsbench.recipe import (
    Inference,
    Intensity,
    Optimiser,
    Recipe,
    Sampling,
    Schedule,
    Transform,
)

BODY = -500.0  # HU: above it are the voxels of the body, below it are air and lung


def paper_recipe(background: str) -> Recipe:
    """Recipe of the paper.

    Parameters
    ----------
    background : {"body", "any"}
        Among which voxels the centres of background patches are drawn.
    """
    above = BODY if background == "body" else None
    return replace(RECIPE, sampling=replace(RECIPE.sampling, background_above=above))


RECIPE = Recipe(
    name="boundary_aware",
    spacing=(1.0, 1.0, 1.0),
    patch=(176, 176, 176),
    batch=8,
    intensity=Intensity(clip=(-1000.0, 1000.0), scale="range", target=(-1.0, 1.0)),
    sampling=Sampling(
        "mixture",
        weights=(("tumor", 0.8), ("foreground", 0.1), ("background", 0.1)),
        background_above=BODY,
        inside=True,
    ),
    augmentation=(
        Transform("mirror", 0.5),
        Transform("brightness", 1.0, (("range", (0.9, 1.1)),)),
        Transform("shift", 1.0, (("range", (-0.1, 0.1)), ("of_sd", True))),
    ),
    optimiser=Optimiser("adam", lr=5e-5),
    schedule=Schedule("polynomial", power=0.9),
    inference=Inference(overlap=0.5, blend="gaussian", sigma=0.125, mirror=(0, 1, 2)),
    clip_gradient=None,
    sources=(
        ("spacing, patch, batch, intensity", "section 4"),
        (
            "sampling",
            "section 4 for the kinds; CHOICE: crops lie inside the volume, and background is drawn "
            "in the body, or with background=any among all voxels",
        ),
        (
            "augmentation",
            "CHOICE: none is mentioned; mirroring, intensity shift and scale of the network that "
            "this one builds on (Myronenko 2018): -0.1 to 0.1 of the image's sd, times 0.9 to 1.1",
        ),
        ("optimiser, schedule", "section 4; CHOICE: no weight decay, none is mentioned"),
        (
            "inference",
            "section 4 says test-time augmentation and five models; CHOICE: all flips, tiles that "
            "overlap by half with Gaussian weights; the five models are boundary_aware_five",
        ),
        ("clip_gradient", "CHOICE: not mentioned"),
    ),
)
