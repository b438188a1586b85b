"""Primus of dynamic-network-architectures in its four sizes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from kitsbench_plugins.blocks import scaled
from kitsbench_plugins.requirements import require
from torch import nn

from kitsbench.architecture import WIDTH, Key, Setting, Spec
from kitsbench.recipe import Optimiser, Schedule
from kitsbench_zoo.base import SINGLE, Zoo
from kitsbench_zoo.recipes import nnunet_with

require("dynamic_network_architectures", 'pip install "dynamic-network-architectures>=0.4.4"')

VARIANTS = {"s": (396, 12, 6), "b": (792, 12, 12), "m": (864, 16, 12), "l": (1056, 24, 16)}
SIXTH = 6  # channels of a head are so many, or a multiple: two for each axis
LAYER_SCALE = 0.1

RECIPE = replace(
    nnunet_with("primus_trainers.py of nnU-Net: nnU-Net's but for what follows"),
    name="primus",
    optimiser=Optimiser("adamw", lr=3e-4, weight_decay=0.05, arguments=(("betas", (0.9, 0.98)),)),
    schedule=Schedule("polynomial", power=0.9, warmup=0.05),
    clip_gradient=1.0,
)


class Primus(Zoo):
    """Tokens of 8 voxels, rotary and learned positions, gated perceptrons, no skips."""

    title = "Primus"
    paper = "Wald et al. 2025, arXiv:2503.01835"
    keys: ClassVar[Mapping[str, Key]] = {
        "variant": Key(
            "m",
            "primus_trainers.py of nnU-Net has all four; CHOICE: M",
            options=tuple(VARIANTS),
            help="its size",
        ),
        "width": WIDTH,
        "layers": Key(
            0, "the variant's", low=0, high=24, help="of attention; 0 for the variant's number"
        ),
        "token": Key(
            "8",
            "primus_trainers.py",
            options=("4", "8", "16"),
            help="edge of a token, voxels",
        ),
        "drop_path": Key(0.2, "primus_trainers.py", low=0, high=0.9, help="stochastic depth"),
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"variant": "s", "width": 0.25, "layers": 4, "token": "4", "drop_path": 0.0},
        "small": {"variant": "s"},
    }
    paper_patch = (128, 128, 128)
    recipe = RECIPE
    bottom = SINGLE  # tokens are normalised one by one

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Those that a token takes."""
        return int(config["token"]).bit_length() - 1  # type: ignore[arg-type]

    def network(self, spec: Spec) -> nn.Module:
        """The network for the patch of the spec."""
        with warnings.catch_warnings():
            # What timm imports uses parts of torch that are to go; its users cannot help it.
            warnings.simplefilter("ignore", FutureWarning)
            from kitsbench_zoo.primus.network import PrimusNetwork

        channels, layers, heads = VARIANTS[spec["variant"]]
        return PrimusNetwork(
            spec.classes,
            spec.grids[0].shape,
            token=int(spec["token"]),
            channels=heads * scaled(channels // heads, spec["width"], SIXTH, SIXTH),
            heads=heads,
            layers=spec["layers"] or layers,
            drop_path=spec["drop_path"],
            scale=LAYER_SCALE,
        )
