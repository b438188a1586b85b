"""Budgets as people write them, and the ledger's arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitsbench.errors import UsageError
from kitsbench.training.budget import Budget
from kitsbench.training.ledger import Ledger, Price


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("90s", 90, "seconds"),
        ("10min", 600, "seconds"),
        ("2h", 7200, "seconds"),
        ("20000steps", 20000, "steps"),
        ("5e9voxels", 5e9, "voxels"),
        ("3e17flops", 3e17, "flops"),
        (" 1.5 H ", 5400, "seconds"),
    ],
)
def test_budgets_are_read(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


@pytest.mark.parametrize(
    "text",
    ["", "90", "s", "-3s", "0s", "3parsecs", "1.5steps", "1..5s", "nan s", "1e400s", "1e400steps"],
)
def test_wrong_budgets_name_the_text_and_the_rule(text):
    with pytest.raises(UsageError, match="budget"):
        Budget.parse(text)


@given(st.floats(1e-3, 1e6), st.sampled_from(["seconds", "voxels", "flops"]))
def test_a_budget_reads_back_from_its_text(amount, unit):
    budget = Budget(float(f"{amount:g}"), unit)
    assert Budget.parse(str(budget)) == budget


def test_ledger_reports_less_than_one_step_beyond_the_budget():
    ledger = Ledger(device_seconds=10.5, steps=21, patches=42)
    ledger.close(Budget(10.2, "seconds"), Price(voxels=0.0, seconds=0.5))
    assert ledger.overshoot_seconds == pytest.approx(0.3)
    assert ledger.overshoot_steps == pytest.approx(0.6)
    assert ledger.patches_per_s == pytest.approx(4)


def test_progress_never_exceeds_one():
    assert Ledger(steps=30).fraction(Budget(20, "steps")) == 1
    assert Ledger(steps=5).fraction(Budget(20, "steps")) == 0.25
