"""The head of a card is YAML, whatever stands in names."""

from __future__ import annotations

import pytest
from reporting.workdirs import Plan, trial_record

from kitsbench.exporting.card import card

RULES = {
    "architecture": "net",
    "trial": "0" * 16,
    "labels": {"kidney": 1},
    "plugin": {"name": "net", "distribution": "d", "version": "1"},
    "axes": "z, y, x",
    "input": {"spacing": [3.0, 1.0, 1.0], "spacing_is": "mm", "patch": [16, 16, 16]},
    "decision": {},
}


@pytest.mark.parametrize(
    "name", ["plain", "\U0001f600", "a: b # c", "\"'", "line\nbreak\u2028", "\x7f\x85", "\\ud83d"]
)
def test_a_name_is_read_back_as_it_was(name):
    yaml = pytest.importorskip("yaml")
    trial = trial_record(Plan({"net": 0.0}), "net", 0, 0)
    context = trial.context.model_copy(update={"dataset_name": name})
    trial = trial.model_copy(update={"context": context})
    text = card(RULES, trial, {("kits19", "tumor", "dice"): (0.5, 4)}, ["torchscript"], {})
    begin, head, _ = text.split("---\n", 2)
    assert begin == ""
    (result,) = yaml.safe_load(head)["model-index"][0]["results"]
    assert result["dataset"]["type"] == name
