"""AttentionUnet of MONAI."""

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

CHANNELS = (16, 32, 64, 128, 256)
PLANE = (1, 2)  # what the authors' library turns, moves, zooms and flips is slices

# Oktay et al. 2018, arXiv:1804.03999, and config_unet_ct_multi_att_dsv.json of the authors.
RECIPE = Recipe(
    name="attention_unet",
    spacing=(2.0, 2.0, 2.0),
    patch=(96, 160, 160),
    batch=2,
    sampling=Sampling("uniform"),
    augmentation=(
        Transform(
            "scale",
            1.0,
            (
                ("range", (0.7, 1.3)),
                ("isotropic", False),
                ("coordinates", True),
                ("axes", PLANE),
            ),
        ),
        Transform("rotation", 1.0, (("degrees", (15.0, 0.0, 0.0)),)),
        Transform("translation", 1.0, (("mm", (0.0, 32.0, 32.0)),)),
        Transform("mirror", 0.5, (("axes", PLANE),)),
    ),
    optimiser=Optimiser("adam", lr=1e-4, weight_decay=1e-6),
    schedule=Schedule("steps", factor=0.5, count=4),
    inference=Inference(overlap=0.5),
    clip_gradient=None,
    sources=(
        (
            "spacing, batch, intensity",
            "the paper, read through a public summary: 2 mm, batches of 2 to 4; zero mean and unit "
            "sd in the authors' transforms.py",
        ),
        (
            "patch, augmentation, optimiser",
            "the configuration: shift 0.1, rotate 15, 0.7 to 1.3; transforms.py: all of it in the "
            "plane, whose axes have a zoom and a flip each",
        ),
        ("schedule", "the configuration and networks_other.py: by half after 250 of 1,000 epochs"),
        ("sampling, inference", "CHOICE: the authors see nearly whole scans"),
        ("clip_gradient", "not mentioned"),
    ),
)


class AttentionUNet(Zoo):
    """Two convolutions a level, batch norm, an additive gate on each skip."""

    title = "Attention U-Net"
    paper = "Oktay et al. 2018, arXiv:1804.03999"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": WIDTH,
        "depth": Key(
            len(CHANNELS) - 1,
            "unet_CT_multi_att_dsv_3D.py of the authors, whose channels these are",
            low=2,
            high=4,
            help="halvings",
        ),
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.75, "depth": 3},
        "small": {"width": 0.5},
    }
    paper_patch = (96, 160, 160)
    recipe = RECIPE

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Four, or fewer."""
        return int(config["depth"])  # type: ignore[arg-type]

    def network(self, spec: Spec) -> nn.Module:
        """MONAI's network."""
        from monai.networks.nets import AttentionUnet

        channels = [scaled(count, spec["width"]) for count in CHANNELS[: spec["depth"] + 1]]
        return AttentionUnet(3, 1, spec.classes, channels, (2,) * spec["depth"])
