"""Recipes that several of the zoo's networks share."""

from __future__ import annotations

from dataclasses import replace

from kitsbench_plugins.recipes import NNUNET

from kitsbench.recipe import (
    Inference,
    Intensity,
    Optimiser,
    Preparation,
    Recipe,
    Sampling,
    Schedule,
    Transform,
)

# How MONAI's authors train transformers on the organs of BTCV (research-contributions, UNETR/BTCV
# and SwinUNETR/BTCV, main.py and utils/data_utils.py): the same numbers in both.
BTCV = Recipe(
    name="btcv",
    spacing=(2.0, 1.5, 1.5),
    patch=(96, 96, 96),
    batch=4,
    intensity=Intensity(clip=(-175.0, 250.0), scale="range", target=(0.0, 1.0)),
    preparation=Preparation(crop_above=-175.0),
    sampling=Sampling(
        "mixture",
        weights=(("foreground", 0.5), ("background", 0.5)),
        per_volume=4,
        background_above=-175.0,
        inside=True,
    ),
    augmentation=(
        Transform("mirror", 0.2),
        Transform("brightness", 0.1, (("range", (0.9, 1.1)),)),
        Transform("shift", 0.1, (("range", (-0.1, 0.1)),)),
    ),
    optimiser=Optimiser("adamw", lr=1e-4, weight_decay=1e-5),
    schedule=Schedule("cosine", warmup=0.01),
    inference=Inference(overlap=0.5, blend="uniform"),
    clip_gradient=None,
    sources=(
        ("spacing, patch, intensity, optimiser, inference.overlap", "main.py"),
        ("preparation", "data_utils.py: cut down to the voxels above the lower end of the window"),
        (
            "batch, sampling",
            "data_utils.py: one volume, 4 crops, positive to negative 1:1, negative above the "
            "lower end of the window, crops inside the volume",
        ),
        (
            "augmentation",
            "data_utils.py; rotation by 90 degrees is left out, since a patch need not be square",
        ),
        ("schedule", "main.py: linear warm-up for 50 of 5,000 epochs, then cosine"),
        ("inference.blend", "main.py: MONAI's default, constant"),
        ("clip_gradient", "none there"),
    ),
)


def nnunet_with(source: str) -> Recipe:
    """nnU-Net's recipe, with a word on why it is taken.

    Parameters
    ----------
    source : str
        Where it stands that the network is trained so, or ``CHOICE`` with the reason.
    """
    return replace(NNUNET, sources=(*NNUNET.sources, ("recipe", source)))
