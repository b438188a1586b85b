"""The single cascade network as a plugin: all six hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from kitsbench import default_hooks, losses
from kitsbench.architecture import (
    Architecture,
    Grid,
    Head,
    Labels,
    Progress,
    Setting,
    Shape,
    Spec,
    Stage,
    Task,
    require_labels,
)
from kitsbench_plugins.blocks import Pooling, plan_pooling, scaled
from kitsbench_plugins.cascade_classifier.keys import KEYS, TAILS
from kitsbench_plugins.cascade_classifier.network import CascadeNetwork
from kitsbench_plugins.cascade_classifier.recipe import RECIPE
from kitsbench_plugins.regions import MASSES

BASE = 16  # of the low-resolution net; the high-resolution net has twice as many channels
BOTTOM = 5  # smallest edge at the bottom, voxels: the classifier cuts four
DICE_SHARE = 0.2  # of the high-resolution loss; the rest is cross-entropy (section 2.3.4)
LARGEST_WEIGHT = 20.0  # of a class, relative to the most frequent one
WEIGHTS = {"hi": 2.0, "cls": 2.0, "lo": 1.0}  # section 2.3.4


class CascadeClassifier(Architecture):
    """A coarse 3D U-Net masks the input of a fine one, which also tells whether there is tumour."""

    title = "Single cascade network with classifier"
    paper = "Humpire-Mamani 2019, KiTS19 challenge"
    keys: ClassVar = KEYS
    sizes: ClassVar = {
        # In a short run the coarse net never comes to more than one half, and its mask would wipe
        # out whatever the fine net has found: so it trains to the end and cleans nothing.
        "tiny": {
            "width": 0.25,
            "depth": 2,
            "fc": (256, 64, 64),
            "grid_ratio": 2,
            "least_output": 12,
            "lo_trainable_tail": "all",
            "postprocess": "off",
        },
        "small": {"width": 0.5, "depth": 3, "fc": (512, 128, 128), "grid_ratio": 2},
    }
    paper_patch = (108, 108, 108)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """Two grids, the fine head that is decoded, the coarse one, and the classifier's."""
        pooling, patch = _sizes(config, task.patch or self.paper_patch)
        output = pooling.size_rule.nearest(patch)[1]
        ratio = int(config["grid_ratio"])  # type: ignore[arg-type]
        values = tuple(value for _, value in task.labels)
        heads = [
            Head("hi", "softmax", ((0,), *((value,) for value in values)), output, "hi"),
            Head("lo", "regions", (values,), output, "lo", role="auxiliary", at_inference=True),
        ]
        check_labels(config, task.labels)
        if config["classifier"] == "on":
            tumor = (tumor_value(config, task.labels),)
            heads.append(Head("cls", "scalar", (tumor,), (1, 1, 1), "hi", role="auxiliary"))
        return Spec(
            config=tuple(config.items()),
            labels=task.labels,
            grids=(Grid("hi", patch), Grid("lo", patch, (float(ratio),) * 3)),
            heads=tuple(heads),
            size_rule=pooling.size_rule,
            stages=_stages(config, len(pooling.strides)),
            paper=RECIPE,
            notes=(*pooling.notes, *_notes(ratio, patch, output)),
        )

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        config, shape = dict(spec.config), spec.grids[0].shape
        steps = len(_sizes(config, shape)[0].strides)
        low = scaled(BASE, spec["width"])
        # An edge of 2^steps * b + 8 * 2^steps - 4 voxels has b at the bottom.
        bottom = tuple((edge + 4) // 2**steps - 8 for edge in shape)
        return CascadeNetwork(
            spec.classes,
            _channel(spec),
            (low, 2 * low),
            steps,
            bottom,
            spec["grid_ratio"],
            mask=spec["mask_fusion"] if spec["mask_path"] == "on" else "off",
            classifier=spec["fc"] if spec["classifier"] == "on" else None,
            mean_volume=spec["volume_scale"] == "mean",
            norm=spec["norm"],
            momentum=spec["bn_momentum"],
        )

    def targets(self, labels: Mapping[str, Tensor], spec: Spec) -> dict[str, Tensor]:
        """Labels of the fine output, union of all labels of the coarse one, presence of tumour."""
        found = {
            head.name: default_hooks.target(labels[head.grid], head)
            for head in spec.heads
            if head.kind != "scalar"
        }
        if spec["classifier"] == "on":
            tumor = found["hi"] == _channel(spec)
            found["cls"] = tumor.flatten(1).any(1, keepdim=True).float()
        return found

    def loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        progress: Progress,
        spec: Spec,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """2 hi + 2 cls + lo (section 2.3.4); the first stage has lo alone.

        The parts ``lo_overlap`` and ``lo_volume`` are twice the intersection of the thresholded
        coarse output and its target, and their sum, as shares of the voxels: their ratio over many
        steps is a Dice of pooled counts, to which a patch without foreground adds nothing unless
        something is found there.
        """
        top_k = spec["top_k"]
        coarse = losses.binary_cross_entropy(outputs["lo"], targets["lo"], top_k=top_k)
        found, there = (outputs["lo"] > 0).float(), targets["lo"].float()
        parts = {
            "lo": coarse.detach(),
            "lo_overlap": 2 * (found * there).mean(),
            "lo_volume": (found + there).mean(),
        }
        if progress.stage == "low":
            return coarse, parts
        logits, target = outputs["hi"], targets["hi"]
        coded = losses.one_hot(target, logits.shape[1])
        dice = losses.soft_dice(logits.float().softmax(1), coded, batch=True, foreground_only=True)
        weights = (
            class_weights(target, logits.shape[1]) if spec["class_weights"] != "none" else None
        )
        entropy = losses.cross_entropy(logits, target, weights=weights, top_k=top_k)
        total = WEIGHTS["lo"] * coarse + WEIGHTS["hi"] * (
            DICE_SHARE * dice + (1 - DICE_SHARE) * entropy
        )
        parts |= {"hi.dice": dice.detach(), "hi.cross_entropy": entropy.detach()}
        if spec["classifier"] == "on":
            error = losses.mean_squared_error(outputs["cls"].float().sigmoid(), targets["cls"])
            total = total + WEIGHTS["cls"] * error
            parts["cls"] = error.detach()
        return total, parts

    def decode(self, probabilities: Mapping[str, Tensor], spec: Spec) -> Tensor:
        """Each label where its probability exceeds one half; nothing where none does."""
        values = probabilities["hi"]
        decided = torch.zeros(values.shape[1:], dtype=torch.uint8, device=values.device)
        for channel, (label,) in enumerate(spec.primary.channels):
            if label:
                decided.masked_fill_(values[channel] > 0.5, label)
        return decided

    def postprocess(
        self,
        labels: Tensor,
        maps: Mapping[str, Tensor],
        spacing: tuple[float, float, float],
        spec: Spec,
    ) -> Tensor:
        """A kidney on each side, masses that touch one, all of it near the coarse mask.

        Masses are the labels that KiTS has beside the kidney, and the classifier's. Other organs
        are left where they are, as they need not touch a kidney.
        """
        if spec["postprocess"] == "off":
            return labels
        from kitsbench.inference import postprocessing as clean

        kidney = dict(spec.labels)[spec["kidney_label"]]
        named = {*MASSES, spec["tumor_label"]}
        masses = [value for name, value in spec.labels if name in named and value != kidney]
        labels = clean.keep_kidney_each_side(labels, (kidney,))
        if masses:
            labels = clean.tumor_touching_kidney(labels, masses, (kidney,))
        return clean.within_dilated(labels, maps["lo"][0] > 0.5, spec["dilation_mm"], spacing)


def check_labels(config: Mapping[str, Setting], labels: Labels) -> None:
    """See that there are the labels that the configuration looks for.

    Raises
    ------
    LabelsError
        One is missing.
    """
    for switch, key, use in (
        ("classifier", "tumor_label", "looks for it"),
        ("postprocess", "kidney_label", "keeps one on each side"),
    ):
        if config[switch] == "on":
            remedy = f"its {switch} {use}. Give {key}=NAME of another label, or {switch}=off."
            require_labels(labels, (str(config[key]),), remedy)


def tumor_value(config: Mapping[str, Setting], labels: Labels) -> int:
    """Value of the label that the classifier looks for; of the last label where there is none."""
    return dict(labels).get(str(config["tumor_label"]), labels[-1][1])


def class_weights(target: Tensor, channels: int) -> Tensor:
    """Weights of the classes by their inverse frequency in a batch.

    Parameters
    ----------
    target : Tensor
        Channel indices, (B, z, y, x).
    channels : int

    Returns
    -------
    Tensor
        (channels,): 1 to 20 times that of the most frequent class, mean 1 over the classes that
        are there.
    """
    # Neither bincount nor a mask as an index: both make the host wait for a GPU.
    counts = torch.stack([(target == channel).sum() for channel in range(channels)]).float()
    weights = (counts.max() / counts.clamp_min(1)).clamp(1.0, LARGEST_WEIGHT)
    present = (counts > 0).float()
    return weights / ((weights * present).sum() / present.sum())


def _sizes(config: Mapping[str, Setting], wanted: Shape) -> tuple[Pooling, Shape]:
    """Halvings and patch; the shortest axis decides for all, so that the grids stay aligned."""
    shortest = min(wanted)
    steps = int(config["depth"]) - 1  # type: ignore[arg-type]
    pooling = plan_pooling((shortest,) * 3, steps, BOTTOM, valid=True)
    # An edge of the output is 2^steps * b - 4 * (2^steps - 1) with b voxels at the bottom.
    rule, least = pooling.size_rule, pooling.patch[0]
    while rule.nearest((least,) * 3)[1][0] < int(config["least_output"]):  # type: ignore[arg-type]
        least += rule.multiple[0]
    return pooling, pooling.size_rule.nearest(tuple(max(edge, least) for edge in wanted))[0]  # type: ignore[arg-type]


def _stages(config: Mapping[str, Setting], steps: int) -> tuple[Stage, ...]:
    if config["staging"] == "off":
        return (Stage("all"),)
    share = float(config["stage_share"])  # type: ignore[arg-type]
    until = ("lo_overlap/lo_volume", float(config["stage_dice"]))  # type: ignore[arg-type]
    tail = tuple(name.format(last=steps - 1) for name in TAILS[str(config["lo_trainable_tail"])])
    return (
        Stage("low", share, ("low.*",), ("lo",), until),
        Stage("all", 1 - share, ("high.*", "mask_branch.*", "classifier.*", *tail)),
    )


def _notes(ratio: int, patch: Shape, output: Shape) -> tuple[str, ...]:
    notes = []
    if ratio != 4:
        notes.append(f"The coarse grid has {ratio} times the voxel size of the fine one, not 4.")
    if any(ratio * inner > edge for inner, edge in zip(output, patch, strict=True)):
        notes.append("The coarse output is wider than the fine input: its mask is cut to fit.")
    return tuple(notes)


def _channel(spec: Spec) -> int:
    """Channel of the fine head that is tumour."""
    return spec.primary.channels.index((tumor_value(dict(spec.config), spec.labels),))
