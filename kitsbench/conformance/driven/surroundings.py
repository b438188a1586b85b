"""The state of the process that a plugin must leave alone: recorded, compared, put back."""

from __future__ import annotations

import builtins
import math
import os
import random
import socket
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import nn

from kitsbench.registry.module_search import is_a_plugins

# What importing a module may not change; imports do change the environment and the filters.
AT_IMPORT = (
    "the number of torch threads",
    "the default dtype",
    "the default device",
    "the gradient mode",
    "NumPy's random generator",
    "Python's random generator",
    "torch's random generator",
)


# Whose attributes are everybody's: who sets one changes what others use, or keeps something there.
SHARED: dict[str, Any] = {
    f"the attributes of {name}": thing
    for name, thing in (
        *((own.__name__, own) for own in (builtins, math, os, random, np, torch)),
        ("torch.nn", nn),
        ("torch.nn.functional", nn.functional),
        ("torch.Tensor", torch.Tensor),
        *((f"torch.nn.{name}", own) for name, own in vars(nn).items() if isinstance(own, type)),
    )
}


class Attributes(dict[str, Any]):
    """What the attributes of a module or a class are; equal but for what libraries define.

    Modules are imported when they are needed first, and a library may add to what another has.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attributes) and not self.other_in(other)

    __hash__ = None

    def other_in(self, other: Attributes) -> list[str]:
        """Names that stand for something else there, which no library has made."""
        return [
            name
            for name in self.keys() | other.keys()
            if self.get(name, self) is not other.get(name, other)
            and not all(_is_a_librarys(one[name]) for one in (self, other) if name in one)
        ]


def attributes_of(thing: Any) -> Attributes:
    """Attributes that have no name of Python's own."""
    own = vars(thing).items()
    return Attributes((n, v) for n, v in own if not (n.startswith("__") and n.endswith("__")))


def _is_a_librarys(value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        return True
    made = value.fget if isinstance(value, property) else value
    module = getattr(made, "__module__", None) if callable(made) else None
    return isinstance(module, str) and not is_a_plugins(module)


def state() -> dict[str, Any]:
    """Everything that is compared, by a name for people."""
    generator = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "the number of torch threads": torch.get_num_threads(),
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device(),
        "the gradient mode": torch.is_grad_enabled(),
        "NumPy's random generator": (generator[1].tobytes(), generator[2:]),  # type: ignore[index]
        "Python's random generator": random.getstate(),
        "torch's random generator": torch.get_rng_state().numpy().tobytes(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "the cuDNN switches": (
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        ),
        "the matmul precision": torch.get_float32_matmul_precision(),
        "the environment variables": dict(os.environ),
        "the warning filters": list(warnings.filters),
        "the working folder": os.getcwd(),
        **{name: attributes_of(thing) for name, thing in SHARED.items()},
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what differs."""
    return [name for name, value in before.items() if after[name] != value]


@contextmanager
def preserved() -> Iterator[None]:
    """Put the state back at the end, so that one plugin's fault is not blamed on the next."""
    before = state()
    generator = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_num_threads(before["the number of torch threads"])
        torch.set_default_dtype(before["the default dtype"])
        torch.set_grad_enabled(before["the gradient mode"])
        if torch.get_default_device() != before["the default device"]:
            torch.set_default_device(before["the default device"])
        torch.use_deterministic_algorithms(before["deterministic algorithms"])
        cudnn = torch.backends.cudnn
        cudnn.enabled, cudnn.benchmark, cudnn.deterministic = before["the cuDNN switches"]
        torch.set_float32_matmul_precision(before["the matmul precision"])
        np.random.set_state(generator)  # noqa: NPY002
        random.setstate(before["Python's random generator"])
        torch.set_rng_state(
            torch.frombuffer(bytearray(before["torch's random generator"]), dtype=torch.uint8)
        )
        if dict(os.environ) != before["the environment variables"]:
            os.environ.clear()
            os.environ.update(before["the environment variables"])
        warnings.filters[:] = before["the warning filters"]  # type: ignore[index]
        os.chdir(before["the working folder"])
        for name, thing in SHARED.items():
            _put_back(thing, before[name])


def _put_back(thing: Any, before: Attributes) -> None:
    for name in before.other_in(attributes_of(thing)):
        with suppress(Exception):  # what cannot be set cannot have been changed
            if name in before:
                setattr(thing, name, before[name])
            else:
                delattr(thing, name)


@contextmanager
def without_network() -> Iterator[list[str]]:
    """Refuse connections and collect the addresses that were asked for."""
    asked: list[str] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            asked.append(str(address[0]))
            raise OSError("a plugin may not use the network")
        connect(self, address)

    def refuse_name(host: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(str(host))
        raise OSError("a plugin may not use the network")

    socket.socket.connect = refuse  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = refuse_name
    try:
        yield asked
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]
        socket.getaddrinfo = resolve
