"""MSAN-V1, MSAN-V2 and the vote of five as plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from kitsbench import losses
from kitsbench.architecture import (
    WIDTH,
    Architecture,
    Key,
    Labels,
    Member,
    Plain,
    Progress,
    Setting,
    Spec,
    Task,
)
from kitsbench_plugins.blocks import Pooling, Shape, pooled_spec, scaled
from kitsbench_plugins.msan.keys import KEEP_COMPONENTS, V1, V2
from kitsbench_plugins.msan.network import MsanNetwork, SupervisedMsan, tap_names
from kitsbench_plugins.recipes import msan_recipe
from kitsbench_plugins.regions import KIDNEY, MASSES
from kitsbench_plugins.slab_pooling import plan_slab_pooling

BASE = 32
BOTTOM = 4  # smallest edge at the bottom, voxels, as in the 3D U-Net
PAPER = "Sun et al. 2019, KiTS19 challenge"
SMOOTH = 1e-5


class MsanV1(Architecture):
    """3D U-Net whose skips are recalibrated by the next coarser level."""

    title = "MSAN-V1"
    paper = PAPER
    keys: ClassVar = V1
    sizes: ClassVar = {
        "tiny": {"width": 0.25, "depth": 3},
        "small": {"width": 0.25},
    }
    # Where the parameters are counted; slabs of 4 slices have fewer, as their pools are flatter.
    paper_patch = (96, 96, 96)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One softmax head, with deep supervision auxiliary ones; the pools follow the patch."""
        recipe = msan_recipe(float(config["fg_prob"]))
        pools = _pooling(config, task.patch or recipe.patch or self.paper_patch)
        spec = pooled_spec(config, task, pools, paper=recipe)
        spec = replace(spec, notes=(*spec.notes, *_notes(config, task.labels)))
        if config["deep_supervision"] == "off":
            return spec
        auxiliary = (
            replace(spec.primary, name=name, role="auxiliary")
            for name in tap_names(len(pools.strides))
        )
        return replace(spec, heads=(spec.primary, *auxiliary))

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        config = dict(spec.config)
        network = MsanNetwork(
            scaled(BASE, spec["width"]),
            _pooling(config, spec.grids[0].shape).strides,
            spec.classes,
            momentum=spec["bn_momentum"],
            source=spec["msa_source"],
            span=spec["msa_span"],
            res2=str(config.get("res2_merge", "off")),
            scale=int(config.get("res2_scale", 4)),  # type: ignore[arg-type]
        )
        if spec["deep_supervision"] == "on":
            return SupervisedMsan(network, spec.classes, spec["ds_up"])
        return Plain(network)

    def loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        progress: Progress,
        spec: Spec,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Dice of the foreground, and that of auxiliary heads by weights that decay.

        Section 3.1 has "a dice loss"; a class that is absent from a patch has no gradient in it.
        """
        decayed = spec["ds_decay"] ** int(progress.fraction * spec["ds_decay_count"])
        weights = _head_weights(spec)
        total, parts = 0.0, {}
        for name, logits in outputs.items():
            dice = losses.soft_dice(
                logits.float().softmax(1),
                losses.one_hot(targets[name], logits.shape[1]),
                foreground_only=spec["dice_background"] == "off",
                denominator_smooth=SMOOTH,
            )
            auxiliary = name in weights
            total = total + (weights[name] * decayed if auxiliary else 1.0) * dice
            parts[f"{name}.dice" if auxiliary else "dice"] = dice.detach()
        return total, parts  # type: ignore[return-value]

    def postprocess(
        self,
        labels: Tensor,
        maps: Mapping[str, Tensor],
        spacing: tuple[float, float, float],
        spec: Spec,
    ) -> Tensor:
        """Keep the largest components of the foreground (section 3.1)."""
        return _largest(labels, spec)


class MsanV2(MsanV1):
    """MSAN-V1 with a Res2Net block beside the bottom."""

    title = "MSAN-V2"
    keys: ClassVar = V2


class MsanVote(Architecture):
    """Vote of five networks, ties by the larger sum of probabilities."""

    title = "MSAN, vote of five"
    paper = PAPER
    keys: ClassVar = {
        "width": WIDTH,
        "unet3d_recipe": Key(
            "msan",
            "section 3.1: five networks, one recipe; nnunet is the baseline's own here",
            options=("msan", "nnunet"),
            help="what the member unet3d is trained by in the mode `paper`",
        ),
        "keep_components": KEEP_COMPONENTS,
    }
    paper_patch = (96, 96, 96)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """Members (section 3.1)."""
        width = (("width", config["width"]),) if config["width"] != 1 else ()
        own = (("paper_recipe", "msan"),) if config["unet3d_recipe"] == "msan" else ()
        supervised = (("deep_supervision", "on"),)
        return Spec(
            config=tuple(config.items()),
            labels=task.labels,
            members=(
                Member("unet3d", width, paper=own),
                Member("msan_v1", width),
                Member("msan_v1", (*supervised, *width)),
                Member("msan_v2", width),
                Member("msan_v2", (*supervised, *width)),
            ),
            combine="vote",
            notes=_notes(config, task.labels),
        )

    def postprocess(
        self,
        labels: Tensor,
        maps: Mapping[str, Tensor],
        spacing: tuple[float, float, float],
        spec: Spec,
    ) -> Tensor:
        """Keep the largest components of the foreground (section 3.1)."""
        return _largest(labels, spec)


def _pooling(config: Mapping[str, Setting], patch: Shape) -> Pooling:
    return plan_slab_pooling(patch, int(config["depth"]) - 1, BOTTOM, str(config["thin_axis"]))  # type: ignore[arg-type]


def _head_weights(spec: Spec) -> dict[str, float]:
    """Initial weights of the auxiliary heads, by name; the deepest comes last."""
    names = [head.name for head in spec.heads if head.role == "auxiliary"]
    weights = [spec["ds_weight_shallow"], spec["ds_weight_deep"]]
    return dict(zip(names, weights[-len(names) :], strict=True)) if names else {}


def _largest(labels: Tensor, spec: Spec) -> Tensor:
    if not spec["keep_components"]:
        return labels
    from kitsbench.inference.postprocessing import keep_largest

    parts = torch.tensor(_of_kidneys(spec.labels), dtype=labels.dtype, device=labels.device)
    counted = torch.isin(labels, parts)
    kept = keep_largest(labels.masked_fill(~counted, 0), spec["keep_components"])
    return torch.where(counted, kept, labels)


def _of_kidneys(labels: Labels) -> list[int]:
    """Values of kidneys and of what grows in them; of all labels where none is called so.

    Other organs are neither counted nor removed: the largest two parts may be theirs.
    """
    own = [value for name, value in labels if KIDNEY in name or name in MASSES]
    return own or [value for _, value in labels]


def _notes(config: Mapping[str, Setting], labels: Labels) -> tuple[str, ...]:
    """That parts of labels are removed that are no kidney's."""
    count = config["keep_components"]
    if not count or any(KIDNEY in name or name in MASSES for name, _ in labels):
        return ()
    return (
        f"Of all labels together the {count} largest parts are kept, as if they were kidneys with "
        "what grows in them, which none is called here; keep_components=0 keeps all.",
    )
