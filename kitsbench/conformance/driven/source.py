"""Where the source of a plugin lies."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path


def folder_of(architecture: object) -> Path:
    """Folder of the package that defines a plugin, or its file if that is all there is."""
    kind = type(architecture)
    top = sys.modules.get(kind.__module__.split(".")[0])
    listed = list(getattr(top, "__path__", []))
    if listed:
        return Path(listed[0])
    try:
        return Path(inspect.getfile(kind))
    except (OSError, TypeError):
        return Path(__file__)  # where no plugin is


def is_within(file: str, folder: Path) -> bool:
    """Whether a file is a folder's, or the file itself."""
    path = Path(file)
    return path == folder or folder in path.parents
