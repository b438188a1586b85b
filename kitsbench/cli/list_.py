"""``kitsbench list``: the architectures that are installed."""

from __future__ import annotations

from typing import Any

import click

from kitsbench.cli.options import json_option
from kitsbench.cli.output import print_json, print_table, tell


@click.command("list")
@click.option(
    "--load", "with_load", is_flag=True, help="Import each plugin and say whether it works."
)
@json_option
def command(with_load: bool, as_json: bool) -> None:
    """List the architectures that are installed.

    Without --load no plugin is imported and each status is `available`. With --load it is `ok`,
    `missing dependency` or `broken`, with the reason, and parameters are counted at paper size.
    """
    from kitsbench import registry
    from kitsbench.isolation import prints_on_stderr

    with prints_on_stderr():
        entries = registry.load_all() if with_load else registry.discover()
        rows = [_row(entry) for entry in entries]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("No architecture is installed. Get the reference ones: kitsbench-plugins.")
        return
    names = ["name", "title", "parameters", "status", "distribution", "version", "paper", "error"]
    shown = [name for name in names if any(row.get(name) for row in rows)]
    print_table(shown, [[row.get(name) for name in shown] for row in rows])
    if not with_load:
        tell("Titles and parameters: kitsbench list --load")


def _row(entry: Any) -> dict[str, Any]:
    row: dict[str, Any] = entry.to_dict()
    if entry.instance is not None:
        from kitsbench.registry import count_parameters

        try:
            row["parameters"] = count_parameters(entry.instance)
        except Exception as error:  # a faulty plugin is a row, never a crash
            lines = str(error).splitlines() or [""]
            row |= {"status": "broken", "error": f"{type(error).__name__}: {lines[0]}"}
    return row
