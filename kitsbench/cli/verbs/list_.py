"""``kitsbench list``: the architectures that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kitsbench.cli.options import json_option
from kitsbench.cli.output import page_width, print_json, print_table, say, tell

if TYPE_CHECKING:
    from kitsbench.registry import RegisteredArchitecture

NAMES = ["name", "title", "parameters", "status", "distribution", "version", "paper", "error"]
NARROW = NAMES[:4]
ROOM = 140  # columns that all of them take; where there are fewer, errors stand below


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
    from kitsbench.registry import discover

    entries = discover()
    if with_load:
        from kitsbench.isolation import each_isolated
        from kitsbench.registry.plugins_apart import AT_ONCE

        rows = list(each_isolated(_loaded, entries, AT_ONCE))
    else:
        rows = [entry.to_dict() for entry in entries]
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("No architecture is installed. Get the reference ones: kitsbench-plugins.")
        return
    narrow = page_width() < ROOM
    names = (NARROW if with_load else NAMES[:-1]) if narrow else NAMES
    shown = [name for name in names if any(row.get(name) for row in rows)]
    print_table(shown, [[row.get(name) for name in shown] for row in rows], whole=["status"])
    if narrow:
        for row in rows:
            if row["error"]:
                say(row["error"], str(row["name"]))
    if not with_load:
        tell("Titles and parameters: kitsbench list --load")


def _loaded(entry: RegisteredArchitecture) -> dict[str, Any]:
    """A plugin's row, made in a process of its own; a faulty plugin is a row, never a crash."""
    from kitsbench.isolation import IsolatedFailure, call_isolated
    from kitsbench.registry.plugins_apart import time_limit

    if entry.status == "broken":
        return entry.to_dict()
    try:
        row: dict[str, Any] = call_isolated(load_row, entry.name, timeout=time_limit())
    except IsolatedFailure as error:
        return {**entry.to_dict(), "status": "broken", "error": f"when it was asked {error}"}
    return row


def load_row(name: str) -> dict[str, Any]:
    """Import a plugin and count its parameters."""
    from kitsbench.architecture import System
    from kitsbench.errors import telling
    from kitsbench.registry import count_parameters, load
    from kitsbench.registry.plugins_apart import introduced

    row: dict[str, Any] = introduced(name).to_dict()
    entry = load(name)
    if entry.instance is not None and not isinstance(entry.instance, System):
        try:
            row["parameters"] = count_parameters(entry.instance)
        except Exception as error:
            row |= {"status": "broken", "error": telling(error)}
    return row
