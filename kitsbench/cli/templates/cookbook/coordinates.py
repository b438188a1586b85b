"""Coordinates and spacing: a network that knows where in the scan it is, and how large a voxel."""

from dataclasses import replace

import torch
from kitsbench.architecture import (
    WIDTH,
    Architecture,
    Channel,
    Input,
    SizeRule,
    coordinates,
    softmax_spec,
)
from torch import nn


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(),
    )


class Network(nn.Module):
    """Convolutions over the CT and the place; the voxel size scales their features."""

    def __init__(self, inputs, numbers, channels, classes):
        super().__init__()
        self.first, self.second = block(inputs, channels), block(channels, channels)
        self.scale = nn.Linear(numbers, channels)
        self.head = nn.Conv3d(channels, classes, 1)

    def forward(self, inputs):
        features = self.first(inputs["image"])
        scale = self.scale(torch.log(inputs["spacing"]))  # mm, (B, 3)
        features = features * (1 + scale[:, :, None, None, None])
        return {"segmentation": self.head(self.second(features))}


class Coordinates(Architecture):
    """The grid names its channels; numbers beside the grids are inputs of the spec."""

    title = "Coordinates and spacing"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.25}, "small": {"width": 0.5}}

    def spec(self, config, task):
        rule = SizeRule(minimum=(4, 4, 4))
        inputs = (Input("spacing"),)
        spec = softmax_spec(config, task, rule, self.paper_patch, inputs=inputs)
        image = replace(spec.grids[0], channels=(Channel("ct"), *coordinates()))
        return replace(spec, grids=(image,))

    def build(self, spec):
        shapes = spec.input_shapes()  # {"image": (1, 4, z, y, x), "spacing": (1, 3)}
        channels = max(4, round(32 * spec["width"]))
        return Network(shapes["image"][1], shapes["spacing"][1], channels, spec.classes)
