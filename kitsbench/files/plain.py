"""Plain data of dataclasses, in which words that came later are silent where nobody uses them.

What a trial is named by is the hash of such data, and files that were written before lack the words
that came since. So a word that is added to the contract leaves ids and files of those who do not
use it as they were.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

_ADDED = "added"
Default = TypeVar("Default")


def added(default: Default) -> Default:
    """Make the field of a word that came later, with its default.

    Parameters
    ----------
    default : object
        Immutable. A value equal to it is not written, and a file without the word means it.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Word:
    ...     old: int = 1
    ...     new: int = added(0)
    >>> plain(Word()), plain(Word(new=2))
    ({'old': 1}, {'old': 1, 'new': 2})
    """
    field: Any = dataclasses.field(default=default, metadata={_ADDED: True})
    return field


def is_added(field: dataclasses.Field[Any]) -> bool:
    """Whether :func:`added` made a field."""
    return bool(field.metadata.get(_ADDED, False))


def plain(value: Any) -> Any:
    """As :func:`dataclasses.asdict`, without later words that have their defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {}
        for field in dataclasses.fields(value):
            own = getattr(value, field.name)
            # The type as well: to Python False is 0, and in a file it is not.
            silent = type(own) is type(field.default) and own == field.default
            if not (is_added(field) and silent):
                found[field.name] = plain(own)
        return found
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(plain(part) for part in value)
    return value
