"""``kitsbench show``: one architecture with its configuration, heads, size and recipe."""

from __future__ import annotations

from typing import Any

import click

from kitsbench.cli.options import (
    architecture_argument,
    json_option,
    labels_option,
    patch_option,
)
from kitsbench.cli.output import print_json, print_table, say
from kitsbench.cli.views.recipe_view import recipe_rows


@click.command("show")
@architecture_argument
@labels_option(
    "paper",
    default="paper",
    meaning="Labels to segment: the paper's, 2 of KiTS19, or 3 of KiTS21 and KiTS23.",
)
@patch_option(default="the paper's")
@json_option
def command(
    architecture: str, labels: str, patch: tuple[int, int, int] | None, as_json: bool
) -> None:
    """Show an architecture: configuration with provenance, parameters, grids, heads, recipe.

    ARCH is a name from `kitsbench list` or a plugin's FILE.py. Parameters are counted at paper
    size unless a width or a size is given, e.g. `kitsbench show unet3d:width=0.5`. The recipe of
    its paper stands beside the matched ones, by which all are trained on a GPU and on a CPU.
    """
    from kitsbench.isolation import call_isolated
    from kitsbench.registry import find, parse_request
    from kitsbench.registry.plugins_apart import time_limit

    find(parse_request(architecture)[0])
    document = call_isolated(describe, architecture, labels, patch, timeout=time_limit())
    if as_json:
        print_json(document)
    else:
        _print(document)


def describe(request: str, labels: str, patch: tuple[int, int, int] | None) -> dict[str, Any]:
    """What the verb prints; calls the plugin, so it belongs into a process of its own."""
    from dataclasses import replace

    from kitsbench import registry
    from kitsbench.architecture import System, configure
    from kitsbench.spec import KITS19, KITS21
    from kitsbench.training.recipes import matched

    name, settings = registry.parse_request(request)
    entry = registry.load(name)
    plugin = entry.architecture
    task = registry.paper_task(plugin)
    if labels != "paper":
        task = replace(task, labels=KITS19 if labels == "kits19" else KITS21)
    if patch is not None:
        task = replace(task, patch=patch)
    config = configure(plugin, settings)
    spec = plugin.spec(config, task)
    trains = not isinstance(plugin, System)
    return {
        "name": entry.name,
        "label": registry.display_name(name, settings),
        "title": entry.title,
        "paper": entry.paper or None,
        "distribution": entry.distribution,
        "version": entry.version or None,
        "source_hash": entry.source_hash,
        "labels": dict(task.labels),
        "parameters": registry.count_parameters(plugin, settings, task) if trains else None,
        **({} if trains else {"trained_on": list(spec.trained_on)}),
        "config": _config(plugin, config),
        "sizes": {size: dict(values) for size, values in plugin.sizes.items()},
        **{key: spec.to_dict()[key] for key in ("grids", "heads", "size_rule", "stages")},
        "members": [
            registry.display_name(member.architecture, dict(member.config)) + member.told
            for member in spec.members
        ],
        "combine": spec.combine if spec.members else None,
        "notes": list(spec.notes),
        "recipe": spec.paper.to_dict() if spec.paper else None,
        "matched": {k: matched(k).to_dict() for k in ("cuda", "cpu")} if trains else None,
    }


def _config(plugin: Any, config: dict[str, Any]) -> dict[str, Any]:
    from kitsbench.configuration import all_keys

    return {
        name: {
            "value": config[name],
            "default": key.default,
            "options": list(key.options) if key.options else None,
            "provenance": key.provenance,
            "help": key.help,
        }
        for name, key in all_keys(plugin).items()
    }


def _print(document: dict[str, Any]) -> None:
    origin = " ".join(filter(None, (document["distribution"], document["version"])))
    say(f"{document['label']}: {document['title']}")
    for line in (document["paper"], f"{origin}, source {document['source_hash']}"):
        if line:
            say(line)
    if "trained_on" in document:
        trained = " and ".join(document["trained_on"]) or "it does not say"
        say(f"Only predicts {', '.join(document['labels'])}; trained elsewhere on {trained}")
    else:
        say(f"{document['parameters']:,} parameters for {', '.join(document['labels'])}")
    for note in document["notes"]:
        say(f"Note: {note}")
    say("")
    print_table(
        ("key", "value", "default", "options", "from", "means"),
        [
            (
                name,
                str(key["value"]),
                str(key["default"]),
                ", ".join(map(str, key["options"] or ())),
                key["provenance"],
                key["help"],
            )
            for name, key in document["config"].items()
        ],
    )
    for member in document["members"]:
        say(f"Member ({document['combine']}): {member}")
    if document["grids"]:
        say("")
        print_table(
            ("grid", "voxels (z, y, x)", "voxel size relative to the first"),
            [(g["name"], _edges(g["shape"]), _edges(g["ratio"])) for g in document["grids"]],
        )
        say("")
        print_table(
            ("head", "kind", "channels", "voxels (z, y, x)", "on grid", "every", "role"),
            [
                (
                    head["name"],
                    head["kind"],
                    " ".join("+".join(map(str, channel)) for channel in head["channels"]),
                    _edges(head["shape"]),
                    head["grid"],
                    _edges(head["stride"]),
                    head["role"],
                )
                for head in document["heads"]
            ],
        )
    if document["matched"]:
        _print_recipes(document)


def _print_recipes(document: dict[str, Any]) -> None:
    """The matched recipes, and the paper's where it has one."""
    own = document["recipe"]
    shown = {
        "matched, on a GPU": document["matched"]["cuda"],
        "matched, on a CPU": document["matched"]["cpu"],
        **({f"{own['name']} (--recipe paper)": own} if own else {}),
    }
    say("")
    print_table(("recipe", *shown), recipe_rows(shown))
    if document["members"]:
        say("With --recipe paper each member is trained by its own.")
    elif own is None:
        say("It has no recipe of its paper: --recipe paper is refused.")
    elif not own["patch"]:
        say("The patch of the paper's recipe is that of the first grid above.")
    for name, source in own["sources"] if own else ():
        say(f"Source of {name}: {source}")


def _edges(values: Any) -> str:
    return "x".join(f"{value:g}" for value in values)
