"""How Humpire-Mamani 2019 trained, as far as the paper says it."""

from __future__ import annotations

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

WINDOW = (-500.0, 400.0)  # HU
SHIFT = 50.0 / (WINDOW[1] - WINDOW[0])

RECIPE = Recipe(
    name="cascade",
    spacing=(1.0, 1.0, 1.0),
    patch=(108, 108, 108),
    batch=2,
    intensity=Intensity(clip=WINDOW, scale="range", target=(0.0, 1.0)),
    preparation=Preparation("cubic"),
    sampling=Sampling("lattice", fraction=0.5, overlap=0.5),
    augmentation=(
        Transform("elastic", 0.5, (("spacing_mm", 12.0), ("magnitude_mm", 2.0))),
        Transform("scale", 1.0, (("range", (0.95, 1.05)),)),
        Transform("rotation", 1.0, (("degrees", (5.0, 5.0, 5.0)),)),
        Transform("noise", 0.5, (("sd", (0.0, 0.03)),)),
        Transform("shift", 1.0, (("range", (-SHIFT, SHIFT)),)),
    ),
    optimiser=Optimiser("adam", lr=1e-4),
    schedule=Schedule("exponential", factor=0.9, count=28),
    inference=Inference(overlap=0.0, blend="uniform", decide="prepared"),
    clip_gradient=None,
    sources=(
        ("spacing", "section 2.2: 1 mm; the coarse grid has 4 mm"),
        ("preparation", "section 2.2: scans by cubic interpolation, annotations by the nearest"),
        ("patch", "section 2.3.3"),
        ("batch", "CHOICE: not stated; what a card of 11 GB holds"),
        (
            "intensity",
            "section 2.2 for the window; CHOICE: the range 0 to 1, so that the mask sends voxels "
            "to the window's lower end",
        ),
        (
            "sampling",
            "section 2.3.3: patches overlap by half, as many with kidney or tumour as without, "
            "each kind drawn evenly; CHOICE: what overlaps and is looked at is the output region",
        ),
        (
            "augmentation",
            "section 2.4: elastic with 10 x 10 x 10 control points a patch, scale 0.05, rotation "
            "5 degrees, HU 50; CHOICE: magnitude 2 mm, noise sd up to 27 HU, the probabilities",
        ),
        ("optimiser, schedule", "sections 2.3.3 and 3: 0.9 an epoch, 28 epochs"),
        (
            "schedule",
            "CHOICE: each stage starts at the full rate; the early stop of the paper, after 10 "
            "epochs without improvement, is left out: the budget decides",
        ),
        ("inference", "section 2.5: tiles side by side, decided at 1 mm"),
        ("clip_gradient", "CHOICE: not mentioned"),
    ),
)
