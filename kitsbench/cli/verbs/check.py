"""``kitsbench check``: whether a plugin keeps the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kitsbench.cli.options import (
    architecture_argument,
    compile_option,
    json_option,
    labels_option,
)
from kitsbench.cli.output import print_json, say

if TYPE_CHECKING:
    from kitsbench.conformance import Outcome, Report


@click.command("check")
@architecture_argument
@labels_option(
    default="kits19", meaning="Labels of the task: kidney and tumour, or these and cyst."
)
@compile_option
@json_option
def command(architecture: str, labels: str, compile: bool, as_json: bool) -> int:
    """Check that a plugin keeps the contract; some seconds on a CPU.

    ARCH is a name from `kitsbench list`, FILE.py a file that defines one architecture. The size
    `tiny` is checked where there is one. Exit code 1 if a check fails that the plugin does not
    declare in expected_failures.
    """
    from kitsbench.cli.progress import working
    from kitsbench.conformance.apart import check_apart
    from kitsbench.registry import find, parse_request
    from kitsbench.spec import KITS19, KITS21, Task

    name, settings = parse_request(architecture)
    find(name)
    task = Task(KITS19 if labels == "kits19" else KITS21)
    with working("Checking ...") as doing:
        report = check_apart(
            name, settings, task, lambda what: doing(f"{what} ..."), compile=compile
        )
    if as_json:
        print_json(report.to_dict())
    else:
        for outcome in report.checks:
            say(f"{_mark(outcome)} {outcome.name}{': ' * bool(outcome.message)}{outcome.message}")
            if outcome.expected is not None and not outcome.passed:
                say(f"       Expected: {outcome.expected}")
        say(_summary(report))
    return 0 if report.passed else 1


def _mark(outcome: Outcome) -> str:
    if outcome.passed:
        return "ok    "
    return "failed" if outcome.kept else "FAILED"


def _summary(report: Report) -> str:
    total = len(report.checks)
    failed = sum(not outcome.kept for outcome in report.checks)
    expected = sum(outcome.kept and not outcome.passed for outcome in report.checks)
    as_declared = f", {expected} failed as expected" if expected else ""
    if failed:
        return (
            f"{report.architecture} does not keep the contract: {failed} of {total} failed"
            f"{as_declared}."
        )
    passed = total - expected
    return f"{report.architecture} keeps the contract: {passed} checks passed{as_declared}."
