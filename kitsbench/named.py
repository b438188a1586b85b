"""What a recipe brings from outside of its vocabulary, by name: classes and functions.

``plugin:Lion`` is what the plugin's class or its module calls ``Lion``; ``package.module:Lion`` is
what a module of an installed package does. A name is data: it is looked up where training happens,
and nowhere else.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from typing import Any

from kitsbench.errors import ContractError, telling

Value = float | int | str | bool | tuple[float, ...]
"""An argument of something named."""

Arguments = tuple[tuple[str, Value], ...]
"""Arguments by their names."""

PLUGIN = "plugin"
FORM = "write plugin:NAME for what your module defines, or package.module:NAME"


def is_named(name: str) -> bool:
    """Whether a name leads out of the vocabulary."""
    return ":" in name


def check_name(name: str) -> None:
    """See that a name has one of the two forms.

    Raises
    ------
    ContractError
        It has not.
    """
    module, _, attribute = name.partition(":")
    parts = (*module.split("."), *attribute.split("."))
    if not all(part.isidentifier() for part in parts):
        raise ContractError(f"'{name}' names nothing: {FORM}.")


def check_arguments(whose: str, arguments: Arguments, taken: Iterable[str] = ()) -> None:
    """See that arguments are pairs of a name and a plain value, each once.

    Parameters
    ----------
    whose : str
        For the message.
    arguments : tuple of (str, value)
    taken : iterable of str
        Names that have a word of their own.

    Raises
    ------
    ContractError
        They are not.
    """
    pairs = isinstance(arguments, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)
        for pair in arguments
    )
    if not pairs:
        raise ContractError(f"arguments of {whose} must be pairs: write (('name', value), ...).")
    names = [name for name, _ in arguments]
    if own := sorted(set(names) & set(taken)):
        raise ContractError(f"{whose} has a word of its own for '{own[0]}': give it there.")
    if len(set(names)) < len(names):
        raise ContractError(f"arguments of {whose} give one twice ({', '.join(names)}).")


def package_of(name: str) -> str | None:
    """The package that must be installed for a name; None where the plugin has it."""
    first = name.partition(":")[0].split(".")[0]
    return None if first == PLUGIN else first


def is_installed(package: str) -> bool:
    """Whether a package can be found; nothing of it is imported."""
    try:
        return package in sys.modules or importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def resolve(name: str, plugin: object) -> Callable[..., Any]:
    """What a name stands for, imported if need be.

    Parameters
    ----------
    name : str
        ``plugin:NAME`` or ``package.module:NAME``.
    plugin : object
        The architecture whose recipe it is.

    Raises
    ------
    ContractError
        There is no such thing, or it cannot be called.
    """
    check_name(name)
    module, _, attribute = name.partition(":")
    if module == PLUGIN:
        own = type(plugin)
        places: list[Any] = [own, sys.modules.get(own.__module__)]
        where = f"neither {own.__name__} nor its module has it"
    else:
        try:
            places = [importlib.import_module(module)]
        except Exception as error:  # a foreign package may raise anything
            raise ContractError(
                f"The recipe names {name}, and {module} cannot be imported ({telling(error)}); "
                "install the package that brings it, or name another."
            ) from error
        where = f"{module} has it not"
    found = next((one for place in places if (one := _get(place, attribute)) is not None), None)
    if found is None:
        raise ContractError(f"The recipe names {name}, but {where}; {FORM}.")
    if not callable(found):
        raise ContractError(f"The recipe names {name}, which is a {type(found).__name__}: {FORM}.")
    return found


def _get(place: Any, attribute: str) -> Any:
    for part in attribute.split("."):
        place = getattr(place, part, None)
    return place
