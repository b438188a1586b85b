"""The axis of costs: plain numbers, and no spread where there is none."""

from __future__ import annotations

import re

import pytest

from kitsbench.reporting.drawing.tradeoff_plot import tradeoff

COST = "Device time, min"


def texts(costs):
    """What the axes say, in their order."""
    points = [(f"net{number}", cost, 0.5 + 0.1 * number) for number, cost in enumerate(costs)]
    names = [name for name, _, _ in points]
    found = tradeoff({COST: points}, {COST: {"net0"}}, "Mean tumour Dice", names)
    return re.findall(r"<text[^>]*>([^<]*)</text>", found.svg)


@pytest.mark.parametrize(
    "costs", [[0.3333, 0.3334], [1, 20, 25], [0.01, 3, 5000], [9000, 20_000, 50_000], [2, 2e5]]
)
def test_ticks_are_plain_numbers(costs):
    found = texts(costs)
    shown = found[: found.index(COST)]
    assert all(re.fullmatch(r"\d+(\.\d+)?", text) for text in shown)
    ticks = [float(text) for text in shown]
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(ticks)


def test_costs_that_differ_by_noise_alone_lie_together():
    found = texts([0.3333, 0.3334])
    ticks = [float(text) for text in found[: found.index(COST)]]
    assert max(ticks) / min(ticks) > 1.4
