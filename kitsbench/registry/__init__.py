"""From a name or a file to an architecture, and to the source that it stands for.

In: entry points of installed distributions, or the path of a file. Out: the architecture with its
distribution, version and hash of source; a faulty plugin is a row, never a crash. What a plugin
says of itself without being imported here is in :mod:`kitsbench.registry.plugins_apart`.
"""

from kitsbench.configuration import parse_request, setting_text
from kitsbench.registry.counting import count_parameters, paper_task
from kitsbench.registry.plugins import (
    GROUP,
    NAME,
    NAME_RULE,
    RegisteredArchitecture,
    discover,
    display_name,
    find,
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
