"""``kitsbench check``: whether a plugin keeps the contract."""

from __future__ import annotations

from pathlib import Path
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
    `tiny` is checked where there is one. A folder in its place is one of label maps that another
    system made, for `run --predictions`: their voxels are read. Exit code 1 if a check fails that
    the plugin does not declare in expected_failures.
    """
    from kitsbench.cli.progress import working
    from kitsbench.conformance.apart import check_apart
    from kitsbench.conformance.label_maps import check_label_maps
    from kitsbench.registry import discover, find, parse_request
    from kitsbench.spec import KITS19, KITS21, Task

    task = Task(KITS19 if labels == "kits19" else KITS21)
    folder = Path(architecture)
    with working("Checking ...") as doing:

        def say_what(what: str) -> None:
            doing(f"{what} ...")

        # An installed one is meant where a folder here is called like it, as a scaffold's is; nor
        # does anybody keep label maps in a package.
        maps = folder.is_dir() and not any(folder.glob("*.py"))
        if maps and architecture not in {entry.name for entry in discover()}:
            report = check_label_maps(folder, task, say_what)
        else:
            name, settings = parse_request(architecture)
            find(name)
            report = check_apart(name, settings, task, say_what, compile=compile)
    if as_json:
        print_json(report.to_dict())
    else:
        for outcome in report.checks:
            if not outcome.reached:
                continue
            say(f"{_mark(outcome)} {outcome.name}{': ' * bool(outcome.message)}{outcome.message}")
            if outcome.expected is not None and not outcome.passed:
                say(f"       Expected: {outcome.expected}")
        for line in _not_reached(report):
            say(line)
        say(_summary(report))
    return 0 if report.passed else 1


def _mark(outcome: Outcome) -> str:
    if outcome.passed:
        return "ok    "
    return "failed" if outcome.kept else "FAILED"


def _not_reached(report: Report) -> list[str]:
    """A line for each reason for which checks were not run."""
    reasons: dict[str, list[str]] = {}
    for outcome in report.checks:
        if not outcome.reached:
            reasons.setdefault(outcome.message, []).append(outcome.name)
    return [
        f"-      not reached: {len(names)}{reason.removeprefix('Not reached').rstrip('.')} "
        f"({', '.join(names)})"
        for reason, names in reasons.items()
    ]


def _summary(report: Report) -> str:
    counts = report.counts
    others = f", {counts['expected']} failed as expected" if counts["expected"] else ""
    others += f", {counts['not_reached']} not reached" if counts["not_reached"] else ""
    if not report.passed:
        return (
            f"{report.architecture} does not keep the contract: {counts['failed']} of "
            f"{len(report.checks)} failed{others}."
        )
    return f"{report.architecture} keeps the contract: {counts['passed']} checks passed{others}."
