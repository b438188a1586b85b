"""The plateau rule does under every budget what torch's does in the full schedule."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from kitsbench.recipe import Schedule
from kitsbench.training.optimisation.plateau import Plateau

EPOCHS, STEPS, PATIENCE, KEPT = 1000, 84, 30, 0.93
RATE, FACTOR, STOP = 3e-4, 0.2, 1e-6
RULE = Schedule(
    "plateau",
    factor=FACTOR,
    patience=PATIENCE / EPOCHS,
    memory=-1 / EPOCHS / np.log(KEPT),
    full=EPOCHS * STEPS,
    least=STOP / RATE,
)
# How a loss may fall with the share of a schedule that is done, and its noise in one step.
SHAPES = {
    "fast": (lambda p: 0.25 + 1.2 * np.exp(-12 * p), 0.1),
    "usual": (lambda p: 0.25 + 1.2 * np.exp(-6 * p), 0.1),
    "noisy": (lambda p: 0.25 + 1.2 * np.exp(-6 * p), 0.2),
    "slow": (lambda p: 0.25 + 1.2 * np.exp(-3 * p), 0.1),
    "late": (lambda p: 0.25 + 1.2 / (1 + np.exp(12 * (p - 0.2))), 0.1),
    "power": (lambda p: 0.2 + 0.3 / (p + 0.1) ** 0.5, 0.2),
}
# Steps, and by how much of the schedule the median first cut may lie elsewhere.
BANDS = {300: 0.21, 1000: 0.21, 5000: 0.11}


def by_torch(trend, noise, seed):
    """Where the rule of the paper cuts, by torch's scheduler on the full schedule."""
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    rule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=FACTOR, patience=PATIENCE, threshold=3e-7, threshold_mode="abs"
    )
    places = (np.arange(EPOCHS)[:, None] + np.arange(STEPS) / STEPS) / EPOCHS
    losses = (trend(places) + noise * rng.standard_normal(places.shape)).mean(axis=1)
    cuts, average = [], losses[0]
    for epoch, loss in enumerate(losses):
        average = KEPT * average + (1 - KEPT) * loss
        before = optimiser.param_groups[0]["lr"]
        rule.step(average)
        if optimiser.param_groups[0]["lr"] < before:
            cuts.append((epoch + 1) / EPOCHS)
        if optimiser.param_groups[0]["lr"] < STOP:
            break
    return cuts


def by_us(trend, noise, seed, steps):
    rng = np.random.default_rng(1000 + seed)
    plateau, cuts = Plateau({}), []
    for step in range(steps):
        progress = step / steps
        loss = float(trend(progress) + noise * rng.standard_normal())
        if plateau.observe(loss, RULE, progress):
            cuts.append(progress)
    return cuts, plateau.state["factor"]


@pytest.mark.parametrize("shape", SHAPES)
def test_first_cut_and_number_are_those_of_the_full_schedule(shape):
    trend, noise = SHAPES[shape]
    theirs = [by_torch(trend, noise, seed) for seed in range(5)]
    first = np.median([cuts[0] if cuts else 1.0 for cuts in theirs])
    number = np.median([len(cuts) for cuts in theirs])
    for steps, band in BANDS.items():
        ours = [by_us(trend, noise, seed, steps) for seed in range(5 if steps < 5000 else 3)]
        found = np.median([cuts[0] if cuts else 1.0 for cuts, _ in ours])
        assert abs(found - first) <= band, (steps, found, first)
        assert abs(np.median([len(cuts) for cuts, _ in ours]) - number) <= 1, steps
        assert all(factor >= RULE.least for _, factor in ours)


def test_a_loss_that_stands_still_is_a_plateau_however_short_the_budget():
    for steps in (10, 20, 100):
        plateau = Plateau({})
        cuts = [s for s in range(steps) if plateau.observe(1.0, Schedule("plateau"), s / steps)]
        # Not before there are losses that tell, nor before 0.3 of the budget.
        assert cuts[0] == max(3, int(0.3 * steps))
        assert plateau.state["factor"] == pytest.approx(0.1 ** len(cuts))


def test_a_loss_that_falls_without_noise_is_none():
    plateau = Plateau({})
    assert not any(
        plateau.observe(1.0 - s / 200, Schedule("plateau", patience=0.05), s / 200)
        for s in range(200)
    )


def test_its_state_is_plain_and_goes_on_as_if_nothing_had_happened():
    trend, noise = SHAPES["noisy"]
    whole, _ = by_us(trend, noise, 3, 400)
    rng = np.random.default_rng(1003)
    state, cuts = {}, []
    for step in range(400):
        state = json.loads(json.dumps(state))
        loss = float(trend(step / 400) + noise * rng.standard_normal())
        if Plateau(state).observe(loss, RULE, step / 400):
            cuts.append(step / 400)
    assert cuts == whole
