"""One rule for the names that a plugin gives its parts.

Such a name is a key of files, stands in tables and in names of files, and is told apart from others
by people. It holds for grids, heads, maps, channels, inputs, stages and configuration keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kitsbench.errors import ContractError
from kitsbench.text import file_stem

LONGEST = 60
RULE = (
    f'use up to {LONGEST} printable characters without any of : / \\ < > " | ? *, and neither a '
    "dot nor a space at an end"
)
_NAME = re.compile(r"[^:/\\<>\"|?* .](?:[^:/\\<>\"|?*]*[^:/\\<>\"|?* .])?")
# Keys are written ARCH:key=value,key=value.
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def check_name(what: str, name: object) -> None:
    """See that a name is one.

    Parameters
    ----------
    what : str
        That is named, such as ``channel``.
    name : object

    Raises
    ------
    ContractError
        It is no text, empty, too long, or holds what no name of a file can.
    """
    if (
        not isinstance(name, str)
        or len(name) > LONGEST
        or not name.isprintable()
        or not _NAME.fullmatch(name)
    ):
        article = "an" if what[0] in "aeiou" else "a"
        raise ContractError(f"{name!r:.60} is no name of {article} {what}: {RULE}.")


def check_key(name: object) -> None:
    """See that a configuration key can be written on a command line.

    Raises
    ------
    ContractError
        It cannot.
    """
    if not isinstance(name, str) or len(name) > LONGEST or not _KEY.fullmatch(name):
        raise ContractError(
            f"{name!r:.60} is no name of a configuration key, which is written ARCH:key=value: use "
            f"up to {LONGEST} letters, digits, '_', '-' and '.', none of the last two first."
        )


def twice(names: Iterable[str]) -> str | None:
    """A name that would share a file with one before it; None where there is none.

    Names of files may not tell upper from lower case, and hold letters and digits for certain.
    """
    seen: set[str] = set()
    for name in names:
        stem = file_stem(name).casefold()
        if stem in seen:
            return name
        seen.add(stem)
    return None
