"""Packages that some of the reference architectures are built from, and how to get them."""

from __future__ import annotations

import importlib.util


def require(module: str, command: str) -> None:
    """Say at import how to get a package that ``build`` will import; costs a look at the disk.

    Parameters
    ----------
    module : str
        Top-level name that is imported.
    command : str
        What installs it.

    Raises
    ------
    ModuleNotFoundError
        It is not installed. The registry lists the architecture as ``missing dependency``.
    """
    if importlib.util.find_spec(module) is None:
        raise ModuleNotFoundError(f"get it with: {command}", name=module)
