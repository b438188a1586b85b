"""3D U-Net as a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from kitsbench.architecture import WIDTH, Architecture, Key, Plain, Setting, Spec, Task
from kitsbench.recipe import Inference, Optimiser, Recipe, Sampling, Schedule, Transform
from kitsbench_plugins.blocks import Pooling, Shape, plan_pooling, pooled_spec, scaled
from kitsbench_plugins.unet3d.network import UNet3DNetwork

BASE = 32
BOTTOM = 4  # smallest edge at the bottom, voxels: below it batch statistics say little

# Cicek et al. trained on microscopy; on CT this network is run with nnU-Net's recipe, without
# deep supervision (nnUNetTrainer.py of nnU-Net v2).
NNUNET = Recipe(
    name="nnunet",
    spacing="median",
    batch=2,
    sampling=Sampling("foreground", fraction=1 / 3),
    augmentation=(
        Transform("rotation", 0.2, (("degrees", (30.0, 30.0, 30.0)),)),
        Transform("scale", 0.2, (("range", (0.7, 1.4)),)),
        Transform("noise", 0.1, (("sd", (0.0, 0.316)),)),
        Transform("blur", 0.2, (("sigma", (0.5, 1.0)),)),
        Transform("brightness", 0.15, (("range", (0.75, 1.25)),)),
        Transform("contrast", 0.15, (("range", (0.75, 1.25)),)),
        Transform("low_resolution", 0.25, (("zoom", (0.5, 1.0)),)),
        Transform("gamma", 0.1, (("range", (0.7, 1.5)), ("invert", True))),
        Transform("gamma", 0.3, (("range", (0.7, 1.5)),)),
        Transform("mirror", 0.5),
    ),
    optimiser=Optimiser("sgd", lr=0.01, weight_decay=3e-5, momentum=0.99, nesterov=True),
    schedule=Schedule("polynomial", power=0.9),
    inference=Inference(overlap=0.5, blend="gaussian", sigma=0.125, mirror=(0, 1, 2)),
    clip_gradient=12.0,
    sources=(
        ("recipe", "nnUNetTrainer.py of nnU-Net v2, without deep supervision"),
        ("augmentation.noise", "variance 0 to 0.1 there; here the sd is uniform up to its root"),
    ),
)


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
        "bn_momentum": Key(
            0.05,
            "CHOICE; 0.1 is PyTorch's, noisy at batch 2",
            low=0.001,
            high=1.0,
            help="momentum of the running statistics of batch normalisation",
        ),
    }
    sizes: ClassVar = {
        "tiny": {"width": 0.125, "depth": 3},
        "small": {"width": 0.25},
    }
    # As a baseline on CT. The original's is 116x132x132, valid.
    paper_patch = (96, 96, 96)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One softmax head; the pools follow the patch."""
        pooling = _pooling(config, task.patch or self.paper_patch)
        return pooled_spec(config, task, pooling, paper=NNUNET)

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
    return plan_pooling(patch, steps, BOTTOM, valid=config["padding"] == "valid")
