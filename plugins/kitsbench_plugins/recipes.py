"""Recipes that several of the reference architectures share."""

from __future__ import annotations

from dataclasses import replace

from kitsbench.architecture import Key
from kitsbench.named import Value
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

Parameters = tuple[tuple[str, Value], ...]

PAPER_LR = Key(
    1e-4,
    "train.py of the authors; the paper prints 10e-4, which read literally is 0.001",
    options=(1e-4, 1e-3),
    help="learning rate of the paper's recipe",
)


def scau_recipe(patch: tuple[int, int, int], lr: float) -> Recipe:
    """Recipe of the SCAU U-Net paper (Gohil and Lad 2022), for its network and for its baseline.

    Parameters
    ----------
    patch : (int, int, int)
        Voxels.
    lr : float
        Learning rate, see :data:`PAPER_LR`.
    """
    return replace(SCAU, patch=patch, optimiser=replace(SCAU.optimiser, lr=lr))


SCAU = Recipe(
    name="scau",
    spacing=(2.0, 1.62, 1.62),
    batch=8,
    intensity=Intensity(clip=(-80.0, 305.0), scale="range", target=(0.0, 1.0)),
    preparation=Preparation(crop_above=-80.0),
    sampling=Sampling(
        "mixture",
        weights=(("foreground", 0.5), ("background", 0.5)),
        per_volume=4,
        background_above=-80.0,
        inside=True,
    ),
    augmentation=(
        Transform(
            "elastic",
            0.5,
            (
                ("spacing_mm", 11.25),
                ("magnitude_mm", 0.5),
                ("strength", (0.5, 1.5)),
                ("smoothness", (5 / 6.5, 8 / 6.5)),
                ("voxels", True),
            ),
        ),
        Transform(
            "scale",
            1.0,
            (("range", (0.9, 1.1)), ("isotropic", False), ("coordinates", True)),
            together=True,
        ),
        Transform(
            "rotation", 1.0, (("degrees", (180.0, 5.0, 5.0)), ("voxels", True)), together=True
        ),
        Transform("translation", 1.0, (("mm", (5.0, 10.0, 10.0)), ("voxels", True)), together=True),
        Transform("shift", 0.25, (("range", (-0.1, 0.1)),)),
        Transform("noise", 0.25, (("sd", (0.0, 0.1)),)),
    ),
    optimiser=Optimiser("adamw", lr=1e-4, weight_decay=0.01),
    schedule=Schedule("constant"),
    inference=Inference(overlap=0.8, blend="uniform", decide="prepared"),
    clip_gradient=None,
    sources=(
        ("spacing, intensity", "section 2.2"),
        ("preparation", "train.py: cut down to the voxels above the window's lower end"),
        (
            "batch, sampling",
            "train.py: 2 volumes, 4 crops each, foreground to background 1:1, background above the "
            "window's lower end, crops inside the volume",
        ),
        (
            "augmentation",
            "section 2.3; train.py: one transform of probability 0.5 holds the elastic and the "
            "affine part, whose factor multiplies coordinates and whose rotation takes voxels for "
            "cubes. Noise smoothed by sigma 5 to 8 voxels, times 50 to 150; here a B-spline as "
            "smooth, with the same sd. CHOICE: what comes into a patch from outside of it is "
            "taken from the scan, there it is 0",
        ),
        ("optimiser", "train.py; weight decay is PyTorch's default"),
        ("inference", "section 2.7: overlap 0.8, uniform, label map resampled back"),
    ),
)

FLAT = 3.0  # a patch so many times as wide as deep is augmented in the plane alone
GAMMA: Parameters = (("range", (0.7, 1.5)), ("halves", True))


def _nnunet_augmentation(flat: bool) -> tuple[Transform, ...]:
    """Transforms of nnU-Net, of a flat patch those of the plane alone ("dummy 2D")."""
    plane: Parameters = (("axes", (1, 2)),) if flat else ()
    degrees = (180.0, 0.0, 0.0) if flat else (30.0, 30.0, 30.0)
    return (
        Transform("rotation", 0.2, (("degrees", degrees), ("voxels", True))),
        Transform("scale", 0.2, (("range", (0.7, 1.4)), ("coordinates", True), *plane)),
        Transform("noise", 0.1, (("sd", (0.0, 0.1)),)),
        Transform("blur", 0.1, (("sigma", (0.5, 1.0)), ("isotropic", False))),
        Transform("brightness", 0.15, (("range", (0.75, 1.25)),)),
        Transform("contrast", 0.15, (("range", (0.75, 1.25)),)),
        Transform("low_resolution", 0.125, (("zoom", (0.5, 1.0)), *plane)),
        Transform("gamma", 0.1, (*GAMMA, ("invert", True))),
        Transform("gamma", 0.3, GAMMA),
        Transform("mirror", 0.5),
    )


