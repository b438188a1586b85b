"""How SegResNet was trained for brain tumours, and how Auto3DSeg trains its successor."""

from __future__ import annotations

from kitsbench.recipe import (
    Inference,
    Intensity,
    Optimiser,
    Recipe,
    Sampling,
    Schedule,
    Transform,
)

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
        Transform("shift", 1.0, (("range", (-0.1, 0.1)),)),
    ),
    optimiser=Optimiser("adam", lr=1e-4, weight_decay=1e-5),
    schedule=Schedule("polynomial", power=0.9),
    inference=Inference(overlap=0.5, mirror=(0, 1, 2)),
    clip_gradient=None,
    sources=(
        ("spacing", "BraTS is distributed at 1 mm"),
        ("patch", "the paper: 160x192x128, the largest crop that fits; UNCHECKED"),
        ("batch, sampling, augmentation, optimiser, schedule", "the paper; UNCHECKED"),
        (
            "intensity",
            "CHOICE: the paper normalises each MR image by itself; here by the training set's "
            "foreground in HU",
        ),
        ("inference", "the paper: all flips; UNCHECKED. CHOICE: tiles overlap by half"),
        ("clip_gradient", "not mentioned"),
    ),
)

# By which Myronenko et al. 2023, arXiv:2310.04110, won KiTS23: Auto3DSeg's template of SegResNet
# (research-contributions, auto3dseg/algorithm_templates/segresnet, hyper_parameters.yaml).
AUTO3DSEG = Recipe(
    name="auto3dseg",
    spacing="median",
    patch=(144, 224, 224),
    batch=1,
    intensity=Intensity(scale="range", target=(-1.0, 1.0)),
    sampling=Sampling("mixture", weights=(("foreground", 0.5), ("background", 0.5))),
    augmentation=(
        Transform("rotation", 0.2, (("degrees", (15.0, 15.0, 15.0)),)),
        Transform("scale", 0.2, (("range", (0.8, 1.2)),)),
        Transform("blur", 0.2, (("sigma", (0.5, 1.0)),)),
        Transform("noise", 0.2, (("sd", (0.0, 0.1)),)),
        Transform("brightness", 0.5, (("range", (0.7, 1.3)),)),
        Transform("shift", 0.5, (("range", (-0.1, 0.1)),)),
        Transform("mirror", 0.5),
    ),
    optimiser=Optimiser("adamw", lr=2e-4, weight_decay=1e-5),
    schedule=Schedule("cosine", warmup=0.01),
    inference=Inference(overlap=0.5),
    clip_gradient=None,
    sources=(
        ("patch, batch, optimiser", "the template: roi_size, num_images_per_batch, optimizer"),
        ("schedule", "the template: warm-up of 3 of 300 epochs; CHOICE: cosine from there"),
        ("spacing, intensity", "CHOICE: Auto3DSeg derives both from the dataset"),
        ("sampling", "CHOICE: the template draws crops by the shares of the labels (ratio)"),
        ("augmentation, inference", "CHOICE: the template leaves them to its code"),
        ("clip_gradient", "none in the template"),
    ),
)
