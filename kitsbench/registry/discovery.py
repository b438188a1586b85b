"""Which architectures there are: announced by distributions, or in a file; nothing is imported.

This is all that a list of them needs, so it imports next to nothing either.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kitsbench.errors import ContractError, UsageError
from kitsbench.registry.announced import GROUP, announced_name

if TYPE_CHECKING:
    from kitsbench.architecture import Architecture
    from kitsbench.configuration import Configurable
    from kitsbench.spec import Declared

NAME = re.compile(r"[a-z][a-z0-9_]*")
NAME_RULE = "lower-case letters, digits and underscores, a letter first"
# Names of files that many plugins have, every scaffold for example.
SAY_NOTHING = ("__init__", "architecture", "model", "network", "plugin")

Status = Literal["available", "ok", "missing dependency", "broken"]


@dataclass(frozen=True)
class RegisteredArchitecture:
    """One architecture that is installed or lies in a file, usable or not.

    Parameters
    ----------
    name : str
        Name of the entry point, or the stem of the file.
    title, paper : str
        The class's; empty until it is loaded.
    planted : str
        The class's, of a control; empty until it is loaded.
    distribution, version : str
        Who provides it; for a file its name and nothing.
    status : {"available", "ok", "missing dependency", "broken"}
        ``available`` until it is loaded.
    error : str or None
        Last line of what went wrong.
    source_hash : str
        Hash of the plugin's source and of what it imports that is not installed; empty until it
        is loaded.
    packages : mapping of str to str
        Versions of the distributions that it imports or requires, see
        :func:`kitsbench.registry.packages.packages_of`; empty until it is loaded.
    location : str
        What :func:`load` finds it by: the name, or the file's absolute path.
    instance : Architecture or None
        The plugin, when ``status`` is ``ok`` and this process has imported it.
    declared : Declared or None
        What it declares, when ``status`` is ``ok`` and another process has imported it.
    """

    name: str
    title: str = ""
    paper: str = ""
    planted: str = ""
    distribution: str = ""
    version: str = ""
    status: Status = "available"
    error: str | None = None
    source_hash: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    location: str = ""
    instance: Architecture | None = None
    declared: Declared | None = None

    @property
    def shown(self) -> str:
        """Name for people: of a file whose name says nothing, its package's or its folder's."""
        if self.location.endswith(".py") and self.name in SAY_NOTHING:
            return announced_name(Path(self.location)) or self.name
        return self.name

    @property
    def configurable(self) -> Configurable | None:
        """What has its keys and sizes; None where it is not usable."""
        return self.instance or self.declared

    @property
    def architecture(self) -> Architecture:
        """The plugin.

        Raises
        ------
        ContractError
            It is not usable; the message carries the reason.
        """
        if self.instance is None:
            origin = " ".join(filter(None, (self.distribution, self.version)))
            remedy = "Repair or update that distribution."
            if self.location.endswith(".py"):
                remedy = f"Repair {self.location}."
            raise ContractError(
                f"architecture '{self.name}' ({origin}) is {self.status}: {self.error}. {remedy}"
            )
        return self.instance

    def to_dict(self) -> dict[str, str | None]:
        """Plain data for ``kitsbench list --json``; None for what is not known."""
        names = ("name", "title", "paper", "distribution", "version", "status", "error")
        return {name: getattr(self, name) or None for name in names}


def discover() -> list[RegisteredArchitecture]:
    """Every architecture that a distribution announces, sorted by name; nothing is imported.

    A name that two distributions claim, or one that breaks the rule for names, is ``broken``.
    """
    claims: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        claims.setdefault(point.name, []).append(point)
    return [_entry(name, points) for name, points in sorted(claims.items())]


def find(name: str) -> RegisteredArchitecture:
    """One architecture, of which nothing is imported.

    Parameters
    ----------
    name : str
        An entry point's name, or the path of a Python file.

    Raises
    ------
    UsageError
        Nothing of that name is installed, or there is no such file.
    """
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"there is no file {path}: give the path of a plugin's Python file.")
        path = path.resolve()
        return RegisteredArchitecture(path.stem, distribution=path.name, location=str(path))
    entries = {entry.name: entry for entry in discover()}
    if name not in entries:
        raise UsageError(_unknown(name, list(entries)))
    return entries[name]


def _entry(name: str, points: list[importlib.metadata.EntryPoint]) -> RegisteredArchitecture:
    providers = [(p.dist.name, p.dist.version) if p.dist else ("?", "") for p in points]
    entry = RegisteredArchitecture(
        name,
        distribution=", ".join(distribution for distribution, _ in providers),
        version=", ".join(version for _, version in providers),
        location=name,
    )
    if not NAME.fullmatch(name):
        return replace(entry, status="broken", error=f"'{name}' is no valid name: {NAME_RULE}")
    if len(points) > 1:
        both = " and ".join(" ".join(provider) for provider in providers)
        return replace(
            entry, status="broken", error=f"{both} both claim the name '{name}'; uninstall one"
        )
    return entry


def _unknown(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.75)
    if close:
        return f"there is no architecture '{name}'. Did you mean '{close[0]}'?"
    listed = ", ".join(known) or "none; install kitsbench-plugins for the reference ones"
    return (
        f"there is no architecture '{name}'; installed are {listed}. One of your own is known once "
        "its package is installed (pip install -e FOLDER), or by its file: FOLDER/plugin.py."
    )
