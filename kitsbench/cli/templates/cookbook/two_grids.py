"""Two grids: fine voxels, and coarse ones that show the surroundings of the same place."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from kitsbench.architecture import WIDTH, Architecture, Grid, SizeRule, softmax_spec
from torch import nn

COARSER = 4  # a voxel of the second grid has four times the edge


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(),
    )


class Network(nn.Module):
    """A path on each grid; the coarse one's middle is what the fine one lies in."""

    def __init__(self, channels, classes):
        super().__init__()
        self.fine = nn.Sequential(block(1, channels), block(channels, channels))
        self.coarse = nn.Sequential(block(1, channels), block(channels, channels))
        self.head = nn.Conv3d(2 * channels, classes, 1)

    def forward(self, inputs):
        fine, context = self.fine(inputs["image"]), self.coarse(inputs["context"])
        for axis in (2, 3, 4):  # the grids share their centre
            kept = fine.shape[axis] // COARSER
            context = context.narrow(axis, (context.shape[axis] - kept) // 2, kept)
        context = F.interpolate(context, scale_factor=COARSER, mode="trilinear")
        return {"segmentation": self.head(torch.cat([fine, context], 1))}


class TwoGrids(Architecture):
    """The second grid needs no more than its name, its voxels and how much larger they are."""

    title = "Two grids"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.25}, "small": {"width": 0.5}}
    paper_patch = (64, 64, 64)

    def spec(self, config, task):
        rule = SizeRule(multiple=(8, 8, 8), minimum=(8, 8, 8))
        spec = softmax_spec(config, task, rule, self.paper_patch)
        fine = spec.grids[0]
        context = Grid("context", fine.shape, ratio=(COARSER, COARSER, COARSER))
        return replace(spec, grids=(fine, context))

    def build(self, spec):
        return Network(max(4, round(32 * spec["width"])), spec.classes)
