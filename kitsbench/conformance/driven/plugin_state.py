"""What a plugin holds beside networks and checkpoints: written down, and put back.

A training goes on in another process, and scans are predicted in a third one. There the plugin's
modules are imported anew, so what hooks have left in them, in a class or in the plugin itself is
gone.

In: a plugin that was just loaded. Out: the same again, and the names of what had changed.
"""

from __future__ import annotations

import argparse
import functools
import sys
import threading
import types
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from kitsbench.conformance.driven.held import Names, Place, is_dunder, names_of, place_of
from kitsbench.registry.module_search import is_a_plugins
from kitsbench.registry.plugin_import import BESIDE

LONGEST = 2**16  # entries of a container that is looked into
NAMED = 3  # of what has changed, in a message
OWN = "kitsbench"  # the harness, whose modules are no plugin's

HOLDERS = {types.SimpleNamespace, argparse.Namespace, threading.local}
CONTAINERS = (list, deque, set, bytearray, dict, tuple, frozenset)
Named = tuple[str, object]


class PluginState:
    """What lies in a plugin's modules, classes, functions and instance, and in what these hold.

    Only numbers are copied. Everything else that can be changed in place gets back what it held,
    so that whoever shares it goes on sharing it. Left out are files, what modules and classes of
    installed packages hold, and modules that are imported later.

    Parameters
    ----------
    architecture : object
        No hook of which has been called.
    """

    def __init__(self, architecture: object):
        modules = _modules_of(architecture)
        self._names = {module.__name__ for module in modules}
        self._known: dict[str | None, bool] = {}
        self._held: dict[int, object] = {}  # what was seen; held, so that no other has its id
        self._places: list[Place | Names] = []
        classes = type(architecture).__mro__[:-1]
        roots = [
            ("self", architecture),
            *((kind.__name__, kind) for kind in classes),
            *((_short(module), module) for module in modules),
        ]
        self._follow(roots, {id(thing) for _, thing in roots})

    def put_back(self) -> list[str]:
        """Give everything back what it held; the names of what held something else."""
        changed: list[str] = []
        for place in self._places:
            with suppress(Exception):  # what cannot be asked or set cannot be put back
                changed += place.put_back()
        return list(dict.fromkeys(changed))

    def _follow(self, roots: list[Named], given: set[int]) -> None:
        todo = roots[::-1]
        while todo:
            name, thing = todo.pop()
            if id(thing) in self._held:
                continue
            self._held[id(thing)] = thing
            if isinstance(thing, CONTAINERS) and len(thing) > LONGEST:
                continue
            with suppress(Exception):  # some things cannot be asked what they are
                own = id(thing) in given or self._is_own(thing)
                place = place_of(name, thing) or (names_of(name, thing) if own else None)
                if place is not None:
                    self._places.append(place)
                todo += list(_parts(name, thing, own))[::-1]

    def _is_own(self, thing: object) -> bool:
        """Whether something with attributes is the plugin's, or holds numbers for it."""
        if isinstance(thing, types.ModuleType):
            return self._has(thing.__name__)
        if isinstance(thing, (type, types.FunctionType)):
            return self._has(thing.__module__)
        if not hasattr(thing, "__dict__") and not isinstance(thing, threading.local):
            return False
        return _is_holder(type(thing)) or self._has(type(thing).__module__)

    def _has(self, module: str | None) -> bool:
        """Whether a module is the plugin's: of its package, beside its file, or not installed."""
        if module not in self._known:
            self._known[module] = module in self._names or is_a_plugins(module)
        return self._known[module]


def told(changed: list[str]) -> str:
    """Names of what hooks have changed, as part of a sentence."""
    more = len(changed) - NAMED
    return ", ".join(changed[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _parts(name: str, thing: Any, own: bool) -> Iterator[Named]:
    """What something holds, each with its name for people."""
    if isinstance(thing, (dict, types.MappingProxyType)):
        yield from ((name, value) for value in list(thing.values()))
    elif isinstance(thing, (list, deque, set, tuple, frozenset)):
        yield from ((name, value) for value in list(thing))
    elif isinstance(thing, types.CellType):
        yield name, thing.cell_contents
    elif isinstance(thing, (staticmethod, classmethod)):
        yield name, thing.__func__
    elif isinstance(thing, property):
        yield from ((name, part) for part in (thing.fget, thing.fset) if part is not None)
    elif isinstance(thing, functools.partial):
        yield from ((name, part) for part in (thing.func, thing.args, thing.keywords))
    elif isinstance(thing, functools._lru_cache_wrapper):
        yield name, thing.__wrapped__
    elif own:
        if isinstance(thing, (type, types.FunctionType)) and thing.__module__ in sys.modules:
            module = sys.modules[thing.__module__]
            yield _short(module), module
        if isinstance(thing, types.FunctionType):
            cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
            yield from cells
            yield from ((name, part) for part in (thing.__defaults__, thing.__kwdefaults__))
        inside = "" if isinstance(thing, types.FunctionType) else f"{name}."
        for key, value in list(vars(thing).items()):
            if not is_dunder(key):
                yield _named(value) or f"{inside}{key}", value


def _modules_of(architecture: object) -> list[types.ModuleType]:
    """Modules of a plugin that are imported: its package's, or its file and what lies beside it."""
    own = type(architecture).__module__
    tops = {own.split(".")[0]} - {OWN}
    file = getattr(sys.modules.get(own), "__file__", None)
    if file is not None:
        tops |= set(BESIDE.names.get(Path(file), {})) - {OWN}
    return [
        module
        for name, module in list(sys.modules.items())
        if (name == own or name.split(".")[0] in tops) and isinstance(module, types.ModuleType)
    ]


def _is_holder(kind: type) -> bool:
    """Whether a class of somebody else's may hold something for a plugin, as a meter does.

    What Python itself brings does not, but for what does nothing else: the attributes of threads
    and of locks are not a plugin's to put back.
    """
    top = kind.__module__.split(".")[0]
    return kind in HOLDERS or not (top in sys.stdlib_module_names or top == OWN)


def _named(thing: object) -> str:
    """Name that something has by itself, wherever it is kept."""
    if isinstance(thing, types.ModuleType):
        return _short(thing)
    return thing.__name__ if isinstance(thing, type) else ""


def _short(module: types.ModuleType) -> str:
    """Last part of a module's name, as its file has it."""
    file = Path(getattr(module, "__file__", None) or module.__name__)
    return module.__name__.split(".")[-1] if file.stem == "__init__" else file.stem
