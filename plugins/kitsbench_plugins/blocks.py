"""Parts that several of the reference architectures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from kitsbench import losses
from kitsbench.architecture import Key, Setting, SizeRule, Spec, Task, softmax_spec

Shape = tuple[int, int, int]

DICE_BACKGROUND = Key(
    "on",
    "DiceCELoss with its defaults in train.py of Gohil and Lad",
    options=("on", "off"),
    help="whether the background counts in the Dice loss",
)

BN_MOMENTUM = Key(
    0.05,
    "CHOICE; 0.1 is PyTorch's, noisy at batch 2",
    low=0.001,
    high=1.0,
    help="momentum of the running statistics of batch normalisation",
)


def scaled(channels: int, width: float, multiple: int = 2, floor: int = 4) -> int:
    """Channel count times ``width``, rounded to a multiple and never below a floor.

    The count itself when ``width`` is 1, so that papers' odd numbers survive.
    """
    if width == 1:
        return channels
    return max(floor, multiple * round(channels * width / multiple))


@dataclass(frozen=True)
class Pooling:
    """Strides between the levels of a U-shaped network, first level first.

    Parameters
    ----------
    strides : tuple of (int, int, int)
        One for each step down.
    patch : (int, int, int)
        Input shape that they fit.
    size_rule : SizeRule
        Shapes that they admit.
    note : str
        A sentence for the report when the patch cost levels, else empty.
    """

    strides: tuple[Shape, ...]
    patch: Shape
    size_rule: SizeRule
    note: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """The note, if there is one."""
        return (self.note,) if self.note else ()


def plan_pooling(wanted: Shape, steps: int, bottom: int, *, valid: bool = False) -> Pooling:
    """Choose the strides that a patch allows.

    Each axis is halved as often as its edge at the bottom stays at least ``bottom``, ``steps``
    times at most. An axis that is halved less often is halved in the last steps, as nnU-Net does:
    it is the one with the thick slices.

    Parameters
    ----------
    wanted : (int, int, int)
        Patch that is asked for, voxels.
    steps : int
        Halvings of the paper's network.
    bottom : int
        Smallest edge at the bottom, voxels.
    valid : bool
        Convolutions without padding, two before and two after every halving (Cicek et al. 2016).
    """
    patch, rounded = wanted, False
    while True:
        counts = [_halvings(edge, steps, bottom, valid) for edge in patch]
        if max(counts) == 0:
            counts = [1, 1, 1]
        levels = max(counts)
        strides = tuple(
            tuple(2 if levels - step <= count else 1 for count in counts) for step in range(levels)
        )
        rule = _size_rule(strides, bottom, valid)  # type: ignore[arg-type]
        if rule.admits(patch):
            break
        # A larger patch may allow one more halving; only growing from here on, this ends.
        patch = _at_least(patch, rule) if rounded else rule.nearest(patch)[0]
        rounded = True
    note = ""
    if counts != [steps] * 3:
        full, got = "x".join([str(steps)] * 3), "x".join(map(str, counts))
        note = (
            f"The pools follow the patch: {got} halvings (z, y, x) instead of {full}, because "
            f"{'x'.join(map(str, patch))} voxels leave no bottom edge of {bottom} with more."
        )
    return Pooling(strides, patch, rule, note)  # type: ignore[arg-type]


def pooled_spec(config: Mapping[str, Setting], task: Task, pooling: Pooling, **fields: Any) -> Spec:
    """Spec of a softmax network whose pools follow the patch."""
    task = replace(task, patch=pooling.patch)
    return softmax_spec(
        config, task, pooling.size_rule, pooling.patch, notes=pooling.notes, **fields
    )


def dice_cross_entropy(
    logits: Tensor, target: Tensor, *, background: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Dice + cross-entropy as MONAI's ``DiceCELoss``: Dice a sample, smooth 1e-5 on both sides.

    Parameters
    ----------
    logits : Tensor
        (B, C, z, y, x).
    target : Tensor
        Channel indices, (B, z, y, x).
    background : bool
        Whether channel 0 counts in the Dice part.
    """
    dice = losses.soft_dice(
        logits.float().softmax(1),
        losses.one_hot(target, logits.shape[1]),
        foreground_only=not background,
        numerator_smooth=1e-5,
        denominator_smooth=1e-5,
    )
    entropy = losses.cross_entropy(logits, target)
    return dice + entropy, {"dice": dice.detach(), "cross_entropy": entropy.detach()}


def norm_act(channels: int) -> list[nn.Module]:
    """Instance norm without affine parameters, then a PReLU with one slope for all channels."""
    return [nn.InstanceNorm3d(channels), nn.PReLU()]


def up_convolution(inputs: int, outputs: int, stride: Shape) -> nn.ConvTranspose3d:
    """Transposed 3x3x3 convolution whose output edge is exactly ``stride`` times the input's."""
    extra = tuple(step - 1 for step in stride)
    return nn.ConvTranspose3d(inputs, outputs, 3, stride, padding=1, output_padding=extra)


def pad_to_multiple(images: Tensor, multiple: Sequence[int]) -> Tensor:
    """Pad (B, C, z, y, x) with zeros at the far ends up to multiples of ``multiple``."""
    missing = [-edge % step for edge, step in zip(images.shape[2:], multiple, strict=True)]
    if not any(missing):
        return images
    return F.pad(images, [side for gap in reversed(missing) for side in (0, gap)])


def crop_to(images: Tensor, shape: Sequence[int], *, centred: bool = False) -> Tensor:
    """Cut (B, C, z, y, x) to ``shape``: its near corner, or its centre."""
    for axis, edge in enumerate(shape, start=2):
        if images.shape[axis] != edge:
            start = (images.shape[axis] - edge) // 2 if centred else 0
            images = images.narrow(axis, start, edge)
    return images


def _halvings(edge: int, steps: int, bottom: int, valid: bool) -> int:
    """How often an edge can be halved with ``bottom`` voxels left."""
    for count in range(steps, 0, -1):
        if edge >= _edges((2,) * count, bottom, valid)[0]:
            return count
    return 0


def _edges(strides: Sequence[int], bottom: int, valid: bool) -> tuple[int, int]:
    """Input and output edge along one axis when the bottom level puts out ``bottom`` voxels."""
    cut = 4 if valid else 0  # two 3x3x3 convolutions
    inner, outer = bottom + cut, bottom
    for stride in reversed(strides):
        inner, outer = inner * stride + cut, outer * stride - cut
    return inner, outer


def _size_rule(strides: Sequence[Shape], bottom: int, valid: bool) -> SizeRule:
    axes = []
    for axis in range(3):
        own = [stride[axis] for stride in strides]
        base = _edges(own, 0, valid)[0]
        multiple = _edges(own, 1, valid)[0] - base
        least = bottom
        while _edges(own, least, valid)[1] < 1:  # an axis that is cut at every level, not halved
            least += 1
        inner, outer = _edges(own, least, valid)
        axes.append((multiple, base % multiple, inner - outer, inner))
    multiples, offset, shrink, minimum = zip(*axes, strict=True)
    return SizeRule(multiples, offset, shrink, minimum)


def _at_least(patch: Shape, rule: SizeRule) -> Shape:
    """Smallest admissible shape that holds ``patch``."""
    edges = [
        max(edge + (offset - edge) % step, low)
        for edge, step, offset, low in zip(
            patch, rule.multiple, rule.offset, rule.minimum, strict=True
        )
    ]
    return tuple(edges)  # type: ignore[return-value]
