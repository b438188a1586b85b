"""Packages that only some users need, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from kitsbench.errors import UsageError


def require(package: str, extra: str) -> Any:
    """Import an optional package.

    Raises
    ------
    UsageError
        It is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(
            f"This needs the package {package}, which cannot be imported ({error}). Install it "
            f"with: pip install 'kitsbench[{extra}]'."
        ) from error
