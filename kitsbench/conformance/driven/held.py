"""Things that can be changed in place: what each holds is written down, and put back.

Nothing is copied but numbers and the states of random generators.
"""

from __future__ import annotations

import array
import copy
import functools
import random
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

LARGEST = 2**24  # numbers of an array of which a copy is kept


def place_of(name: str, thing: Any) -> Place | Names | None:
    """How something without names of its own is read and written; None for all else.

    Parameters
    ----------
    name : str
        For people.
    thing : object
        A container, an array, a generator of random numbers, a cache, a cell of a closure.
    """
    if isinstance(thing, Tensor):
        return _numbers_of(name, thing, thing.numel(), Tensor.clone, Tensor.copy_)
    if isinstance(thing, np.ndarray):
        return _numbers_of(name, thing, thing.size, np.copy, np.copyto)
    if (found := _generator_of(thing)) is not None:
        return Place(name, *found, same=_alike)
    if isinstance(thing, set):
        return Place(name, lambda: sorted(thing, key=id), lambda then: _refill(thing, then))
    if isinstance(thing, array.array):
        return Place(name, lambda: list(thing), lambda then: _refill(thing, then), same=_equals)
    if isinstance(thing, (list, deque, bytearray)):
        return Place(name, lambda: list(thing), lambda then: _refill(thing, then))
    if isinstance(thing, dict):
        return Names(name, lambda: thing, lambda key: name)
    if isinstance(thing, functools._lru_cache_wrapper):
        return Place(name, lambda: [], lambda then: thing.cache_clear(), always=True)
    if isinstance(thing, types.CellType):
        return Place(name, lambda: [thing.cell_contents], lambda then: _set_cell(thing, then[0]))
    return None


def names_of(name: str, thing: Any) -> Names:
    """How the attributes of a module, a class, a function or an instance are read and written."""
    if isinstance(thing, type):
        return Names(name, lambda: _Attributes(thing), lambda key: f"{name}.{key}")
    return Names(name, lambda: vars(thing), lambda key: f"{name}.{key}")


def is_dunder(name: object) -> bool:
    """Whether a name is one of Python's own."""
    return isinstance(name, str) and name.startswith("__") and name.endswith("__")


def _are(now: Sequence[object], then: Sequence[object]) -> bool:
    return len(now) == len(then) and all(a is b for a, b in zip(now, then, strict=True))


@dataclass
class Place:
    """Something that can be changed in place: how it is read and written, and what it held."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]
    same: Callable[[Any, Any], bool] = _are
    always: bool = False  # whether it is put back though nothing can be seen
    then: Any = field(init=False)

    def __post_init__(self) -> None:
        self.then = self.get()

    def put_back(self) -> list[str]:
        """Give it back what it held; its name where it held something else."""
        if self.always:
            self.put(self.then)
            return []
        if self.same(self.get(), self.then):
            return []
        self.put(self.then)
        return [self.name]


class _Attributes(MutableMapping[str, Any]):
    """Attributes of a class, which cannot be set through ``vars``."""

    def __init__(self, kind: type):
        self.kind = kind

    def __getitem__(self, key: str) -> Any:
        return vars(self.kind)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.kind, key, value)

    def __delitem__(self, key: str) -> None:
        delattr(self.kind, key)

    def __iter__(self) -> Iterator[str]:
        return iter(list(vars(self.kind)))

    def __len__(self) -> int:
        return len(vars(self.kind))


class Names:
    """As :class:`Place`, of names and what they stand for; what has moved on is made anew."""

    def __init__(
        self,
        name: str,
        mapping: Callable[[], MutableMapping[Any, Any]],
        name_of: Callable[[Any], str],
    ):
        self.name, self.mapping, self.name_of = name, mapping, name_of
        self.then = self._now()
        self.moving = {k: _copied(v) for k, v in self.then.items() if _moves(v)}

    def _now(self) -> dict[Any, Any]:
        # A module that was imported meanwhile stays imported, and is an attribute of its package.
        return {
            key: value
            for key, value in self.mapping().items()
            if not (is_dunder(key) or isinstance(value, types.ModuleType))
        }

    def put_back(self) -> list[str]:
        """Give each name back what it stood for; the names that stood for something else."""
        mapping, now, changed = self.mapping(), self._now(), []
        for key in now.keys() - self.then.keys():
            del mapping[key]
            changed.append(key)
        for key, value in self.then.items():
            if key in self.moving:
                if key in now and repr(now[key]) == repr(self.moving[key]):
                    continue
                mapping[key] = _copied(self.moving[key])
            elif key in now and now[key] is value:
                continue
            else:
                mapping[key] = value
            changed.append(key)
        return [self.name_of(key) for key in changed]


def _moves(value: object) -> bool:
    """Whether something changes by being asked, and can be copied before that."""
    return type(value).__module__ == "itertools" and hasattr(value, "__next__")


def _copied(value: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # later versions of Python no longer copy them
        return copy.copy(value)


def _equals(now: Any, then: Any) -> bool:
    return bool(now == then)


def _refill(thing: Any, then: list[Any]) -> None:
    if isinstance(thing, array.array):
        del thing[:]
    else:
        thing.clear()
    (thing.update if isinstance(thing, set) else thing.extend)(then)


def _set_cell(cell: types.CellType, value: object) -> None:
    cell.cell_contents = value


def _numbers_of(
    name: str, thing: Any, size: int, copied: Callable[[Any], Any], put: Callable[[Any, Any], Any]
) -> Place | None:
    if size > LARGEST or getattr(thing, "is_meta", False):
        return None

    def write(then: Any) -> None:
        with torch.no_grad():
            put(thing, then)

    def read() -> Any:
        with torch.no_grad():
            return copied(thing)

    return Place(name, read, write, same=_equal)


def _equal(now: Any, then: Any) -> bool:
    if isinstance(now, Tensor):
        return torch.equal(now.nan_to_num(), then.nan_to_num())
    return bool(np.array_equal(now, then, equal_nan=now.dtype.kind in "fc"))


def _generator_of(thing: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]] | None:
    """How the state of a random generator is read and written."""
    if isinstance(thing, random.Random):
        return thing.getstate, thing.setstate
    if isinstance(thing, np.random.RandomState):
        return thing.get_state, thing.set_state
    if isinstance(thing, torch.Generator):
        return thing.get_state, thing.set_state
    if isinstance(thing, np.random.Generator):
        bits = thing.bit_generator
        return lambda: copy.deepcopy(bits.state), lambda then: setattr(bits, "state", then)
    return None


def _alike(now: Any, then: Any) -> bool:
    """Whether states of a generator, numbers and arrays within tuples or mappings, are equal."""
    if isinstance(now, dict):
        return all(_alike(value, then[key]) for key, value in now.items())
    if isinstance(now, tuple):
        return all(map(_alike, now, then))
    if isinstance(now, (Tensor, np.ndarray)):
        return _equal(now, then)
    return bool(now == then)