# Isensee et al. 2021, doi:10.1038/s41592-020-01008-z, as its second version trains.
NNUNET = Recipe(
    name="nnunet",
    spacing="nnunet",
    preparation=Preparation("cubic", "linear", slices_from=3.0),
    batch=2,
    sampling=Sampling("foreground", fraction=1 / 3, centred=True),
    augmentation=_nnunet_augmentation(flat=False),
    optimiser=Optimiser("sgd", lr=0.01, weight_decay=3e-5, momentum=0.99, nesterov=True),
    schedule=Schedule("polynomial", power=0.9),
    inference=Inference(overlap=0.5, blend="gaussian", sigma=0.125, mirror=(0, 1, 2)),
    clip_gradient=12.0,
    sources=(
        ("recipe", "nnUNetTrainer.py of nnU-Net v2"),
        (
            "spacing",
            "default_experiment_planner.py: the median; along an axis that is three times as "
            "coarse and has a third of the voxels the 10th percentile",
        ),
        (
            "preparation",
            "default_resampling.py: splines of order 3, of labels 1, of thick slices 0",
        ),
        (
            "sampling",
            "data_loader.py: a third of the batch about a voxel of a label, of two samples one; no "
            "patch begins before the scan, and small scans lie in the middle",
        ),
        (
            "augmentation",
            "get_training_transforms, as batchgeneratorsv2 draws it: the factor of the scale "
            "multiplies coordinates, rotations take voxels for cubes, half of the gammas lie "
            "below 1. CHOICE: labels by the nearest voxel, there by the largest of their "
            "interpolated shares; outside the scan the window's lower end, there the mean",
        ),
        ("augmentation.noise", "0 to 0.1, called a variance there and used as the sd"),
        (
            "augmentation.blur, low_resolution",
            "probabilities 0.2 and 0.25, and then half of the channels, of which a CT has one",
        ),
    ),
)


def nnunet_recipe(patch: tuple[int, int, int] | None = None, batch: int = 2) -> Recipe:
    """nnU-Net's recipe for a patch, see :func:`in_the_plane`.

    Parameters
    ----------
    patch : (int, int, int) or None
        Voxels; None leaves it to the architecture, and is taken for a cube.
    batch : int
    """
    return in_the_plane(replace(NNUNET, patch=patch, batch=batch), patch)


def in_the_plane(recipe: Recipe, patch: tuple[int, int, int] | None) -> Recipe:
    """A recipe that augments as nnU-Net does, for a patch.

    Of a patch that is more than three times as wide as deep the plane alone is rotated, scaled
    and coarsened. A recipe with other transforms stays as it is.

    Parameters
    ----------
    recipe : Recipe
    patch : (int, int, int) or None
        Voxels; None is taken for a cube.
    """
    flat = patch is not None and max(patch) > FLAT * patch[0]
    if not flat or recipe.augmentation != NNUNET.augmentation:
        return recipe
    return replace(recipe, augmentation=_nnunet_augmentation(flat))


# Sun et al. 2019, KiTS19 challenge.
MSAN = Recipe(
    name="msan",
    spacing="native",
    patch=(4, 512, 512),
    batch=2,
    intensity=Intensity(clip=(-200.0, 500.0), scale="range", target=(0.0, 1.0)),
    sampling=Sampling("uniform"),
    optimiser=Optimiser("adam", lr=1e-3),
    schedule=Schedule("steps", factor=0.1, count=4),
    inference=Inference(overlap=0.5, blend="uniform"),
    clip_gradient=None,
    sources=(
        ("spacing", "no resampling is mentioned: every scan keeps its own voxels"),
        ("patch, batch", "section 3.1: every 4 images of 512 x 512, two of these"),
        ("intensity", "section 2.1: window -200 to 500; CHOICE: scaled to 0 to 1"),
        ("sampling", "CHOICE: not mentioned; slabs begin anywhere"),
        ("augmentation", "none is mentioned"),
        ("optimiser", "section 3.1"),
        ("schedule", "section 3.1: times 0.1 after 100, 200 and 300 of 400 thousand steps"),
        ("inference", "CHOICE: not mentioned; slabs overlap by half"),
        ("clip_gradient", "not mentioned"),
    ),
)


def msan_recipe(fg_prob: float = 0.0) -> Recipe:
    """Recipe of the MSAN paper (Sun et al. 2019), for its networks and for its baseline.

    Parameters
    ----------
    fg_prob : float
        Share of the batch that has foreground near its centre; 0 is uniform sampling.
    """
    if not fg_prob:
        return MSAN
    return replace(MSAN, sampling=Sampling("foreground", fraction=fg_prob))
