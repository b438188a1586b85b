"""What makes a trial another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitsbench.architecture import KITS21
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import resolve
from kitsbench.experiments.plan import identity
from kitsbench.experiments.plan.entrants import choose_entrants
from kitsbench.training.budget import Budget

KNOWN = {
    "dataset": "f" * 32,
    "preparation": {"image": "p" * 16},
    "split": "s" * 16,
    "fold": 0,
    "seed": 0,
    "budget": Budget(5.0, "steps"),
    "precision": "float32",
    "device_class": "cpu: one, 2 threads",
    "members": (),
}


def identify(name="unet3d", **fields):
    request = Request(Path("none"), (name,))
    resolved = resolve(request, dict(KITS21), "cpu")
    (entrant,) = choose_entrants(request, resolved, KITS21)
    return identity.identify(entrant, **{**KNOWN, **fields})


def test_raising_the_number_for_numerics_makes_every_trial_another(monkeypatch):
    before = identify()
    assert before.numerics == identity.NUMERICS
    monkeypatch.setattr(identity, "NUMERICS", identity.NUMERICS + 1)
    after = identify()
    assert after.digest() != before.digest()
    assert after == before.model_copy(update={"numerics": before.numerics + 1})


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset": "0" * 32},
        {"preparation": {"image": "0" * 16}},
        {"split": "0" * 16},
        {"fold": 1},
        {"seed": 1},
        {"budget": Budget(6.0, "steps")},
        {"precision": "bfloat16"},
        {"members": ("0" * 16,)},
        {"compile": True},
        {"name": "unet3d:width=0.5"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_decides_the_numbers_is_part_of_the_id(fields):
    assert identify(**fields).digest() != identify().digest()


def test_the_machine_counts_for_budgets_in_seconds_only():
    other = {"device_class": "cpu: another, 2 threads"}
    assert identify(**other).digest() == identify().digest()
    seconds = {"budget": Budget(5.0, "seconds")}
    assert identify(**seconds, **other).digest() != identify(**seconds).digest()
