"""Commands as others may read them."""

from __future__ import annotations

import re


def without_folders(command: str) -> str:
    """A command as others may read it: of a path from the root only its last name is left.

    Where somebody keeps data and results repeats nothing on another machine.

    Parameters
    ----------
    command : str
        As it was typed, quoted for a shell.
    """
    return re.sub(r"(?<![^\s='\":,])/(?:[^\s/'\"=,:]+/)*([^\s/'\"=,:]+)/?", r"\1", command)
