"""3D U-Net as a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import nn

from kitsbench.architecture import WIDTH, Architecture, Key, Plain, Setting, Spec, Task
from kitsbench_plugins.blocks import BN_MOMENTUM, Pooling, Shape, plan_pooling, pooled_spec, scaled
from kitsbench_plugins.recipes import NNUNET, in_the_plane, msan_recipe
from kitsbench_plugins.slab_pooling import plan_slab_pooling
from kitsbench_plugins.unet3d.network import UNet3DNetwork

BASE = 32
BOTTOM = 4  # smallest edge at the bottom, voxels: below it batch statistics say little

# Cicek et al. trained on microscopy; on CT this network is run with nnU-Net's recipe.
RECIPE = replace(NNUNET, sources=(*NNUNET.sources, ("loss", "without deep supervision")))


class UNet3D(Architecture):
    """3D U-Net: two convolutions a level, channels doubled before each pool."""

    title = "3D U-Net"
    paper = "Cicek et al. 2016, doi:10.1007/978-3-319-46723-8_49"
    keys: ClassVar = {
        "width": WIDTH,
        "depth": Key(4, "Cicek et al. 2016, figure 2", low=2, high=6, help="resolution levels"),
        "padding": Key(
            "same",
            "valid in Cicek et al. 2016; same where the network is a baseline on CT",
            options=("same", "valid"),
            help="valid: the output is the centre of the input, e.g. 108 gives 20",
        ),
        "bn_momentum": BN_MOMENTUM,
        "paper_recipe": Key(
            "nnunet",
            "CHOICE: the paper's own is for microscopy; msan is how Sun et al. 2019 train it",
            options=("nnunet", "msan"),
            help="recipe and pools of the mode `paper`",
        ),
    }
    sizes: ClassVar = {
        "tiny": {"width": 0.25, "depth": 3},
        "small": {"width": 0.25},
    }
    # As a baseline on CT. The original's is 116x132x132, valid.
    paper_patch = (96, 96, 96)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One softmax head; the pools follow the patch."""
        recipe = RECIPE if config["paper_recipe"] == "nnunet" else msan_recipe()
        patch = task.patch or recipe.patch or self.paper_patch
        pooling = _pooling(config, patch)
        return pooled_spec(config, task, pooling, paper=in_the_plane(recipe, patch))

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        config = dict(spec.config)
        return Plain(
            UNet3DNetwork(
                scaled(BASE, spec["width"]),
                _pooling(config, spec.grids[0].shape).strides,
                spec.classes,
                valid=spec["padding"] == "valid",
                momentum=spec["bn_momentum"],
            )
        )


def _pooling(config: Mapping[str, Setting], patch: Shape) -> Pooling:
    steps = int(config["depth"]) - 1
    if config["paper_recipe"] == "msan" and config["padding"] == "same":
        return plan_slab_pooling(patch, steps, BOTTOM, "pool")
    return plan_pooling(patch, steps, BOTTOM, valid=config["padding"] == "valid")
