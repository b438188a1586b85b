"""STU-Net in its four sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kitsbench_plugins.blocks import scaled
from kitsbench_plugins.nnunet.plan import Plan

from kitsbench.architecture import WIDTH, Key, Setting
from kitsbench_zoo.base import DEEP_SUPERVISION
from kitsbench_zoo.recipes import nnunet_with
from kitsbench_zoo.residual import ONE, Layout, PlannedUNet

STAGES = 6
WIDEST = 16  # times the channels of the first stage
# Channels of the first stage, blocks of each.
VARIANTS = {"s": (16, 1), "b": (32, 1), "l": (64, 2), "h": (96, 3)}


class STUNet(PlannedUNet):
    """Six stages whatever the patch; those that the plan has no stride for do not halve."""

    title = "STU-Net"
    paper = "Huang et al. 2023, arXiv:2304.06716"
    keys: ClassVar[Mapping[str, Key]] = {
        "variant": Key(
            "b", "STUNetTrainer.py of the authors", options=tuple(VARIANTS), help="its size"
        ),
        "width": WIDTH,
        "depth": Key(STAGES, "STUNetTrainer.py", low=3, high=STAGES, help="stages"),
        "deep_supervision": DEEP_SUPERVISION,
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"variant": "s", "width": 0.5, "depth": 4},
        "small": {"variant": "s"},
    }
    paper_patch = (128, 128, 128)
    recipe = nnunet_with("STUNetTrainer.py of the authors: nnU-Net's; they pretrain on CT first")
    stages = STAGES

    def layout(self, config: Mapping[str, Setting], planned: Plan) -> Layout:
        """As many stages as are asked for, all with kernels of 3 voxels."""
        count = int(config["depth"])  # type: ignore[arg-type]
        first, blocks = VARIANTS[str(config["variant"])]
        width = float(config["width"])  # type: ignore[arg-type]
        strides = (*planned.strides, *(ONE,) * count)[: count - 1]
        channels = [scaled(first * min(2**n, WIDEST), width) for n in range(count)]
        return Layout(
            strides,
            ((3, 3, 3),) * count,
            tuple(channels),
            (blocks,) * count,
            (blocks,) * (count - 1),
        )
