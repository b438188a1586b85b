"""Recipes side by side, as ``kitsbench show`` prints them: a row for each value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

APART = ("name", "sources")  # what the columns are called, and prose that is printed below them


def recipe_rows(recipes: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of a table whose columns are recipes.

    Parameters
    ----------
    recipes : mapping
        {column: recipe as plain data}.

    Returns
    -------
    list of tuple of str
        Name of the value, such as ``optimiser.lr``, then the value in each recipe. What no recipe
        makes use of (zero, off or none in all of them) is left out.
    """
    columns = [dict(_values(recipe)) for recipe in recipes.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    used = [name for name in names if any(column.get(name) for column in columns)]
    return [(name, *(_text(column.get(name)) for column in columns)) for name in _ordered(used)]


def _values(part: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in part.items():
        if not before and name in APART:
            continue
        if isinstance(value, Mapping):
            yield from _values(value, f"{before}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value, start=1):
                yield f"{before}{name} {number}", _phrase(item)
        else:
            yield f"{before}{name}", value


def _ordered(names: list[str]) -> list[str]:
    """The rows of each part together, also where a later recipe has more of them."""
    parts = list(dict.fromkeys(name.split(".")[0].split(" ")[0] for name in names))
    return sorted(names, key=lambda name: parts.index(name.split(".")[0].split(" ")[0]))


def _phrase(item: Mapping[str, Any]) -> str:
    """One entry of a list, such as a transform: its name, then what else it says."""
    first, *others = item.items()
    said = [_text(first[1])]
    for name, value in others:
        if _are_pairs(value):
            said.append(_text(value))
        elif value is not None and value is not False and value not in ((), []):
            said.append(f"{name} {_text(value)}")
    return ", ".join(said)


def _text(value: Any) -> str:
    if value is None or value == () or value == []:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return _phrase(value)
    if _are_pairs(value):
        return ", ".join(f"{name} {_text(own)}" for name, own in value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)


def _are_pairs(value: Any) -> bool:
    """Whether a list says something by name, such as the parameters of a transform."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value)
        and all(isinstance(name, str) for name, _ in value)
    )
