"""Small architectures, one for each thing that the contract must be able to express.

They train in milliseconds on small patches and are no models of anything. The broken ones are in
:mod:`architectures.broken`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from kitsbench import default_hooks, losses
from kitsbench.architecture import (
    WIDTH,
    Architecture,
    Grid,
    Head,
    Key,
    Member,
    Plain,
    SizeRule,
    Spec,
    Stage,
    softmax_spec,
)
from kitsbench.recipe import Optimiser, Recipe, Schedule

PATCH = (16, 16, 16)


def unit(inputs: int, outputs: int, padding: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
    )


def channels_of(task) -> tuple[tuple[int, ...], ...]:
    """Softmax channels of a task."""
    return ((0,), *((value,) for _, value in task.labels))


def unions(task) -> tuple[tuple[int, ...], ...]:
    """Overlapping regions: all labels together, then each but the first alone."""
    values = tuple(value for _, value in task.labels)
    return (values, *((value,) for value in values[1:]))


class Smallest(Architecture):
    """Only ``build``, as the scaffold writes it."""

    title = "Smallest"

    def build(self, spec):
        return Plain(nn.Sequential(unit(1, 8), nn.Conv3d(8, spec.classes, 1)))


class Pretrained(Smallest):
    """Begins with the weights of a file, where one is given, and says what they come from."""

    title = "Pretrained"
    keys = {"weights": Key.file(help="state dict of initial weights")}  # noqa: RUF012

    def spec(self, config, task):
        data = "thirty livers" if config["weights"] else ""
        return replace(super().spec(config, task), pretrained_on=data)


class Configured(Smallest):
    """Keys of every type, sizes, a paper's recipe, and a note."""

    title = "Configured"
    keys = {  # noqa: RUF012
        "width": WIDTH,
        "blocks": Key(2, "section 3", low=1, high=5),
        "act": Key("relu", "CHOICE", options=("relu", "gelu")),
        "kernel": Key((3, 3, 3), "figure 1"),
    }
    sizes = {"tiny": {"width": 0.5, "blocks": 1}, "small": {"width": 0.75}}  # noqa: RUF012

    def spec(self, config, task):
        recipe = Recipe("own", patch=PATCH, optimiser=Optimiser("sgd", lr=0.1))
        notes = (f"{config['blocks']} blocks",)
        return softmax_spec(config, task, SizeRule(), PATCH, paper=recipe, notes=notes)

    def build(self, spec):
        channels = max(int(8 * spec["width"]), 1)
        act = nn.ReLU() if spec["act"] == "relu" else nn.GELU()
        edges = spec["kernel"]
        layers = [nn.Conv3d(1, channels, edges, padding=[e // 2 for e in edges]), act]
        for _ in range(spec["blocks"] - 1):
            layers += [unit(channels, channels)]
        return Plain(nn.Sequential(*layers, nn.Conv3d(channels, spec.classes, 1)))


class Valid(Architecture):
    """Outputs smaller than inputs: convolutions without padding."""

    title = "Valid"

    def spec(self, config, task):
        rule = SizeRule(shrink=(4, 4, 4), minimum=(8, 8, 8))
        return softmax_spec(config, task, rule, PATCH)

    def build(self, spec):
        return Plain(nn.Sequential(unit(1, 8, 0), unit(8, 8, 0), nn.Conv3d(8, spec.classes, 1)))


class Regions(Architecture):
    """Overlapping sigmoid regions as the primary head."""

    title = "Regions"

    def spec(self, config, task):
        spec = softmax_spec(config, task, SizeRule(), PATCH)
        head = replace(spec.heads[0], kind="regions", channels=unions(task))
        return replace(spec, heads=(head,))

    def build(self, spec):
        return Plain(nn.Sequential(unit(1, 8), nn.Conv3d(8, len(spec.primary.channels), 1)))


class Shared(nn.Module):
    """One trunk and a layer for each head; scalar heads see the trunk's mean."""

    def __init__(self, spec: Spec, width: int = 8):
        super().__init__()
        self.trunk = unit(1, width)
        self.kinds = {head.name: head.kind for head in spec.heads}
        self.layers = nn.ModuleDict(
            {h.name: nn.Conv3d(width, len(h.channels), 1) for h in spec.heads}
        )

    def forward(self, inputs):
        features = self.trunk(inputs["image"])
        pooled = features.mean((2, 3, 4), keepdim=True)
        return {
            name: layer(pooled).flatten(1) if self.kinds[name] == "scalar" else layer(features)
            for name, layer in self.layers.items()
        }


class Boundary(Regions):
    """Regions, and an auxiliary head that learns where they end."""

    title = "Boundary"

    def spec(self, config, task):
        spec = super().spec(config, task)
        edges = replace(spec.primary, name="edges", kind="boundary", role="auxiliary")
        return replace(spec, heads=(spec.primary, edges))

    def build(self, spec):
        return Shared(spec)

    def targets(self, labels, spec):
        regions = default_hooks.target(labels["image"], spec.primary)
        # The shell one voxel inside and one outside; borders of the patch are no boundary.
        padded = F.pad(regions, (1,) * 6, mode="replicate")
        shell = F.max_pool3d(padded, 3, 1) + F.max_pool3d(-padded, 3, 1)
        return {"segmentation": regions, "edges": shell}

    def loss(self, outputs, targets, progress, spec):
        total, parts = 0.0, {}
        for name, balanced in (("segmentation", False), ("edges", True)):
            dice = losses.soft_dice(outputs[name].sigmoid(), targets[name], squared=True)
            entropy = losses.binary_cross_entropy(outputs[name], targets[name], balanced=balanced)
            parts |= {f"{name}.dice": dice.detach(), f"{name}.bce": entropy.detach()}
            total = total + dice + entropy
        return total / 2, parts


class Presence(Architecture):
    """A scalar head: does the patch hold the last label?"""

    title = "Presence"

    def spec(self, config, task):
        spec = softmax_spec(config, task, SizeRule(), PATCH)
        last = (task.labels[-1][1],)
        scalar = Head("presence", "scalar", (last,), (1, 1, 1), role="auxiliary")
        return replace(spec, heads=(spec.primary, scalar))

    def build(self, spec):
        return Shared(spec)

    def targets(self, labels, spec):
        head = spec.heads[1]
        found = (labels["image"] == head.channels[0][0]).flatten(1).any(1, keepdim=True)
        return {
            "segmentation": default_hooks.target(labels["image"], spec.primary),
            "presence": found.float(),
        }


class DeepSupervision(Architecture):
    """Heads at strides 1, 2 and 4 with the default targets and loss."""

    title = "Deep supervision"

    def spec(self, config, task):
        spec = softmax_spec(config, task, SizeRule(multiple=(4, 4, 4), minimum=(8, 8, 8)), PATCH)
        coarse = tuple(
            replace(
                spec.primary,
                name=f"every{step}",
                shape=tuple(edge // step for edge in spec.primary.shape),
                stride=(step,) * 3,
                role="auxiliary",
            )
            for step in (2, 4)
        )
        return replace(spec, heads=(spec.primary, *coarse))

    def build(self, spec):
        return Pyramid(spec.classes)


class Pyramid(nn.Module):
    """Features at three scales, from coarse to fine, each with a head."""

    def __init__(self, classes: int, width: int = 8):
        super().__init__()
        self.down = nn.ModuleList([unit(1, width), unit(width, width, stride=2)])
        self.bottom = unit(width, width, stride=2)
        self.up = nn.ModuleList([unit(2 * width, width), unit(2 * width, width)])
        self.heads = nn.ModuleList(nn.Conv3d(width, classes, 1) for _ in range(3))

    def forward(self, inputs):
        first = self.down[0](inputs["image"])
        second = self.down[1](first)
        third = self.bottom(second)
        outputs = {"every4": self.heads[2](third)}
        second = self.up[0](torch.cat([second, F.interpolate(third, scale_factor=2)], 1))
        # The coarsest head has weight 0 by default; its layer still takes part in the graph.
        outputs["every2"] = self.heads[1](second)
        first = self.up[1](torch.cat([first, F.interpolate(second, scale_factor=2)], 1))
        outputs["segmentation"] = self.heads[0](first)
        return outputs


class Staged(Architecture):
    """A trunk that trains first, with a head of its own, and is frozen afterwards."""

    title = "Staged"

    def spec(self, config, task):
        spec = softmax_spec(config, task, SizeRule(), PATCH)
        rough = replace(spec.primary, name="rough", role="auxiliary")
        stages = (
            Stage(
                "rough",
                share=0.4,
                train=("trunk.*", "layers.rough.*"),
                heads=("rough",),
                until=("rough.accuracy", 0.99),
            ),
            Stage(
                "fine",
                share=0.6,
                train=("layers.segmentation.*",),
                heads=("segmentation",),
                optimiser=Optimiser("adam", lr=1e-2),
                schedule=Schedule("cosine"),
            ),
        )
        return replace(spec, heads=(spec.primary, rough), stages=stages)

    def build(self, spec):
        return Shared(spec)

    def loss(self, outputs, targets, progress, spec):
        total, parts = default_hooks.loss(outputs, targets, progress, spec)
        if progress.stage == "rough":
            hits = outputs["rough"].argmax(1) == targets["rough"]
            parts["rough.accuracy"] = hits.float().mean()
        return total, parts


class TwoGrids(Architecture):
    """A fine and a coarse grid that share their centre."""

    title = "Two grids"

    def spec(self, config, task):
        spec = softmax_spec(config, task, SizeRule(multiple=(2, 2, 2), minimum=(8, 8, 8)), PATCH)
        fine = spec.grids[0]
        return replace(spec, grids=(fine, Grid("context", fine.shape, (2.0, 2.0, 2.0))))

    def build(self, spec):
        return Context(spec.classes)


class Context(nn.Module):
    """Adds the centre of the coarse grid's features to the fine ones."""

    def __init__(self, classes: int, width: int = 8):
        super().__init__()
        self.fine, self.coarse = unit(1, width), unit(1, width)
        self.head = nn.Conv3d(2 * width, classes, 1)

    def forward(self, inputs):
        fine, coarse = self.fine(inputs["image"]), self.coarse(inputs["context"])
        for axis in (2, 3, 4):
            edge = coarse.shape[axis]
            # An even number of coarse voxels about the centre, enlarged to at least the fine edge.
            kept = min(edge, 2 * -(-edge // 4))
            coarse = coarse.narrow(axis, (edge - kept) // 2, kept)
        coarse = F.interpolate(coarse, scale_factor=2)
        for axis in (2, 3, 4):
            edge = fine.shape[axis]
            coarse = coarse.narrow(axis, (coarse.shape[axis] - edge) // 2, edge)
        return {"segmentation": self.head(torch.cat([fine, coarse], 1))}


class Cleaned(Smallest):
    """Post-processing: components of the foreground smaller than a volume are removed."""

    title = "Cleaned"
    SMALLEST = 50.0  # mm^3

    def postprocess(self, labels, maps, spacing, spec):
        from scipy import ndimage

        found, count = ndimage.label(labels.numpy() > 0)
        kept = labels.clone()
        voxel = spacing[0] * spacing[1] * spacing[2]
        for index in range(1, count + 1):
            component = torch.from_numpy(found == index)
            if float(component.sum()) * voxel < self.SMALLEST:
                kept[component] = 0
        return kept


class Mean(Architecture):
    """Mean of the members' probabilities."""

    title = "Mean of two"
    combine = "mean"

    def spec(self, config, task):
        tiny = (("size", "tiny"),)
        members = (Member("residual_unet", tiny), Member("scau_unet", tiny))
        return Spec(
            config=tuple(config.items()),
            labels=task.labels,
            members=members,
            combine=self.combine,
        )


class Vote(Mean):
    """Vote of the members."""

    title = "Vote of two"
    combine = "vote"


class MeanOfFolds(Mean):
    """Mean of one network that is trained without each of two inner folds."""

    title = "Mean of two folds"

    def spec(self, config, task):
        members = tuple(Member("residual_unet", (("size", "tiny"),), fold=k) for k in range(2))
        return replace(super().spec(config, task), members=members)


class MeanOfSeeds(Mean):
    """Mean of three runs of one network."""

    title = "Mean of three seeds"

    def spec(self, config, task):
        members = tuple(Member("residual_unet", (("size", "tiny"),), seed=k) for k in range(3))
        return replace(super().spec(config, task), members=members)


class Cascade(Architecture):
    """All six hooks: two grids, valid convolutions, staging, a scalar head, thresholds, a mask."""

    title = "Cascade"
    RATIO = 2

    def spec(self, config, task):
        rule = SizeRule(multiple=(4, 4, 4), shrink=(8, 8, 8), minimum=(16, 16, 16))
        spec = softmax_spec(config, task, rule, PATCH)
        grid, output = spec.grids[0], spec.primary.shape
        values = tuple(value for _, value in task.labels)
        aux = {"role": "auxiliary"}
        coarse = Head(
            "coarse", "regions", (values,), output, grid="context", at_inference=True, **aux
        )
        presence = Head("presence", "scalar", ((values[-1],),), (1, 1, 1), **aux)
        return replace(
            spec,
            grids=(grid, Grid("context", grid.shape, (float(self.RATIO),) * 3)),
            heads=(spec.primary, coarse, presence),
            stages=(
                Stage("coarse", 0.3, ("coarse.*",), ("coarse",), until=("coarse.dice", 0.95)),
                Stage("all", 0.7, ("fine.*", "coarse.last.*")),
            ),
            notes=(f"The context has {self.RATIO} times the voxel size.",),
        )

    def build(self, spec):
        return CascadeNetwork(spec.classes, self.RATIO)

    def targets(self, labels, spec):
        primary, coarse, presence = spec.heads
        fine = default_hooks.target(labels["image"], primary)
        last = [c[0] for c in primary.channels].index(presence.channels[0][0])
        return {
            primary.name: fine,
            coarse.name: default_hooks.target(labels["context"], coarse),
            presence.name: (fine == last).flatten(1).any(1, keepdim=True).float(),
        }

    def loss(self, outputs, targets, progress, spec):
        smooth = {"numerator_smooth": 1e-5, "denominator_smooth": 1e-5}
        coarse = losses.binary_cross_entropy(outputs["coarse"], targets["coarse"], top_k=0.7)
        found = (outputs["coarse"] > 0).float()
        parts = {
            "coarse.bce": coarse.detach(),
            "coarse.dice": 1 - losses.soft_dice(found, targets["coarse"], **smooth).detach(),
        }
        if progress.stage == "coarse":
            return coarse, parts
        logits, target = outputs["segmentation"], targets["segmentation"]
        coded = losses.one_hot(target, logits.shape[1])
        dice = losses.soft_dice(logits.softmax(1), coded, foreground_only=True, **smooth)
        entropy = losses.cross_entropy(logits, target, top_k=0.7)
        presence = losses.mean_squared_error(outputs["presence"].sigmoid(), targets["presence"])
        parts |= {"dice": dice.detach(), "ce": entropy.detach(), "presence": presence.detach()}
        return 2 * (0.2 * dice + 0.8 * entropy) + 2 * presence + coarse, parts

    def decode(self, probabilities, spec):
        values = probabilities["segmentation"]
        decided = torch.zeros(values.shape[1:], dtype=torch.uint8, device=values.device)
        for channel, (label,) in enumerate(spec.primary.channels):
            if label:
                decided[values[channel] > 0.5] = label
        return decided

    def postprocess(self, labels, maps, spacing, spec):
        from scipy import ndimage

        inside = ndimage.binary_dilation(maps["coarse"][0].numpy() > 0.5, iterations=2)
        return labels * torch.from_numpy(inside).to(labels.dtype)


class CoarseNetwork(nn.Module):
    """Valid convolutions on the context grid."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.first = nn.Sequential(unit(1, width, 0), unit(width, width, 0), unit(width, width, 0))
        self.last = nn.Sequential(unit(width, width, 0), nn.Conv3d(width, 1, 1))

    def forward(self, context):
        return self.last(self.first(context))


class FineNetwork(nn.Module):
    """Sees the image and the image under the coarse mask; its bottom tells presence."""

    def __init__(self, classes: int, width: int = 6):
        super().__init__()
        self.units = nn.Sequential(
            unit(2, width, 0), unit(width, width, 0), unit(width, width, 0), unit(width, width, 0)
        )
        self.head = nn.Conv3d(width, classes, 1)
        self.presence = nn.Linear(width + 1, 1)

    def forward(self, image, mask):
        features = self.units(torch.cat([image, image * mask], 1))
        logits = self.head(features)
        volume = logits.softmax(1)[:, -1].mean((1, 2, 3)).unsqueeze(1)
        pooled = torch.cat([features.mean((2, 3, 4)), volume], 1)
        return logits, self.presence(pooled)


class CascadeNetwork(nn.Module):
    """The coarse output, enlarged about the common centre, masks the fine input."""

    def __init__(self, classes: int, ratio: int):
        super().__init__()
        self.coarse, self.fine, self.ratio = CoarseNetwork(), FineNetwork(classes), ratio

    def forward(self, inputs):
        image, coarse = inputs["image"], self.coarse(inputs["context"])
        mask = F.interpolate(coarse.sigmoid(), scale_factor=self.ratio)
        pads = []
        for have, want in zip(reversed(mask.shape[2:]), reversed(image.shape[2:]), strict=True):
            pads += [(want - have) // 2, want - have - (want - have) // 2]
        logits, presence = self.fine(image, F.pad(mask, pads))
        return {"segmentation": logits, "coarse": coarse, "presence": presence}


class Slices(nn.Module):
    """Convolutions within each slice, then one across them: weights of two and of three axes."""

    def __init__(self, classes: int):
        super().__init__()
        self.within = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.across = nn.Conv3d(8, classes, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, images):
        batch, channels, depth = images.shape[:3]
        slices = images.transpose(1, 2).reshape(batch * depth, channels, *images.shape[3:])
        features = self.within(slices)
        features = features.reshape(batch, depth, *features.shape[1:]).transpose(1, 2)
        return self.across(features)


class SliceBySlice(Architecture):
    """A network of 2D convolutions, which memory formats of three axes do not fit."""

    title = "Slice by slice"

    def build(self, spec):
        return Plain(Slices(spec.classes))


COVERAGE = (
    Smallest,
    SliceBySlice,
    Configured,
    Valid,
    Regions,
    Boundary,
    Presence,
    DeepSupervision,
    Staged,
    TwoGrids,
    Cleaned,
    Cascade,
)
