"""What hooks do unless a plugin overrides them, and what helps architectures to write specs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kitsbench import losses
from kitsbench.configuration import Setting
from kitsbench.errors import ContractError, LabelsError
from kitsbench.recipe import Stage
from kitsbench.spec import Grid, Head, Labels, Progress, Shape, SizeRule, Spec, Task

LABEL_VALUES = 256  # label maps are bytes


def target(labels: Tensor, head: Head) -> Tensor:
    """Target of a softmax or region head: the grid's centre, every ``stride``-th voxel.

    Parameters
    ----------
    labels : Tensor
        Label values (B, z, y, x) of the head's grid, int64 or bytes.
    head : Head

    Returns
    -------
    Tensor
        Channel indices (B, z, y, x), int64, for a softmax head; zeros and ones (B, C, z, y, x),
        float32, for regions.

    Raises
    ------
    ContractError
        For boundary and scalar heads, whose targets only the plugin knows.
    """
    if head.kind in ("boundary", "scalar"):
        raise ContractError(
            f"head '{head.name}' is of kind {head.kind}: its plugin must override targets()."
        )
    for axis, (edge, step) in enumerate(zip(head.shape, head.stride, strict=True), start=1):
        start = (labels.shape[axis] - edge * step) // 2
        # The voxel nearest to the middle of its block: nearest-neighbour down-scaling.
        window = slice(start + step // 2, start + edge * step, step)
        labels = labels[(slice(None),) * axis + (window,)]
    # A table look-up: several times faster than comparing every voxel with every label.
    table = _table(tuple(map(tuple, head.channels)), head.kind == "softmax", labels.device)
    places = labels.long()  # bytes would be taken for a mask
    if head.kind == "softmax":
        return table[places]
    return torch.stack([row[places] for row in table], 1)


# Kept, because the host waits for the device whenever it copies a table to it.
@functools.lru_cache(maxsize=128)
def _table(channels: tuple[tuple[int, ...], ...], exclusive: bool, device: torch.device) -> Tensor:
    """Channel of each label value, (256,) int64, or rows of zeros and ones, (C, 256) float32."""
    table = torch.zeros(len(channels), LABEL_VALUES, dtype=torch.float32, device="cpu")
    for channel, values in enumerate(channels):
        table[channel, list(values)] = 1
    return (table.argmax(0) if exclusive else table).to(device)


@functools.lru_cache(maxsize=128)
def _first_values(channels: tuple[tuple[int, ...], ...], device: torch.device) -> Tensor:
    """Label value that each channel of a softmax head writes, (C,) uint8."""
    return torch.tensor([values[0] for values in channels], dtype=torch.uint8, device=device)


def decode(values: Tensor, head: Head) -> Tensor:
    """Label of each voxel from the probabilities of a softmax or region head.

    Parameters
    ----------
    values : Tensor
        (C, z, y, x).
    head : Head

    Returns
    -------
    Tensor
        Label values (z, y, x), uint8: those of the likeliest channel; of regions, the last one
        that is likelier than not.
    """
    if head.kind == "softmax":
        return _first_values(tuple(map(tuple, head.channels)), values.device)[values.argmax(0)]
    decided = torch.zeros(values.shape[1:], dtype=torch.uint8, device=values.device)
    for channel, label in enumerate(region_order(head)):
        decided.masked_fill_(values[channel] > 0.5, label)
    return decided


def region_order(head: Head) -> list[int]:
    """Label that each region writes: the one that no later region holds."""
    order = []
    for index, values in enumerate(head.channels):
        later = {v for other in head.channels[index + 1 :] for v in other}
        own = [v for v in values if v not in later]
        order.append((own or list(values))[0])
    return order


def loss(
    outputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    progress: Progress,
    spec: Spec,
    *,
    batch_dice: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Dice + cross-entropy of the heads that the stage names; see ``Architecture.loss``.

    With ``batch_dice`` the Dice part takes the batch as one volume.
    """
    stage = next((s for s in spec.stages if s.name == progress.stage), spec.stages[0])
    total: Tensor | None = None
    parts: dict[str, Tensor] = {}
    for name, weight in head_weights(spec, stage).items():
        head = next(h for h in spec.heads if h.name == name)
        for part, value in head_losses(outputs[name], targets[name], head, batch_dice).items():
            parts[part if len(spec.heads) == 1 else f"{name}.{part}"] = value.detach()
            total = weight * value if total is None else total + weight * value
    if total is None:
        raise ContractError(f"stage '{stage.name}' names no head of this architecture.")
    return total, parts


