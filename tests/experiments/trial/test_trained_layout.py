"""A network predicts in the layout in which it was trained, on a device of that kind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from kitsbench.experiments.records import LedgerRecord
from kitsbench.experiments.trial.trained import trained_layout
from kitsbench.training.ledger import Ledger


@pytest.mark.parametrize(
    ("trained_on", "predicts_on", "expected"),
    [
        ("cuda", "cuda", "channels_last_3d"),
        ("cuda", "cpu", None),
        ("cpu", "cuda", None),
    ],
)
def test_the_layout_is_that_of_the_ledger(tmp_path, trained_on, predicts_on, expected):
    spent = {**vars(Ledger(layout="channels_last_3d")), "stages": (), "lr_reductions": ()}
    ledger = LedgerRecord(
        trial="one",
        **spent,
        device=trained_on,
        device_name="a card",
        precision="bfloat16",
        threads=1,
    )
    ledger.write(tmp_path / "ledger.json")
    task = SimpleNamespace(folder=SimpleNamespace(ledger=tmp_path / "ledger.json"))
    assert trained_layout(task, torch.device(predicts_on)) == expected


def test_without_a_ledger_nothing_is_known(tmp_path):
    task = SimpleNamespace(folder=SimpleNamespace(ledger=tmp_path / "ledger.json"))
    assert trained_layout(task, torch.device("cuda")) is None
