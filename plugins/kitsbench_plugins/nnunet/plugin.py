"""nnU-Net's two networks as plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from kitsbench import default_hooks
from kitsbench.architecture import (
    WIDTH,
    Architecture,
    Grid,
    Head,
    Key,
    Progress,
    Setting,
    Spec,
    Task,
)
from kitsbench_plugins.blocks import Shape, scaled
from kitsbench_plugins.nnunet import network
from kitsbench_plugins.nnunet.plan import Plan, plan, total_stride
from kitsbench_plugins.recipes import nnunet_recipe
from kitsbench_plugins.regions import regions_of
from kitsbench_plugins.requirements import require

require("dynamic_network_architectures", 'pip install "dynamic-network-architectures>=0.4"')

BASE, CAP = 32, 320  # channels of the first stage, and the most that a stage has
BLOCKS = (1, 3, 4, 6)  # of the residual encoder; 6 from there on
STAGES = 9  # more are not planned: the bottom would be 1024 voxels wide before
# Patch that the planner of nnU-Net v2.8.1 finds for KiTS23 and the memory of each preset; all have
# batches of two. For KiTS19 it finds 128, 192 and 256x224x224 voxels.
PRESETS: dict[str, Shape] = {"M": (128, 128, 128), "L": (160, 224, 192), "XL": (192, 256, 256)}
BATCH = 2

KEYS: dict[str, Key] = {
    "width": WIDTH,
    "depth": Key(
        0,
        "get_pool_and_conv_props of nnU-Net v2",
        low=0,
        high=STAGES,
        help="most resolutions; 0 takes as many as the patch allows",
    ),
    "deep_supervision": Key(
        "on",
        "nnUNetTrainer.py of nnU-Net v2",
        options=("on", "off"),
        help="a head at every resolution of the decoder, weighted 1, 1/2, ... 0",
    ),
    "regions": Key(
        "off",
        "LabelManager of nnU-Net v2: labels unless dataset.json names regions, as it does for "
        "KiTS23",
        options=("off", "on", "ordered", "separate"),
        help="overlapping regions, a sigmoid each, instead of exclusive labels; ordered, separate: "
        "for labels that are not those of KiTS, as of boundary_aware",
    ),
    "batch_dice": Key(
        "off",
        "CHOICE: a sample is scored by itself; nnU-Net v2 plans on where scans are so large that "
        "it plans a low resolution, too, as those of KiTS",
        options=("off", "on"),
        help="whether the Dice loss takes the batch as one volume",
    ),
}


class NNUNetPlain(Architecture):
    """The 3D U-Net that nnU-Net plans: strided convolutions, instance norm, heads at all scales."""

    title = "nnU-Net (plain)"
    paper = "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z"
    keys: ClassVar[Mapping[str, Key]] = KEYS
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.5},
        "small": {"width": 0.75},
    }
    paper_patch: ClassVar[Shape | None] = PRESETS["M"]

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One head for each resolution of the decoder; their number follows the patch."""
        patch = task.patch or self.preset_patch(config)
        planned = _planned(config, patch, task.spacing)
        regions = config["regions"] != "off"
        channels = ((0,), *((value,) for _, value in task.labels))
        if regions:
            how = str(config["regions"])
            channels = regions_of(task.labels, "nested" if how == "on" else how)
        scales = planned.stages - 1 if config["deep_supervision"] == "on" else 1
        heads = []
        for level in range(scales):
            stride = total_stride(planned.strides[:level])
            shape = tuple(e // s for e, s in zip(planned.patch, stride, strict=True))
            heads.append(
                Head(
                    f"segmentation_{level}" if level else "segmentation",
                    "regions" if regions else "softmax",
                    channels,
                    shape,  # type: ignore[arg-type]
                    stride=stride,
                    role="auxiliary" if level else "primary",
                )
            )
        return Spec(
            config=tuple(config.items()),
            labels=task.labels,
            grids=(Grid("image", planned.patch),),
            heads=tuple(heads),
            size_rule=planned.size_rule,
            paper=nnunet_recipe(patch, BATCH),
            notes=_notes(planned, config),
            spacing=task.spacing,
        )

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        planned, channels, names = self._parts(spec)
        return network.plain(planned, channels, len(spec.primary.channels), names)

    def loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        progress: Progress,
        spec: Spec,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Dice + cross-entropy, weighted by scale: of labels, or of regions by sigmoids."""
        whole = spec["batch_dice"] == "on"
        return default_hooks.loss(outputs, targets, progress, spec, batch_dice=whole)

    def preset_patch(self, config: Mapping[str, Setting]) -> Shape:
        """Patch of the paper's recipe, voxels."""
        return self.paper_patch or PRESETS["M"]

    def _parts(self, spec: Spec) -> tuple[Plan, list[int], list[str]]:
        """Plan, channels of each stage, names of the heads."""
        planned = _planned(dict(spec.config), spec.grids[0].shape, spec.spacing)
        base, cap = scaled(BASE, spec["width"]), scaled(CAP, spec["width"])
        channels = [min(cap, base * 2**stage) for stage in range(planned.stages)]
        return planned, channels, [head.name for head in spec.heads]


class NNUNetResEnc(NNUNetPlain):
    """nnU-Net's U-Net with a residual encoder."""

    title = "nnU-Net (residual encoder)"
    paper = "Isensee et al. 2024, arXiv:2404.09556"
    keys: ClassVar[Mapping[str, Key]] = {
        **KEYS,
        "preset": Key(
            "M",
            "nnUNetPlannerResEncM, L and XL of nnU-Net v2, for cards of 8, 24 and 40 GB",
            options=tuple(PRESETS),
            help="patch of the paper's recipe, as planned for KiTS23",
        ),
        "block_cap": Key(
            0,
            "ResEncUNetPlanner of nnU-Net v2: 1, 3, 4, 6, 6, 6 blocks",
            low=0,
            high=6,
            help="most residual blocks of a stage; 0 for no limit",
        ),
    }
    paper_patch = None  # the preset's

    def preset_patch(self, config: Mapping[str, Setting]) -> Shape:
        """Patch of the paper's recipe, voxels."""
        return PRESETS[str(config["preset"])]

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        planned, channels, names = self._parts(spec)
        most = spec["block_cap"] or BLOCKS[-1]
        blocks = [min(most, BLOCKS[min(s, len(BLOCKS) - 1)]) for s in range(planned.stages)]
        return network.residual(planned, channels, blocks, len(spec.primary.channels), names)


def _planned(
    config: Mapping[str, Setting],
    patch: tuple[int, int, int],
    spacing: tuple[float, float, float] | None,
) -> Plan:
    return plan(patch, spacing, max(2, int(config["depth"] or STAGES)))


def _notes(planned: Plan, config: Mapping[str, Setting]) -> tuple[str, ...]:
    """Nothing where the network is the paper's of six stages or deeper, or what was asked for."""
    wanted = int(config["depth"] or 6)
    if planned.stages >= wanted:
        return ()
    edges = "x".join(map(str, planned.patch))
    return (
        f"The stages follow the patch: {planned.stages} instead of {wanted}, because {edges} "
        "voxels leave no bottom edge of 4 with more.",
    )
