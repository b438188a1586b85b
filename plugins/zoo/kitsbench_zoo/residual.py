"""U-Nets of residual blocks whose strides nnU-Net plans: STU-Net, and what is below U-Mamba."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from kitsbench_plugins.blocks import Shape
from kitsbench_plugins.nnunet.plan import Plan, plan, total_stride
from kitsbench_plugins.recipes import in_the_plane
from torch import Tensor, nn

from kitsbench.architecture import Setting, Spec, Task, softmax_spec
from kitsbench_zoo.base import Zoo, with_heads

ONE: Shape = (1, 1, 1)
SLOPE = 0.01  # of the leaky ReLU, also what the weights are drawn for


@dataclass(frozen=True)
class Layout:
    """How a network is made, finest stage first.

    Parameters
    ----------
    strides : tuple of (int, int, int)
        Of each step down.
    kernels : tuple of (int, int, int)
        Of each stage, one more than strides.
    channels, blocks : tuple of int
        Of each stage going down.
    blocks_up : tuple of int
        Of each stage going up, one for each stride.
    stem : int
        Blocks before the first stage, with its channels and kernel.
    """

    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]
    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    blocks_up: tuple[int, ...]
    stem: int = 0


class PlannedUNet(Zoo):
    """A network of :class:`ResidualUNet`, whose strides follow patch and voxel size."""

    # Most stages, and what a configuration says of them.
    stages: ClassVar[int]

    def layout(self, config: Mapping[str, Setting], planned: Plan) -> Layout:
        """What is built by a plan."""
        raise NotImplementedError

    def planned(
        self, config: Mapping[str, Setting], patch: Shape, spacing: tuple[float, ...] | None
    ) -> Plan:
        """Strides that nnU-Net plans, for so many stages as are asked for."""
        most = int(config["depth"]) or self.stages  # type: ignore[arg-type]
        return plan(patch, spacing, max(2, most))  # type: ignore[arg-type]

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One head for each resolution of the decoder."""
        patch = task.patch or self.paper_patch or (128, 128, 128)
        planned = self.planned(config, patch, task.spacing)
        found = softmax_spec(
            config,
            replace(task, patch=planned.patch),
            planned.size_rule,
            planned.patch,
            paper=in_the_plane(self.recipe_for(config), patch),
            spacing=task.spacing,
        )
        if config["deep_supervision"] == "off":
            return found
        strides = self.layout(config, planned).strides
        return with_heads(found, [total_stride(strides[:n]) for n in range(1, len(strides))])

    def network(self, spec: Spec) -> nn.Module:
        """The network for the patch of the spec."""
        config = dict(spec.config)
        planned = self.planned(config, spec.grids[0].shape, spec.spacing)
        return ResidualUNet(self.layout(config, planned), spec.classes, deep=len(spec.heads) > 1)


class ResidualUNet(nn.Module):
    """Residual blocks down and up; nearest neighbours and a 1x1x1 convolution between.

    Parameters
    ----------
    layout : Layout
    classes : int
    deep : bool
        Whether all resolutions of the decoder have a head, not only the finest.
    """

    def __init__(self, layout: Layout, classes: int, *, deep: bool):
        super().__init__()
        self.strides, self.deep = layout.strides, deep
        first = layout.channels[0]
        stem = stage(1, first, layout.kernels[0], ONE, layout.stem) if layout.stem else []
        self.stem = nn.Sequential(*stem)
        inputs = (first if layout.stem else 1, *layout.channels)
        self.down = nn.ModuleList(
            nn.Sequential(*stage(i, o, kernel, stride, count))
            for (i, o), kernel, stride, count in zip(
                pairwise(inputs), layout.kernels, (ONE, *layout.strides), layout.blocks, strict=True
            )
        )
        levels = list(pairwise(layout.channels))
        self.mix = nn.ModuleList(nn.Conv3d(deeper, finer, 1) for finer, deeper in levels)
        self.up = nn.ModuleList(
            nn.Sequential(*stage(2 * finer, finer, kernel, ONE, count))
            for (finer, _), kernel, count in zip(
                levels, layout.kernels[:-1], layout.blocks_up, strict=True
            )
        )
        heads = len(levels) if deep else 1
        self.heads = nn.ModuleList(nn.Conv3d(finer, classes, 1) for finer, _ in levels[:heads])
        self.apply(_draw)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Map (B, 1, z, y, x) to logits, in training mode of all heads, finest first."""
        features = self.stem(images)
        skips = []
        for down in self.down:
            features = down(features)
            skips.append(features)
        found: list[Tensor] = []
        for level in reversed(range(len(self.up))):
            larger = F.interpolate(features, scale_factor=self.strides[level])
            features = self.up[level](torch.cat([self.mix[level](larger), skips[level]], 1))
            if level == 0 or (self.training and self.deep):
                found.insert(0, self.heads[level](features))
        return found if self.training and self.deep else found[0]


class ResidualBlock(nn.Module):
    """Two convolutions with instance norm; the shortcut is a convolution where one is asked for."""

    def __init__(self, inputs: int, outputs: int, kernel: Shape, stride: Shape, *, mixed: bool):
        super().__init__()
        padding = tuple(edge // 2 for edge in kernel)
        self.conv1 = nn.Conv3d(inputs, outputs, kernel, stride, padding)
        self.norm1 = nn.InstanceNorm3d(outputs, affine=True)
        self.conv2 = nn.Conv3d(outputs, outputs, kernel, padding=padding)
        self.norm2 = nn.InstanceNorm3d(outputs, affine=True)
        self.shortcut = nn.Conv3d(inputs, outputs, 1, stride) if mixed else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, inputs, z, y, x) to (B, outputs, ...), smaller by the stride."""
        found = F.leaky_relu(self.norm1(self.conv1(features)), SLOPE)
        return F.leaky_relu(self.norm2(self.conv2(found)) + self.shortcut(features), SLOPE)


def stage(
    inputs: int, outputs: int, kernel: Shape, stride: Shape, blocks: int
) -> Sequence[nn.Module]:
    """Blocks of one resolution, the first of which changes it."""
    first = ResidualBlock(inputs, outputs, kernel, stride, mixed=True)
    more = [ResidualBlock(outputs, outputs, kernel, ONE, mixed=False) for _ in range(1, blocks)]
    return [first, *more]


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
