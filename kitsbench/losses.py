"""Parts that a loss is made of, for the default hooks and for plugins.

Shapes: a batch of B samples with C channels on a grid (z, y, x) is (B, C, z, y, x). Every
function returns a scalar tensor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot(labels: Tensor, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Channel-first one-hot coding.

    Parameters
    ----------
    labels : Tensor
        Channel indices, (B, z, y, x), integer.
    channels : int
        Number of channels C.

    Returns
    -------
    Tensor
        (B, C, z, y, x).
    """
    shape = (labels.shape[0], channels, *labels.shape[1:])
    coded = torch.zeros(shape, dtype=dtype, device=labels.device)
    return coded.scatter_(1, labels.long().unsqueeze(1), 1)


def soft_dice(
    probabilities: Tensor,
    target: Tensor,
    *,
    squared: bool = False,
    batch: bool = False,
    foreground_only: bool = False,
    numerator_smooth: float = 0.0,
    denominator_smooth: float = 1e-5,
) -> Tensor:
    """One minus the mean soft Dice coefficient.

    Parameters
    ----------
    probabilities, target : Tensor
        (B, C, z, y, x), the target in [0, 1].
    squared : bool
        Squares in the denominator (Milletari et al. 2016).
    batch : bool
        Sum over the whole batch as one volume instead of per sample.
    foreground_only : bool
        Leave out channel 0.
    numerator_smooth, denominator_smooth : float
        Added above and below the fraction. With no smoothing above, a channel that is absent from
        the target has Dice 0 and no gradient.
    """
    if foreground_only:
        probabilities, target = probabilities[:, 1:], target[:, 1:]
    # Sums over many voxels lose precision in half precision.
    probabilities, target = probabilities.float(), target.float()
    axes = (0, 2, 3, 4) if batch else (2, 3, 4)
    overlap = (probabilities * target).sum(axes)
    if squared:
        total = (probabilities**2).sum(axes) + (target**2).sum(axes)
    else:
        total = probabilities.sum(axes) + target.sum(axes)
    return 1 - ((2 * overlap + numerator_smooth) / (total + denominator_smooth)).mean()


def top_k_mean(losses: Tensor, share: float = 1.0) -> Tensor:
    """Mean of the largest ``share`` of all values, rounded down (online hard example mining)."""
    if share >= 1:
        return losses.mean()
    flat = losses.flatten()
    return flat.topk(max(1, int(share * flat.numel())), sorted=False).values.mean()


def cross_entropy(
    logits: Tensor, labels: Tensor, *, weights: Tensor | None = None, top_k: float = 1.0
) -> Tensor:
    """Softmax cross-entropy, averaged over voxels.

    Parameters
    ----------
    logits : Tensor
        (B, C, z, y, x).
    labels : Tensor
        Channel indices, (B, z, y, x).
    weights : Tensor, optional
        (C,), multiplied before ranking; the mean is over voxels, not over weights.
    top_k : float
        Share of the largest voxel losses that is kept.
    """
    voxels = F.cross_entropy(logits.float(), labels.long(), weight=weights, reduction="none")
    return top_k_mean(voxels, top_k)


def binary_cross_entropy(
    logits: Tensor, target: Tensor, *, balanced: bool = False, top_k: float = 1.0
) -> Tensor:
    """Sigmoid cross-entropy, averaged over voxels and channels.

    Parameters
    ----------
    logits, target : Tensor
        Same shape, channel axis 1, target in [0, 1].
    balanced : bool
        Weight the positive voxels of a channel by the share of negative ones in the batch and
        the other way round (Xie and Tu 2015; Takikawa et al. 2019).
    top_k : float
        Share of the largest losses that is kept.
    """
    logits, target = logits.float(), target.float()
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if balanced:
        axes = (0, *range(2, target.ndim))
        negative = 1 - target.mean(axes, keepdim=True)
        losses = losses * (negative * target + (1 - negative) * (1 - target))
    return top_k_mean(losses, top_k)


def mean_squared_error(probabilities: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of probabilities and targets of the same shape."""
    return F.mse_loss(probabilities.float(), target.float())
