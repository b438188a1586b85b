"""What a shell proposes when a word of the command line is half written.

It runs at every press of a key, so nothing is imported that takes time: names come from the
entry points' files, trials from the names of folders.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

import click
from click.shell_completion import CompletionItem

_LOOKED_AT = 200  # trials, so that a key is answered at once


def architectures(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of installed architectures, and files that may be plugins."""
    if ":" in incomplete:  # settings, which only the plugin itself knows
        return []
    names = [name for name in _names() if name.startswith(incomplete)]
    files = [CompletionItem(incomplete, type="file")] if "/" in incomplete or not names else []
    return [*map(CompletionItem, names), *files]


def trials(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Ids of the trials of the working directory."""
    return _folders(context, "trials", incomplete)


def viewed(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What can be looked at: cases that trials were tested on, trials, files and folders."""
    cases = [CompletionItem(case) for case in _cases(context) if case.startswith(incomplete)]
    found = [*cases, *trials(context, parameter, incomplete)]
    files = [CompletionItem(incomplete, type="file")] if "/" in incomplete or not found else []
    return [*found, *files]


def experiments(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Ids of the experiments of the working directory."""
    return _folders(context, "experiments", incomplete)


def architectures_or_trials(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What can predict: trials, or an architecture's."""
    return [
        *(item for item in architectures(context, parameter, incomplete) if item.type == "plain"),
        *trials(context, parameter, incomplete),
    ]


def _names() -> Iterable[str]:
    from kitsbench.registry.announced import GROUP

    return sorted({point.name for point in entry_points(group=GROUP)})


def _folders(context: click.Context, kind: str, incomplete: str) -> list[CompletionItem]:
    found = []
    with contextlib.suppress(OSError):  # no working directory, no proposals
        for path in sorted((_workdir(context) / kind).iterdir()):
            if path.is_dir() and path.name.startswith(incomplete):
                found.append(CompletionItem(path.name))
    return found


def _cases(context: click.Context) -> list[str]:
    """Held-out cases of trials. Read loosely: what is damaged has nothing to propose."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for folder in list((_workdir(context) / "trials").iterdir())[:_LOOKED_AT]:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                record = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
                found.update(map(str, record["context"]["test_cases"]))
    return sorted(case for case in found if case.isprintable())  # a shell reads line by line


def _workdir(context: click.Context) -> Path:
    """The working directory that the words so far name, by an option or as an argument."""
    given = context.params.get("places")
    if not given and "places" in context.params:
        # Before an option whose value is being written, click has not read the arguments yet.
        given = tuple(word for word in context.args if not word.startswith("-"))
    given = given or context.params.get("workdir") or "kitsbench-work"
    return Path(given[0] if isinstance(given, tuple) else given)
