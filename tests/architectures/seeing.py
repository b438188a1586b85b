"""Small architectures that are shown more of a scan than one patch of CT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from architectures import PATCH, channels_of, unit
from kitsbench.architecture import (
    Architecture,
    Channel,
    Grid,
    Head,
    Input,
    Map,
    SizeRule,
    Spec,
    coordinates,
    softmax_spec,
)


class Network(nn.Module):
    """Two convolutions over the channels of the first grid; numbers shift their features."""

    def __init__(self, spec):
        super().__init__()
        shapes = spec.input_shapes()
        self.grids = [grid.name for grid in spec.grids]
        self.numbers = [entry.name for entry in spec.inputs]
        self.features = nn.ModuleDict({n: unit(shapes[n][1], 8) for n in self.grids})
        self.shift = nn.ModuleDict({n: nn.Linear(shapes[n][1], 8) for n in self.numbers})
        self.head = nn.Conv3d(8, spec.classes, 1)

    def forward(self, inputs):
        first, *others = (self.features[name](inputs[name]) for name in self.grids)
        for found in others:
            first = first + found.mean((2, 3, 4), keepdim=True)
        for name in self.numbers:
            first = first + self.shift[name](inputs[name])[:, :, None, None, None]
        return {"segmentation": self.head(first)}


class Coordinates(Architecture):
    """A network that knows where in the scan it is, and how large its voxels are."""

    title = "Coordinates and spacing"
    channels = (Channel("ct"), *coordinates())
    inputs = (Input("spacing"), Input("where", "centre"))

    def spec(self, config, task):
        plain = softmax_spec(config, task, SizeRule(), PATCH, inputs=self.inputs)
        (grid,) = plain.grids
        return replace(plain, grids=(replace(grid, channels=self.channels),))

    def build(self, spec):
        return Network(spec)


class TwoPhases(Coordinates):
    """Two phases of contrast medium, and what the second one adds."""

    title = "Two phases"
    channels = (Channel("late"), Channel("ct"), Channel("washout", "function"))
    inputs = ()

    def derive(self, name, scan, spec):
        return (scan.images["late"].astype(np.float32) - scan.ct) / 100


class Everything(Architecture):
    """Every source of channels and inputs, on two grids."""

    title = "Everything"

    def spec(self, config, task):
        patch, _ = SizeRule().nearest(task.patch or PATCH)
        channels = (
            Channel("border", "border"),
            Channel("ct"),
            *coordinates("mm"),
            Channel("late"),
            *(Channel(f"ramp {axis}", "function", outside=-9) for axis in range(3)),
        )
        inputs = (
            Input("spacing"),
            Input("file", "native_spacing"),
            Input("where", "centre"),
            Input("where wide", "centre", grid="wide"),
            Input("body", "function", size=2, grid="wide"),
        )
        return Spec(
            config=tuple(config.items()),
            labels=task.labels,
            grids=(
                Grid("image", patch, channels=channels),
                Grid("wide", patch, (2.0, 2.0, 2.0), (*channels[-3:], *coordinates())),
            ),
            heads=(Head("segmentation", "softmax", channels_of(task), patch),),
            inputs=inputs,
        )

    def build(self, spec):
        return Network(spec)

    def derive(self, name, scan, spec):
        if name == "body":
            return [(scan.ct > -500).mean(), scan.spacing[0]]
        axis = int(name[-1])
        # The place along an axis in mm from the middle, as the channels z, y and x tell it.
        place = (np.arange(scan.shape[axis]) + 0.5 - scan.shape[axis] / 2) * scan.spacing[axis]
        return np.broadcast_to(
            np.expand_dims(place, [a for a in range(3) if a != axis]), scan.shape
        )


class WholeScan(Coordinates):
    """A network that sees the whole scan at once, at voxels that depend on its size."""

    title = "Whole scan"
    channels = (Channel("ct"), Channel("border", "border"))
    inputs = (Input("spacing"), Input("air", "function", size=1))

    def spec(self, config, task):
        plain = super().spec(config, task)
        return replace(plain, grids=(replace(plain.grids[0], whole=True),))

    def derive(self, name, scan, spec):
        return [(scan.ct < -500).mean()]


class Attentive(Architecture):
    """Attention on every second voxel, which the report shows."""

    title = "Attention"

    def spec(self, config, task):
        rule = SizeRule((2, 2, 2), minimum=(2, 2, 2))
        patch, _ = rule.nearest(task.patch or PATCH)
        maps = (Map("attention", tuple(edge // 2 for edge in patch), stride=(2, 2, 2)),)
        return softmax_spec(config, replace(task, patch=patch), rule, PATCH, maps=maps)

    def build(self, spec):
        return AttentiveNetwork(spec.classes)


class AttentiveNetwork(nn.Module):
    """Features weighted by a coarse attention."""

    def __init__(self, classes):
        super().__init__()
        self.features = unit(1, 8)
        self.attention = nn.Conv3d(8, 1, 1)
        self.head = nn.Conv3d(8, classes, 1)

    def forward(self, inputs):
        features = self.features(inputs["image"])
        coarse = torch.sigmoid(self.attention(nn.functional.avg_pool3d(features, 2)))
        weight = nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        found = {"segmentation": self.head(features * weight)}
        return found if self.training else {**found, "attention": coarse}
