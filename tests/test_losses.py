"""Loss parts against MONAI, torch, and sums done by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kitsbench import losses


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 6, 7, generator=generator)
    labels = torch.randint(0, 4, (2, 5, 6, 7), generator=generator)
    labels[1][labels[1] == 3] = 0  # a class that one sample lacks
    return logits, labels


def test_one_hot_agrees_with_torch(case):
    _, labels = case
    expected = F.one_hot(labels, 4).movedim(-1, 1).float()
    assert torch.equal(losses.one_hot(labels, 4), expected)
    assert losses.one_hot(labels.to(torch.uint8), 4, torch.float16).dtype == torch.float16


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("foreground_only", [False, True])
@pytest.mark.parametrize("smooth", [0.0, 1e-5, 1.0])
def test_soft_dice_agrees_with_monai(case, squared, batch, foreground_only, smooth):
    from monai.losses import DiceLoss

    logits, labels = case
    reference = DiceLoss(
        include_background=not foreground_only,
        to_onehot_y=True,
        softmax=True,
        squared_pred=squared,
        batch=batch,
        smooth_nr=smooth,
        smooth_dr=1e-5,
    )
    mine = losses.soft_dice(
        logits.softmax(1),
        losses.one_hot(labels, 4),
        squared=squared,
        batch=batch,
        foreground_only=foreground_only,
        numerator_smooth=smooth,
        denominator_smooth=1e-5,
    )
    assert mine.item() == pytest.approx(reference(logits, labels.unsqueeze(1)).item(), abs=1e-6)


def test_an_absent_class_has_no_gradient_without_smoothing_above():
    for smooth, moves in ((0.0, False), (1e-3, True)):
        probabilities = torch.full((1, 1, 2, 2, 2), 0.01, requires_grad=True)
        loss = losses.soft_dice(probabilities, torch.zeros(1, 1, 2, 2, 2), numerator_smooth=smooth)
        loss.backward()
        assert bool(probabilities.grad.abs().sum() > 0) == moves


def test_dice_sums_in_single_precision():
    """In float16, 40 000 ones would already be rounded."""
    probabilities = torch.ones(1, 1, 40, 40, 40, dtype=torch.float16)
    loss = losses.soft_dice(probabilities, probabilities)
    assert torch.isfinite(loss)
    assert loss.item() == pytest.approx(0, abs=1e-6)


HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("channels", [3, 5])
def test_losses_of_half_precision_logits_are_those_of_double(dtype, spread, channels):
    """As under automatic mixed precision: the logits are rounded, and nothing after them."""
    generator = torch.Generator().manual_seed(1)
    shape = (2, channels, 40, 40, 40)
    logits = (spread * torch.randn(shape, generator=generator)).to(dtype).requires_grad_()
    exact = logits.detach().double()
    labels = torch.randint(0, channels, (2, *shape[2:]), generator=generator)
    labels[0] = 0  # of the other classes nothing but the smoothing is left
    coded = F.one_hot(labels, channels).movedim(-1, 1).double()
    share = exact.softmax(1)
    axes = (2, 3, 4)
    dice = 2 * (share * coded).sum(axes) / (share.sum(axes) + coded.sum(axes) + 1e-7)
    negative = 1 - coded.mean((0, 2, 3, 4), keepdim=True)
    weights = negative * coded + (1 - negative) * (1 - coded)
    binary = F.binary_cross_entropy_with_logits(exact, coded, reduction="none")
    expected = [
        1 - dice.mean(),
        F.cross_entropy(exact, labels),
        (weights * binary).mean(),
        (exact.sigmoid() - coded).square().mean(),
    ]
    with torch.autocast("cpu", dtype):
        found = [
            losses.soft_dice(
                logits.float().softmax(1), losses.one_hot(labels, channels), denominator_smooth=1e-7
            ),
            losses.cross_entropy(logits, labels),
            losses.binary_cross_entropy(logits, coded.to(dtype), balanced=True),
            losses.mean_squared_error(logits.float().sigmoid(), coded.to(dtype)),
        ]
    for value, wanted in zip(found, expected, strict=True):
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(wanted.item(), rel=1e-5)
    (1e4 * sum(found)).backward()  # as a loss scaler does
    assert torch.isfinite(logits.grad).all()


def test_cross_entropy_agrees_with_torch(case):
    logits, labels = case
    assert losses.cross_entropy(logits, labels).item() == pytest.approx(
        F.cross_entropy(logits, labels).item()
    )


def test_class_weights_multiply_and_the_mean_is_over_voxels(case):
    logits, labels = case
    weights = torch.tensor([0.1, 1.0, 2.0, 5.0])
    voxels = -logits.log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1) * weights[labels]
    assert losses.cross_entropy(logits, labels, weights=weights).item() == pytest.approx(
        voxels.mean().item(), rel=1e-5
    )


@settings(max_examples=30)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.floats(0.01, 1))
def test_top_k_keeps_the_largest(values, share):
    count = max(1, int(share * len(values)))
    if share == 1:
        count = len(values)
    expected = sum(sorted(values, reverse=True)[:count]) / count
    found = losses.top_k_mean(torch.tensor(values, dtype=torch.float64), share).item()
    assert found == pytest.approx(expected, abs=1e-9)


def test_seventy_percent_of_512_voxels_are_358():
    values = torch.arange(512.0)
    assert losses.top_k_mean(values, 0.7) == values[-358:].mean()


def test_all_voxels_kept_is_plain_cross_entropy(case):
    logits, labels = case
    plain = losses.cross_entropy(logits, labels)
    assert losses.cross_entropy(logits, labels, top_k=1.0) == plain
    assert losses.cross_entropy(logits, labels, top_k=0.7) > plain


def test_binary_cross_entropy_agrees_with_torch(case):
    logits, labels = case
    target = (labels.unsqueeze(1) == torch.arange(4).reshape(1, 4, 1, 1, 1)).float()
    assert losses.binary_cross_entropy(logits, target).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(logits, target).item()
    )


def test_balanced_entropy_weights_each_side_by_the_share_of_the_other():
    target = torch.zeros(1, 1, 10, 1, 1)
    target[:, :, 0] = 1
    loss = losses.binary_cross_entropy(torch.zeros_like(target), target, balanced=True)
    # One positive voxel of weight 0.9 and nine negative ones of weight 0.1.
    assert loss.item() == pytest.approx((0.9 + 9 * 0.1) / 10 * math.log(2))
    empty = torch.zeros_like(target)
    assert losses.binary_cross_entropy(torch.randn_like(target), empty, balanced=True) == 0


def test_the_parts_take_scalar_heads():
    logits, target = torch.tensor([[2.0], [-1.0]]), torch.tensor([[1.0], [0.0]])
    assert losses.binary_cross_entropy(logits, target, balanced=True).item() == pytest.approx(
        0.5 * F.binary_cross_entropy_with_logits(logits, target).item()
    )
    assert losses.mean_squared_error(logits.sigmoid(), target).item() == pytest.approx(
        ((logits.sigmoid() - target) ** 2).mean().item()
    )


@pytest.mark.parametrize("value", [0.0, 80.0, -80.0])
def test_extreme_logits_stay_finite(value):
    logits = torch.full((1, 2, 3, 3, 3), value, requires_grad=True)
    labels = torch.ones(1, 3, 3, 3, dtype=torch.int64)
    total = (
        losses.cross_entropy(logits, labels)
        + losses.binary_cross_entropy(logits, torch.ones_like(logits), balanced=True)
        + losses.soft_dice(logits.softmax(1), losses.one_hot(labels, 2))
    )
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(logits.grad).all()
