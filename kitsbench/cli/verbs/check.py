"""``kitsbench check``: whether a plugin keeps the contract."""

from __future__ import annotations

import click

from kitsbench.cli.options import architecture_argument, json_option, labels_option
from kitsbench.cli.output import print_json, say


@click.command("check")
@architecture_argument
@labels_option(
    default="kits19", meaning="Labels of the task: kidney and tumour, or these and cyst."
)
@json_option
def command(architecture: str, labels: str, as_json: bool) -> int:
    """Check that a plugin keeps the contract; a few seconds on a CPU.

    ARCH is a name from `kitsbench list`, FILE.py a file that defines one architecture. The size
    `tiny` is checked where there is one. Exit code 1 if a check fails.
    """
    from kitsbench.cli.progress import working
    from kitsbench.conformance.apart import check_apart
    from kitsbench.registry import find, parse_request
    from kitsbench.spec import KITS19, KITS21, Task

    name, settings = parse_request(architecture)
    find(name)
    task = Task(KITS19 if labels == "kits19" else KITS21)
    with working("Checking ...") as doing:
        report = check_apart(name, settings, task, lambda what: doing(f"{what} ..."))
    if as_json:
        print_json(report.to_dict())
    else:
        for outcome in report.checks:
            mark = "ok    " if outcome.passed else "FAILED"
            say(f"{mark} {outcome.name}{': ' * bool(outcome.message)}{outcome.message}")
        failed = sum(not outcome.passed for outcome in report.checks)
        total = len(report.checks)
        say(
            f"{report.architecture} keeps the contract: {total} checks passed."
            if not failed
            else f"{report.architecture} does not keep the contract: {failed} of {total} failed."
        )
    return 0 if report.passed else 1
