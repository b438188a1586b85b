"""How SegResNet was trained for brain tumours, and how Auto3DSeg trains its successor."""

from __future__ import annotations

import math

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

TURN = math.degrees(0.26)  # of Auto3DSeg, which counts in radians

# Myronenko 2018, arXiv:1810.11654, on MR images of BraTS.
BRATS = Recipe(
    name="segresnet",
    spacing=(1.0, 1.0, 1.0),
    patch=(128, 192, 160),
    batch=1,
    sampling=Sampling("uniform"),
    augmentation=(
        Transform("mirror", 0.5),
        Transform("brightness", 1.0, (("range", (0.9, 1.1)),)),
        Transform("shift", 1.0, (("range", (-0.1, 0.1)), ("of_sd", True))),
    ),
    optimiser=Optimiser("adam", lr=1e-4, weight_decay=1e-5),
    schedule=Schedule("polynomial", power=0.9),
    inference=Inference(overlap=0.5, mirror=(0, 1, 2)),
    clip_gradient=None,
    sources=(
        ("spacing", "BraTS is distributed at 1 mm"),
        (
            "patch, batch, sampling, augmentation, optimiser, schedule",
            "the paper, read through public summaries: a random crop of 160x192x128, shifts up to "
            "0.1 of the image's sd, factors of 0.9 to 1.1, flips; Adam with L2 of 1e-5, 300 epochs",
        ),
        (
            "intensity",
            "CHOICE: the paper normalises each MR image by itself; here by the training set's "
            "foreground in HU",
        ),
        ("inference", "the paper: all flips. CHOICE: tiles overlap by half"),
        ("clip_gradient", "not mentioned"),
    ),
)

# By which Myronenko et al. 2023, arXiv:2310.04110, won KiTS23: Auto3DSeg's template of SegResNet
# (research-contributions, auto3dseg/algorithm_templates/segresnet: hyper_parameters.yaml and
# segmenter.py).
AUTO3DSEG = Recipe(
    name="auto3dseg",
    spacing="median",
    patch=(144, 224, 224),
    batch=1,
    intensity=Intensity(scale="range", target=(-1.0, 1.0)),
    preparation=Preparation(crop_above=0.0),
    sampling=Sampling("mixture", weights=(("foreground", 0.5), ("background", 0.5)), inside=True),
    augmentation=(
        Transform(
            "scale", 0.2, (("range", (0.8, 1.2)), ("isotropic", False), ("coordinates", True))
        ),
        Transform(
            "rotation", 1.0, (("degrees", (TURN, TURN, TURN)), ("voxels", True)), together=True
        ),
        Transform("blur", 0.2, (("sigma", (0.5, 1.0)), ("isotropic", False))),
        Transform("brightness", 0.5, (("range", (0.7, 1.3)),)),
        Transform("shift", 0.5, (("range", (-0.1, 0.1)),)),
        Transform("noise", 0.2, (("sd", (0.0, 0.1)),)),
        Transform("mirror", 0.5),
    ),
    optimiser=Optimiser("adamw", lr=2e-4, weight_decay=1e-5),
    schedule=Schedule("cosine", warmup=0.01),
    inference=Inference(overlap=0.625),
    clip_gradient=None,
    sources=(
        ("patch, batch, optimiser", "the template: roi_size, num_images_per_batch, optimizer"),
        ("schedule", "the template: warm-up of 3 of 300 epochs; CHOICE: cosine from there"),
        (
            "spacing, intensity",
            "CHOICE: Auto3DSeg derives both from the dataset, and passes intensities through a "
            "sigmoid instead of clipping them",
        ),
        ("preparation", "segmenter.py: cut down to the voxels above 0 HU; 10 around them there"),
        (
            "sampling",
            "segmenter.py: crops inside the volume. CHOICE: foreground to background 1:1; there "
            "each label and the background are drawn as often",
        ),
        (
            "augmentation, inference",
            "segmenter.py: one transform of probability 0.2 turns and scales",
        ),
        ("clip_gradient", "none in the template"),
    ),
)
