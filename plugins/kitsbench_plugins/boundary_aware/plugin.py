"""The boundary-aware network as a plugin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from kitsbench import default_hooks, losses
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
from kitsbench_plugins.blocks import Pooling, Shape, plan_pooling, scaled
from kitsbench_plugins.boundary_aware.network import (
    GROUPS,
    BoundaryAwareNetwork,
    edge_voxels,
)
from kitsbench_plugins.boundary_aware.recipe import paper_recipe
from kitsbench_plugins.regions import REGIONS, regions_of

BASE = 16
BOTTOM = 4  # smallest edge at the bottom, voxels
SMALLEST = 16  # edge that leaves two gates
ON_OFF = ("on", "off")


class BoundaryAware(Architecture):
    """Residual encoder-decoder with a gated stream that learns the regions' boundaries."""

    title = "Boundary-aware network"
    paper = "Myronenko and Hatamizadeh 2019, arXiv:1909.06684"
    keys: ClassVar = {
        "width": WIDTH,
        "levels": Key(
            4,
            "CHOICE; the paper follows Myronenko 2018, which has 4, and its patch allows 5",
            options=(3, 4, 5),
            help="resolution levels",
        ),
        "boundary": Key("on", "section 3.2", options=ON_OFF, help="the boundary stream"),
        "edge_loss": Key(
            "on", "section 3.3", options=ON_OFF, help="whether the stream is taught boundaries"
        ),
        "fuse": Key(
            "features",
            "section 3.1, output of the boundary; prob as in Takikawa et al. 2019",
            options=("features", "prob"),
            help="what of the stream joins the decoder: its features or its probabilities",
        ),
        "alpha_channels": Key(
            "one",
            "CHOICE; one as in Takikawa et al. 2019",
            options=("one", "all"),
            help="attention maps of a gate: one, or one for each channel",
        ),
        "gate_sum": Key(
            "add",
            "section 3.2, fused together; concat as in Hatamizadeh et al. 2019",
            options=("add", "concat"),
            help="how the two inputs of a gate meet",
        ),
        "gate_kernel": Key(
            3,
            "section 3.2; 1 in Hatamizadeh et al. 2019 and Takikawa et al. 2019",
            options=(1, 3),
            help="edge of the convolutions in a gate",
        ),
        "gate_residual": Key(
            "off",
            "section 3.2; on as in Takikawa et al. 2019",
            options=ON_OFF,
            help="multiply by one plus the attention",
        ),
        "gate_block": Key(
            "residual",
            "CHOICE; as in Hatamizadeh et al. 2019",
            options=("residual", "none"),
            help="what lies between two gates",
        ),
        "edge_target": Key(
            "sobel",
            "CHOICE; Sobel as in Hatamizadeh et al. 2020; inner where voxels are coarse",
            options=("sobel", "inner"),
            help="boundary voxels: on both sides, or those inside the region only",
        ),
        "edge_bce": Key(
            "mean",
            "CHOICE; the paper sums over voxels, which swamps the Dice terms",
            options=("mean", "sum"),
            help="cross-entropy of the boundaries: mean over voxels, or sum over a patch",
        ),
        "dice_num_smooth": Key(
            0.0,
            "section 3.3; above 0 also patches without a region have a gradient",
            low=0.0,
            high=1e6,
            help="added to the numerator of the Dice loss",
        ),
        "dice_epsilon": Key(
            1e-5,
            "CHOICE; a small constant in section 3.3",
            low=1e-12,
            high=1e6,
            help="added to the denominator of the Dice loss",
        ),
        "regions": REGIONS,
        "nest_regions": Key(
            "off",
            "CHOICE; nothing in the paper ties the tumour to the kidney",
            options=ON_OFF,
            help="a region counts only inside the larger one",
        ),
        "background": Key(
            "body",
            "CHOICE; section 4 says background, and crops of air teach nothing",
            options=("body", "any"),
            help="voxels that the paper's recipe centres background patches on",
        ),
        "dropout": Key(
            0.0,
            "CHOICE; none is mentioned, 0.2 in Myronenko 2018",
            low=0.0,
            high=0.9,
            help="spatial dropout after the first convolution",
        ),
    }
    sizes: ClassVar = {
        "tiny": {"width": 0.5, "levels": 3},
        "small": {"width": 0.5, "levels": 4},
    }
    paper_patch = (176, 176, 176)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """Overlapping regions; their boundaries beside them while these are taught."""
        wanted = task.patch or self.paper_patch
        pooling = _pooling(config, wanted)
        patch, channels = pooling.patch, regions_of(task.labels, str(config["regions"]))
        heads = [Head("segmentation", "regions", channels, patch)]
        if config["boundary"] == "on" and config["edge_loss"] == "on":
            heads.append(Head("boundary", "boundary", channels, patch, role="auxiliary"))
        return Spec(
            config=tuple(config.items()),
            labels=task.labels,
            grids=(Grid("image", patch),),
            heads=tuple(heads),
            size_rule=pooling.size_rule,
            paper=paper_recipe(str(config["background"])),
            notes=pooling.notes,
        )

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        gates = {
            "maps": spec["alpha_channels"],
            "kernel": spec["gate_kernel"],
            "concat": spec["gate_sum"] == "concat",
            "residual": spec["gate_residual"] == "on",
        }
        return BoundaryAwareNetwork(
            len(spec.primary.channels),
            scaled(BASE, spec["width"], multiple=GROUPS, floor=GROUPS),
            _pooling(dict(spec.config), spec.grids[0].shape).strides,
            boundary=spec["boundary"] == "on",
            edge_head=spec["edge_loss"] == "on",
            fuse=spec["fuse"],
            gates=gates,
            blocks=spec["gate_block"] == "residual",
            dropout=spec["dropout"],
        )

    def targets(self, labels: Mapping[str, Tensor], spec: Spec) -> dict[str, Tensor]:
        """Regions, and the voxels along their boundaries."""
        regions = default_hooks.target(labels["image"], spec.primary)
        found = {"segmentation": regions}
        if len(spec.heads) > 1:
            edges = edge_voxels(regions)
            found["boundary"] = edges * regions if spec["edge_target"] == "inner" else edges
        return found

    def loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        progress: Progress,
        spec: Spec,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Dice of regions and boundaries, balanced cross-entropy of boundaries (section 3.3)."""
        smooth = {
            "squared": True,
            "numerator_smooth": spec["dice_num_smooth"],
            "denominator_smooth": spec["dice_epsilon"],
        }
        parts = {}
        for name, logits in outputs.items():
            found = logits.float().sigmoid()
            parts[f"{name}.dice"] = losses.soft_dice(found, targets[name], **smooth)
        if "boundary" in outputs:
            logits, edges = outputs["boundary"], targets["boundary"]
            entropy = losses.binary_cross_entropy(logits, edges, balanced=True)
            voxels = math.prod(logits.shape[2:]) if spec["edge_bce"] == "sum" else 1
            parts["boundary.cross_entropy"] = voxels * entropy
        total = torch.stack(list(parts.values())).sum()
        return total, {name: part.detach() for name, part in parts.items()}

    def decode(self, probabilities: Mapping[str, Tensor], spec: Spec) -> Tensor:
        """Regions overwrite each other from the largest to the smallest."""
        if spec["nest_regions"] == "on" and spec["regions"] != "separate":
            # The smallest of all probabilities so far: above one half where all of them are.
            nested = probabilities["segmentation"].cummin(0).values
            probabilities = {**probabilities, "segmentation": nested}
        return super().decode(probabilities, spec)


def _pooling(config: Mapping[str, Setting], wanted: Shape) -> Pooling:
    if max(wanted) < SMALLEST:
        wanted = (SMALLEST,) * 3
    return plan_pooling(wanted, int(config["levels"]) - 1, BOTTOM)  # type: ignore[arg-type]
