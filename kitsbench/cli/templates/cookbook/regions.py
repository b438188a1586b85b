"""Overlapping regions by sigmoid: the kidney with its masses, the masses, the tumour."""

from dataclasses import replace

from kitsbench.architecture import (
    WIDTH,
    Architecture,
    Plain,
    SizeRule,
    require_labels,
    softmax_spec,
)
from torch import nn


def block(inputs, outputs, stride=1):
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(),
    )


class Regions(Architecture):
    """A head of kind ``regions``: its targets, its loss and its labels follow from the channels."""

    title = "Regions"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.25}, "small": {"width": 0.5}}

    def spec(self, config, task):
        rule = SizeRule(multiple=(2, 2, 2), minimum=(4, 4, 4))
        spec = softmax_spec(config, task, rule, self.paper_patch)
        values = tuple(value for _, value in task.labels)  # kidney, tumour, cyst if there is one
        if len(values) > 1:
            require_labels(
                task.labels,
                ("kidney", "tumor"),
                "its regions are a kidney with its masses, and these.",
            )
        regions = [values]
        if len(values) > 1:
            regions.append(values[1:])
        if len(values) > 2:
            regions.append(values[1:2])
        # A voxel gets the label of the last region that is likelier than not.
        return replace(
            spec, heads=(replace(spec.primary, kind="regions", channels=tuple(regions)),)
        )

    def build(self, spec):
        channels = max(4, round(32 * spec["width"]))
        layers = [
            block(1, channels),
            block(channels, 2 * channels, stride=2),
            block(2 * channels, 2 * channels),
            nn.ConvTranspose3d(2 * channels, channels, 2, stride=2),
            block(channels, channels),
            nn.Conv3d(channels, len(spec.primary.channels), 1),
        ]
        return Plain(nn.Sequential(*layers))
