"""Failures that a plugin declares, with its reason, are shown and counted apart."""

from __future__ import annotations

import pytest
from architectures import Smallest, broken
from command_line import call_kitsbench

from kitsbench import conformance

REASON = "the paper normalises over the batch"
FAILING = "evaluation is deterministic"
AGAIN = "predicts the same again"


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


# A system has few checks, which take no time.
SOURCE = f"""
import numpy as np
from kitsbench.architecture import System

class Own(System):
    trained_on = "nothing"
    expected_failures = {{"{AGAIN}": "{REASON}"}}
    seen = 0

    def predict(self, image, spacing, spec, device):
        self.seen += 1
        return np.roll(image.numpy() > 100, self.seen, 2)
"""


def test_on_the_command_line_they_are_counted_apart(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    done = call_kitsbench("check", path)
    assert done.code == 0
    text = " ".join(done.out.split())
    assert f"failed {AGAIN}: predict() gave another label map for the same scan" in text
    assert f"Expected: {REASON}" in text
    passed = len(conformance.checks(path)) - 1
    assert f"own keeps the contract: {passed} checks passed, 1 failed as expected." in text
