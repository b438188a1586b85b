"""``kitsbench check``: whether a plugin keeps the contract."""

from __future__ import annotations

import contextlib
import json
import sys

import click


@click.command("check")
@click.argument("architecture", metavar="ARCH|FILE.py[:key=value,...]")
@click.option(
    "--labels",
    type=click.Choice(["kits19", "kits21"]),
    default="kits19",
    show_default=True,
    help="Labels of the task: kidney and tumour, or these and cyst.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(architecture: str, labels: str, as_json: bool) -> int:
    """Check that a plugin keeps the contract; a few seconds on a CPU.

    ARCH is a name from `kitsbench list`, FILE.py a file that defines one architecture. The size
    `tiny` is checked where there is one. Exit code 1 if a check fails.
    """
    from kitsbench import conformance, registry
    from kitsbench.spec import KITS19, KITS21, Task

    name, settings = registry.parse_request(architecture)

    def show(what: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{what} ...", nl=False, err=True)

    task = Task(KITS19 if labels == "kits19" else KITS21)
    with contextlib.redirect_stdout(sys.stderr):  # a plugin that talks must not spoil the JSON
        report = conformance.check(name, settings, task, progress=show)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        for outcome in report.checks:
            mark = "ok    " if outcome.passed else "FAILED"
            click.echo(f"{mark} {outcome.name}{': ' * (not outcome.passed)}{outcome.message}")
        failed = sum(not outcome.passed for outcome in report.checks)
        total = len(report.checks)
        click.echo(
            f"{report.architecture} keeps the contract: {total} checks passed."
            if not failed
            else f"{report.architecture} does not keep the contract: {failed} of {total} failed."
        )
    return 0 if report.passed else 1
