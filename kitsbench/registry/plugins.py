"""From entry points, or from a file, to architectures; a faulty plugin is a row, never a crash.

Loading one imports that one only and records where it came from: distribution, version and a hash
of its source, which all become part of a trial's identity.
"""

from __future__ import annotations

import importlib.metadata
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from kitsbench.errors import ContractError, Terminated, shorten, telling
from kitsbench.isolation import is_worker, prints_on_stderr
from kitsbench.registry.announced import GROUP
from kitsbench.registry.discovery import RegisteredArchitecture, discover, find
from kitsbench.registry.module_search import Search
from kitsbench.registry.packages import packages_of
from kitsbench.registry.plugin_import import BESIDE, check_imported, import_file
from kitsbench.registry.source_hash import (
    SourceFile,
    file_source,
    module_source,
    named_source,
    source_digest,
)

if TYPE_CHECKING:
    from kitsbench.architecture import Architecture
    from kitsbench.configuration import Setting


_Finder = Callable[[], tuple[object, list[SourceFile]]]


def read_source_hash(name: str) -> str:
    """Hash of an architecture's source, of which nothing is imported.

    It is that of :func:`load`, unless a plugin's file puts folders on ``sys.path`` by itself: what
    lies in those is found by importing alone.

    Parameters
    ----------
    name : str
        As of :func:`find`.

    Raises
    ------
    UsageError
        Nothing of that name is installed, or there is no such file.
    ContractError
        Two distributions claim the name.
    """
    entry = find(name)
    if entry.status == "broken":
        raise ContractError(f"architecture '{name}' cannot be used: {entry.error}.")
    if name.endswith(".py"):
        path = Path(entry.location)
        return source_digest(file_source(path, Search(beside=path)))
    (point,) = importlib.metadata.entry_points(group=GROUP, name=name)
    return source_digest(named_source(point.module))


def load(name: str) -> RegisteredArchitecture:
    """Import one architecture.

    Parameters
    ----------
    name : str
        An entry point's name, or the path of a Python file that defines one architecture.

    Returns
    -------
    RegisteredArchitecture
        With status ``ok``, ``missing dependency`` or ``broken``.

    Raises
    ------
    UsageError
        Nothing of that name is installed, or there is no such file.
    """
    entry = find(name)
    if name.endswith(".py"):
        return _load_file(entry)
    if entry.status == "broken":
        return entry
    (point,) = importlib.metadata.entry_points(group=GROUP, name=name)
    own = point.module.split(".")[0]

    def imported() -> tuple[object, list[SourceFile]]:
        found = point.load()
        return found, module_source(sys.modules[point.module])

    requires = (point.dist.requires if point.dist else None) or ()
    return _loaded(entry, own, imported, requires)


def load_all() -> list[RegisteredArchitecture]:
    """Import every architecture that is installed, sorted by name."""
    return [load(entry.name) for entry in discover()]


def display_name(
    name: str, settings: Mapping[str, Setting] | None = None, size: Setting | None = None
) -> str:
    """Canonical name of a configured architecture, e.g. ``scau_unet:attention=off``.

    Only settings that change the configuration are kept, sorted; so equal configurations have
    equal names, however they were written.

    Parameters
    ----------
    name : str
    settings : mapping, optional
        As they were asked for.
    size : str, optional
        Size preset that everything starts from; by default the architecture's own default.

    Raises
    ------
    UsageError
        Unknown architecture or key, or a value that is not allowed.
    """
    entry = load(name)
    return entry.shown + name_with(entry, settings, size).removeprefix(entry.name)


def name_with(
    entry: RegisteredArchitecture,
    settings: Mapping[str, Setting] | None = None,
    size: Setting | None = None,
) -> str:
    """As :func:`display_name`, of an architecture that this or another process has imported."""
    from kitsbench.configuration import configure, join_settings, setting_text

    given = dict(settings or {})
    base = {} if size is None else {"size": size}
    if entry.configurable is not None:
        full = configure(entry.configurable, base | given)
        for key in sorted(given):
            fewer = {k: v for k, v in given.items() if k != key}
            if configure(entry.configurable, base | fewer) == full:
                given = fewer
        given = {key: full[key] for key in given}
    listed = join_settings({key: setting_text(given[key]) for key in sorted(given)})
    return f"{entry.name}:{listed}" if listed else entry.name


def _load_file(entry: RegisteredArchitecture) -> RegisteredArchitecture:
    path = Path(entry.location)

    def imported() -> tuple[object, list[SourceFile]]:
        module, files = import_file(path)
        return _single_architecture(module), files

    return _loaded(entry, path.stem, imported)


def _single_architecture(module: ModuleType) -> type[Architecture]:
    from kitsbench.architecture import Architecture

    own = {
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Architecture)
        and value.__module__ == module.__name__
    }
    # A base class that the file derives another from is not the one that is meant.
    leaves = [c for c in own if not any(c is not other and issubclass(other, c) for other in own)]
    if len(leaves) != 1:
        found = ", ".join(sorted(c.__name__ for c in leaves)) or "none"
        raise ContractError(f"the file must define one subclass of Architecture, it has {found}")
    return leaves[0]


def _loaded(
    entry: RegisteredArchitecture, own: str, find: _Finder, requires: Sequence[str] | None = None
) -> RegisteredArchitecture:
    """Run ``find`` and turn whatever happens into an entry; a file has no ``requires``."""
    try:
        # What a plugin prints must not end up in a JSON document on stdout.
        with prints_on_stderr():
            found, files = find()
            check_imported(files, entry.location)
            instance = _instance(found)
            if requires is None:
                packages = packages_of(files)
            else:
                folders = getattr(sys.modules.get(own), "__path__", ())
                packages = packages_of(files, own, requires, folders)
    except Terminated:
        raise
    except ImportError as error:
        beside = BESIDE.names.get(Path(entry.location), {})
        foreign = (error.name or own).split(".")[0] not in {own, "kitsbench", *beside}
        if foreign:
            return replace(
                entry,
                status="missing dependency",
                error=f"needs '{error.name}', which is not installed or too old ({_last(error)})",
            )
        return replace(entry, status="broken", error=_last(error))
    except BaseException as error:  # a plugin may even call sys.exit()
        if isinstance(error, KeyboardInterrupt) and not is_worker():
            raise  # the user's
        return replace(entry, status="broken", error=_last(error))
    return replace(
        entry,
        title=instance.title or entry.name,
        paper=instance.paper,
        planted=instance.planted,
        status="ok",
        source_hash=source_digest(files),
        packages=packages,
        instance=instance,
    )


def _instance(found: object) -> Architecture:
    from kitsbench.architecture import Architecture
    from kitsbench.configuration import configure

    if isinstance(found, type) and issubclass(found, Architecture):
        found = found()
    if not isinstance(found, Architecture):
        kind = f"the {type(found).__name__} '{getattr(found, '__name__', found)}'"
        raise ContractError(f"{kind} is no subclass of kitsbench.architecture.Architecture")
    configure(found)  # its own defaults must be allowed
    return found


def _last(error: BaseException) -> str:
    try:
        lines = traceback.format_exception_only(error)
        return shorten(lines[-1].strip().splitlines()[-1].removeprefix("kitsbench.errors."))
    except BaseException:  # its own code fails while it is asked
        return telling(error)