def head_weights(spec: Spec, stage: Stage) -> dict[str, float]:
    """Weight of each head that counts in a stage, for the default loss."""
    heads = [h for h in spec.heads if stage.heads is None or h.name in stage.heads]
    primary = spec.primary
    scales = [h for h in heads if h.kind == primary.kind and h.grid == primary.grid]
    weights = {h.name: 1.0 for h in heads}
    if len({h.stride for h in scales}) > 1:
        scales.sort(key=lambda h: h.stride[0] * h.stride[1] * h.stride[2])
        raw = [0.5**index for index in range(len(scales) - 1)] + [0.0]
        weights.update({h.name: w / sum(raw) for h, w in zip(scales, raw, strict=True)})
    return weights


def head_losses(
    logits: Tensor, target: Tensor, head: Head, batch_dice: bool = False
) -> dict[str, Tensor]:
    """Dice and cross-entropy of one head; a scalar head has cross-entropy only."""
    options = {"numerator_smooth": 1e-5, "denominator_smooth": 1e-5, "batch": batch_dice}
    if head.kind == "softmax":
        coded = losses.one_hot(target, logits.shape[1])
        probabilities = logits.float().softmax(1)
        dice = losses.soft_dice(probabilities, coded, foreground_only=True, **options)  # type: ignore[arg-type]
        return {"dice": dice, "cross_entropy": losses.cross_entropy(logits, target)}
    balanced = head.kind == "boundary"
    entropy = losses.binary_cross_entropy(logits, target, balanced=balanced)
    if head.kind == "scalar":
        return {"cross_entropy": entropy}
    dice = losses.soft_dice(logits.float().sigmoid(), target, **options)  # type: ignore[arg-type]
    return {"dice": dice, "cross_entropy": entropy}


def softmax_spec(
    config: Mapping[str, Setting],
    task: Task,
    size_rule: SizeRule,
    paper_patch: Shape,
    **fields: Any,
) -> Spec:
    """Spec of a plain network: one grid ``image``, one softmax head ``segmentation``."""
    patch, output = size_rule.nearest(task.patch or paper_patch)
    channels = ((0,), *((value,) for _, value in task.labels))
    return Spec(
        config=tuple(config.items()),
        labels=task.labels,
        grids=(Grid("image", patch),),
        heads=(Head("segmentation", "softmax", channels, output),),
        size_rule=size_rule,
        **fields,
    )


def require_labels(labels: Labels, names: Sequence[str], remedy: str) -> dict[str, int]:
    """Values of labels that an architecture cannot do without.

    Parameters
    ----------
    labels : tuple of (str, int)
        The task's.
    names : sequence of str
        Labels that are needed.
    remedy : str
        What to do where one is missing, such as which key to set.

    Returns
    -------
    dict
        {name: value} of the needed labels.

    Raises
    ------
    LabelsError
        One is missing. The architecture then is a row that says so, and nothing of it is trained.
    """
    known = dict(labels)
    lacking = [name for name in names if name not in known]
    if lacking:
        raise LabelsError(
            f"the labels are {', '.join(known)}, and none is called "
            f"{' or '.join(lacking)}: {remedy}"
        )
    return {name: known[name] for name in names}
