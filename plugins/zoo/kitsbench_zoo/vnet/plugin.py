"""VNet of MONAI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kitsbench_plugins.blocks import scaled
from torch import nn

from kitsbench.architecture import WIDTH, Key, Setting, Spec
from kitsbench.recipe import (
    Inference,
    Optimiser,
    Recipe,
    Sampling,
    Schedule,
    Transform,
)
from kitsbench_zoo.base import Zoo, needs_monai

needs_monai()

BASE = 16
RUN, CUT = 30_000, 25_000  # steps that the paper trains, and after how many the rate falls
# mm. Of a B-spline whose control points have an sd of 15; the mean over positions of the sum of
# squared weights is 151/315 along an axis.
DISPLACED = round(15 * (151 / 315) ** 1.5, 2)

# Milletari et al. 2016, arXiv:1606.04797, on MR images of the prostate.
RECIPE = Recipe(
    name="vnet",
    spacing=(1.5, 1.0, 1.0),
    patch=(64, 128, 128),
    batch=2,
    sampling=Sampling("foreground", fraction=0.5),
    augmentation=(
        Transform(
            "elastic",
            0.5,
            (("spacing_mm", (48.0, 64.0, 64.0)), ("magnitude_mm", (0.0, DISPLACED, DISPLACED))),
        ),
    ),
    optimiser=Optimiser("sgd", lr=1e-4, momentum=0.99),
    schedule=Schedule("steps", factor=0.1, count=RUN / CUT),
    inference=Inference(overlap=0.5),
    clip_gradient=None,
    sources=(
        ("spacing, patch, batch, optimiser", "the paper: 128x128x64 at 1x1x1.5 mm, two volumes"),
        (
            "augmentation",
            "the paper: B-splines of 2x2x2 control points with sd 15; the authors' code: half of "
            "the volumes, and never along z. CHOICE: histogram matching is left out, since HU have "
            "a scale",
        ),
        ("schedule", "the paper: a tenth after each 25,000 of about 30,000 steps"),
        ("intensity, sampling, inference", "CHOICE: the authors see whole prostates in MR images"),
        ("clip_gradient", "not mentioned"),
    ),
)


class VNet(Zoo):
    """Stages of one to three 5x5x5 convolutions with a shortcut, strided convolutions between."""

    title = "V-Net"
    paper = "Milletari et al. 2016, arXiv:1606.04797"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": WIDTH,
        "dropout": Key(0.5, "MONAI's; none in Milletari et al. 2016", low=0, high=0.9),
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.25, "dropout": 0.0},
        "small": {"width": 0.5},
    }
    paper_patch = (64, 128, 128)
    recipe = RECIPE

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Four."""
        return 4

    def network(self, spec: Spec) -> nn.Module:
        """MONAI's network."""
        from kitsbench_zoo.vnet.network import VNetNetwork

        return VNetNetwork(spec.classes, scaled(BASE, spec["width"]), spec["dropout"])
