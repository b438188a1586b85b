"""The network that is left of U-Mamba without its Mamba layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kitsbench_plugins.blocks import scaled
from kitsbench_plugins.nnunet.plan import Plan

from kitsbench.architecture import WIDTH, Key, Setting
from kitsbench_zoo.base import DEEP_SUPERVISION
from kitsbench_zoo.recipes import nnunet_with
from kitsbench_zoo.residual import Layout, PlannedUNet

BASE, CAP = 32, 320  # channels of the first stage, and the most that a stage has
STAGES = 9
BLOCKS = 2  # of a stage near full resolution; of the others one


class UMambaBase(PlannedUNet):
    """Two residual blocks in the finer half of the encoder and the coarser half of the decoder."""

    title = "U-Mamba without Mamba"
    paper = "Ma et al. 2024, arXiv:2401.04722; Isensee et al. 2024, arXiv:2404.09556"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": WIDTH,
        "depth": Key(
            0,
            "get_pool_and_conv_props of nnU-Net v2",
            low=0,
            high=STAGES,
            help="most resolutions; 0 takes as many as the patch allows",
        ),
        "deep_supervision": DEEP_SUPERVISION,
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.25},
        "small": {"width": 0.5},
    }
    paper_patch = (128, 128, 128)
    recipe = nnunet_with("nnUNetTrainerUMambaBot.py of the authors: nnU-Net's")
    stages = STAGES

    def layout(self, config: Mapping[str, Setting], planned: Plan) -> Layout:
        """A stage for each resolution of the plan."""
        count = planned.stages
        width = float(config["width"])  # type: ignore[arg-type]
        base, cap = scaled(BASE, width), scaled(CAP, width)
        # Down, the finer half has two blocks; up, as many steps from the bottom.
        half = -(-count // 2)
        return Layout(
            planned.strides,
            planned.kernels,
            tuple(min(cap, base * 2**n) for n in range(count)),
            tuple(BLOCKS if n < half else 1 for n in range(count)),
            tuple(BLOCKS if count - 2 - n < half else 1 for n in range(count - 1)),
            stem=BLOCKS,
        )
