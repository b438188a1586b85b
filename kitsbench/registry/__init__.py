"""From a name or a file to an architecture, and to the source that it stands for.

In: entry points of installed distributions, or the path of a file. Out: the architecture with its
distribution, version and hash of source; a faulty plugin is a row, never a crash. What a plugin
says of itself without being imported here is in :mod:`kitsbench.registry.plugins_apart`.

What imports plugins is imported itself when it is asked for: a list of names needs none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kitsbench.registry.announced import GROUP
from kitsbench.registry.discovery import (
    NAME,
    NAME_RULE,
    RegisteredArchitecture,
    discover,
    find,
)

if TYPE_CHECKING:
    from kitsbench.configuration import parse_request, setting_text
    from kitsbench.registry.counting import count_parameters, paper_task
    from kitsbench.registry.plugins import (
        display_name,
        load,
        load_all,
        name_with,
        read_source_hash,
    )

__all__ = [
    "GROUP",
    "NAME",
    "NAME_RULE",
    "RegisteredArchitecture",
    "count_parameters",
    "discover",
    "display_name",
    "find",
    "load",
    "load_all",
    "name_with",
    "paper_task",
    "parse_request",
    "read_source_hash",
    "setting_text",
]

_PLACES = {
    "kitsbench.configuration": ("parse_request", "setting_text"),
    "kitsbench.registry.counting": ("count_parameters", "paper_task"),
    "kitsbench.registry.plugins": (
        "display_name",
        "load",
        "load_all",
        "name_with",
        "read_source_hash",
    ),
}


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(place), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
