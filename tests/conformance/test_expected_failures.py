"""Failures that a plugin declares, with its reason, are shown and counted apart."""

from __future__ import annotations

import pytest
from architectures import Smallest, broken
from command_line import call_kitsbench

from kitsbench import conformance

REASON = "the paper normalises over the batch"
FAILING = "evaluation is deterministic"


class Declares(broken.NormalisesOverTheBatch):
    expected_failures = {FAILING: REASON}  # noqa: RUF012


def test_a_declared_failure_fails_and_the_contract_is_kept_all_the_same():
    report = conformance.check(Declares)
    row = next(outcome for outcome in report.checks if outcome.name == FAILING)
    assert (row.passed, row.expected) == (False, REASON)
    assert "rest of its batch" in row.message
    assert report.passed
    rows = {check["name"]: check for check in report.to_dict()["checks"]}
    assert rows[FAILING]["expected"] == REASON
    assert set(rows["loads"]) == {"name", "passed", "message"}
    # What would only be told where all is well is told here too.
    assert rows["learns one volume"]["message"] == ""


def test_in_a_test_it_is_a_warning_and_any_other_failure_is_one():
    checks = {check.name: check for check in conformance.checks(Declares)}
    with pytest.warns(conformance.ExpectedFailure, match=REASON):
        checks[FAILING]()
    with pytest.raises(conformance.Violation):
        next(c for c in conformance.checks(broken.RandomInEvaluation) if c.name == FAILING)()


def test_an_expected_failure_that_passes_is_told():
    class Repaired(Smallest):
        expected_failures = {FAILING: REASON}  # noqa: RUF012

    check = next(c for c in conformance.checks(Repaired) if c.name == FAILING)
    found = check.outcome()
    assert found.passed
    assert found.message == f"It passes, though expected_failures says '{REASON}': take that out."
    with pytest.warns(conformance.Hint, match="take that out"):
        check()


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"evaluation is determined": REASON}, f"did you mean '{FAILING}'"),
        ({FAILING: ""}, f"gives no reason for '{FAILING}'"),
        ([FAILING], "expected_failures is a list"),
    ],
)
def test_what_is_declared_wrongly_is_refused(declared, text):
    class Odd(Smallest):
        expected_failures = declared

    (outcome,) = conformance.check(Odd).checks
    assert (outcome.name, outcome.passed) == ("loads", False)
    assert text in outcome.message


SOURCE = f"""
from torch import nn
from kitsbench.architecture import Architecture, Plain

class Network(nn.Sequential):
    def forward(self, images):
        return super().forward(images - images.mean(0, keepdim=True) / 9)

class Own(Architecture):
    expected_failures = {{"{FAILING}": "{REASON}"}}

    def build(self, spec):
        layers = [nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, spec.classes, 1)]
        return Plain(Network(*layers))
"""


def test_on_the_command_line_they_are_counted_apart(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    done = call_kitsbench("check", path)
    assert done.code == 0
    text = " ".join(done.out.split())
    assert f"failed {FAILING}: head 'segmentation' of a sample depends" in text
    assert f"Expected: {REASON}" in text
    passed = len(conformance.checks(path)) - 1
    assert f"own keeps the contract: {passed} checks passed, 1 failed as expected." in text
